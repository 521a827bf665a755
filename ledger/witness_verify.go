package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"sigillo/internal/exchange"
)

// checkCosignatures counts the witnesses of the policy that cosigned the checkpoint of a size: in the
// note itself, or in what the log keeps beside it. A line that says it is of one of them and does not
// verify is a finding, as is a record that is no list of signature lines; lines of others are ignored
// (C2SP signed-note). Too few are no finding: the assurance says how far the verdict reaches.
func checkCosignatures(ctx context.Context, v View, size uint64, note []byte, p WitnessPolicy) (count int, found []exchange.Finding) {
	broken := func(format string, a ...any) {
		n := size - 1
		found = append(found, exchange.Finding{Check: "witness", Severity: exchange.Broken, Entry: &n, Detail: fmt.Sprintf(format, a...)})
	}
	keys, err := p.keys()
	if err != nil {
		return 0, []exchange.Finding{{Check: "witness", Severity: exchange.Indeterminate, Detail: "the witness policy: " + err.Error()}}
	}
	if len(keys) == 0 || size == 0 {
		return 0, nil
	}
	c, sigs, err := splitNote(note)
	if err != nil || c.Size != size {
		broken("no cosignature can be checked: the checkpoint of size %d is not readable as one", size)
		return 0, found
	}
	var lines []cosignature
	for _, s := range sigs {
		if l, ok, err := parseCosignature(s); ok && err == nil {
			lines = append(lines, l)
		}
	}
	kept, err := cosignatureLines(ctx, v, size)
	if err == nil && len(kept) > 0 {
		var more []cosignature
		more, err = parseCosignatures(kept)
		lines = append(lines, more...)
	}
	if err != nil {
		broken("the cosignatures kept for the checkpoint of size %d: %v", size, err)
	}
	for _, l := range lines {
		for _, k := range keys {
			if l.by(k) && !l.verify(k, c.text()) {
				broken("the cosignature of witness %s over the checkpoint of size %d does not verify", k.name, size)
			}
		}
	}
	return holds(keys, lines, c.text()), found
}

// Cosigned is VerifyOptions.Cosigned by this policy; nil where it names no witness.
func (p WitnessPolicy) Cosigned() func(context.Context, *Log, Checkpoint, []byte) (have, want, of int, found []exchange.Finding) {
	if len(p.Witnesses) == 0 {
		return nil
	}
	return func(ctx context.Context, l *Log, c Checkpoint, note []byte) (have, want, of int, found []exchange.Finding) {
		have, found = checkCosignatures(ctx, l.View, c.Size, note, p)
		return have, p.Quorum, len(p.Witnesses), found
	}
}

// witnessedAssurance is how far a verdict reaches over a checkpoint that count of n witnesses cosigned
// (formats.md 10).
func witnessedAssurance(size uint64, count, n int) string {
	return fmt.Sprintf("witnessed(%d, %d of %d)", size, count, n)
}

// witnessLookBack bounds how far behind the newest checkpoint a start looks for a witnessed one.
const witnessLookBack = 1 << 16

// newestCosigned gives the newest size, at most max, whose checkpoint a quorum of the keys cosigned; 0
// where none is near. The next round tells it in any case.
func newestCosigned(ctx context.Context, v View, max uint64, keys []witnessKey, quorum int) (uint64, error) {
	upper := max
	for step := uint64(256); step <= witnessLookBack; step *= 4 {
		from := uint64(0)
		if max > step {
			from = max - step
		}
		var sizes []uint64
		var records [][]byte
		err := v.Scan(ctx, []byte{tableCosign}, cosignKey(from), func(key, value []byte) error {
			s := binary.BigEndian.Uint64(key[1:])
			if s > upper {
				return errStop
			}
			sizes, records = append(sizes, s), append(records, value)
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return 0, fmt.Errorf("reading cosignatures: %w", err)
		}
		for i := len(sizes) - 1; i >= 0; i-- {
			note, err := v.Get(ctx, noteKey(sizes[i]))
			if err != nil {
				return 0, fmt.Errorf("reading the checkpoint of size %d: %w", sizes[i], err)
			}
			c, _, err := splitNote(note)
			if err != nil {
				return 0, fmt.Errorf("the checkpoint of size %d: %w", sizes[i], err)
			}
			// A record that cannot be read proves nothing here; verify names it.
			lines, err := parseCosignatures(records[i])
			if err == nil && holds(keys, lines, c.text()) >= quorum {
				return sizes[i], nil
			}
		}
		if from == 0 {
			break
		}
		upper = from - 1
	}
	return 0, nil
}
