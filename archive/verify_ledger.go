package archive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxClockGap is how far the time of a token may lie before that of an entry that it covers.
const maxClockGap = 5 * time.Minute

// filed is one entry of the segment.
type filed struct {
	entry *entry // nil: could not be read
	hash  [32]byte
	sum   [32]byte
}

// segment walks the own chain and notes what the entries commit to.
func (v *verifier) segment(ctx context.Context) error {
	v.dirs, v.erasures = map[uint64]*dir{}, map[string]bool{}
	if _, ok := v.sums["data/ledger/segment.jsonl"]; !ok {
		return nil
	}
	k, own, link, lastN := uint64(0), "", "", uint64(0)
	err := v.bundle.lines("data/ledger/segment.jsonl", maxEntry, func(line []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := &filed{hash: leafHash(line), sum: sha256.Sum256(line)}
		number := len(v.entries)
		v.entries = append(v.entries, f)
		e, err := parseEntry(line)
		switch {
		case errors.Is(err, errUnknownKind):
			v.unsure(CheckEntry, "line %d: %v", number+1, err)
		case err != nil:
			v.broken(CheckEntry, "line %d: %v", number+1, err)
			if e == nil {
				k, link = k+1, hexOf(f.sum)
				return nil
			}
		case v.opt.Entry != nil:
			if err := v.opt.Entry(line); err != nil {
				v.unsure(CheckEntry, "entry %d: %v", e.N, err)
			}
		}
		f.entry = e
		if number > 0 {
			switch {
			case e.Own.P != own:
				v.brokenEntry(CheckOwnChain, e.N, "entry stands in own chain %.100q, those before in %.100q", e.Own.P, own)
			case e.Own.K != k+1:
				v.brokenEntry(CheckOwnChain, e.N, "k is %d after %d", e.Own.K, k)
			case e.Own.Prev != link:
				v.brokenEntry(CheckOwnChain, e.N, "own.prev is not the SHA-256 of the entry before")
			case e.N <= lastN:
				v.brokenEntry(CheckOwnChain, e.N, "entry number is not over %d, that of the entry before", lastN)
			}
		} else if e.Own.K == 0 && e.Own.Prev != strings.Repeat("0", 64) {
			v.brokenEntry(CheckOwnChain, e.N, "the first entry of an own chain has own.prev other than zeros")
		}
		k, own, link, lastN = e.Own.K, e.Own.P, hexOf(f.sum), e.N
		v.take(e, f.sum, line)
		return nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		v.broken(CheckOwnChain, "data/ledger/segment.jsonl: %v", err)
	}
	v.Counts["entries"] = int64(len(v.entries))
	if len(v.entries) == 0 {
		v.broken(CheckOwnChain, "data/ledger/segment.jsonl has no entries")
		return nil
	}
	first, last := v.entries[0].entry, v.entries[len(v.entries)-1].entry
	if s := v.stated; s != nil && s.hasRange && first != nil && last != nil {
		if s.own != own || s.first != first.Own.K || s.last != last.Own.K || s.firstN != first.N || s.lastN != last.N {
			v.broken(CheckOwnChain, "the entries are %s k %d to %d (%d to %d), the index states %s k %d to %d (%d to %d)",
				own, first.Own.K, last.Own.K, first.N, last.N, s.own, s.first, s.last, s.firstN, s.lastN)
		}
	}
	return nil
}

// checkpoints checks the signed notes, that every entry is in the tree of the one after, and its token.
func (v *verifier) checkpoints(ctx context.Context) error {
	text := v.file(CheckCheckpoint, "data/ledger/vkey.txt", maxSmall)
	if text == nil {
		return nil
	}
	key, err := parseVKey(string(text))
	switch {
	case err != nil:
		v.broken(CheckCheckpoint, "data/ledger/vkey.txt: %v", err)
	case v.key != nil && (v.key.name != key.name || !v.key.key.Equal(key.key)):
		v.broken(CheckCheckpoint, "data/ledger/vkey.txt is not the key that the log is known by")
	}
	if v.key == nil {
		v.key = key
	}
	note := v.file(CheckCheckpoint, "data/ledger/checkpoint.after", maxNote)
	if v.key == nil || note == nil {
		return nil
	}
	var first, last *entry
	if n := len(v.entries); n > 0 {
		first, last = v.entries[0].entry, v.entries[n-1].entry
	}
	if before := v.file(CheckCheckpoint, "data/ledger/checkpoint.before", maxNote); len(before) > 0 {
		t, err := openCheckpoint(before, v.key)
		switch {
		case err != nil:
			v.broken(CheckCheckpoint, "data/ledger/checkpoint.before: %v", err)
		case first != nil && t.size > first.N:
			v.broken(CheckCheckpoint, "data/ledger/checkpoint.before has size %d, which is after the first entry %d", t.size, first.N)
		}
	}
	t, err := openCheckpoint(note, v.key)
	if err != nil {
		v.broken(CheckCheckpoint, "data/ledger/checkpoint.after: %v", err)
		return v.checkpointToken(ctx, note, nil, last)
	}
	if v.stated != nil && v.stated.hasRange && t.origin != v.stated.origin {
		v.broken(CheckCheckpoint, "data/ledger/checkpoint.after is of log %.200q, the index states %.200q", t.origin, v.stated.origin)
	}
	if last != nil && t.size <= last.N {
		v.broken(CheckCheckpoint, "data/ledger/checkpoint.after has size %d and does not cover entry %d", t.size, last.N)
	}
	v.inclusion(t)
	return v.checkpointToken(ctx, note, t, last)
}

// inclusion leads each entry to the root.
func (v *verifier) inclusion(t *tree) {
	if _, ok := v.sums["data/ledger/proofs.jsonl"]; !ok {
		return
	}
	i := 0
	err := v.bundle.lines("data/ledger/proofs.jsonl", 64<<10, func(line []byte) error {
		if i >= len(v.entries) {
			return errors.New("more lines than entries")
		}
		f := v.entries[i]
		i++
		if f.entry == nil {
			return nil
		}
		var l proofLine
		if err := strictKeys(line); err != nil {
			return err
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		path, err := l.decode()
		if err == nil && l.N != f.entry.N {
			err = fmt.Errorf("path is of entry %d", l.N)
		}
		if err == nil {
			err = checkInclusion(f.hash, l.N, t.size, path, t.root)
		}
		if err != nil {
			v.brokenEntry(CheckInclusion, f.entry.N, "%v", err)
		}
		return nil
	})
	if err == nil && i < len(v.entries) {
		err = fmt.Errorf("%d lines for %d entries", i, len(v.entries))
	}
	if err != nil {
		v.broken(CheckInclusion, "data/ledger/proofs.jsonl: %v", err)
	}
}

// checkpointToken checks the token over a note; t is nil when the note itself is broken.
func (v *verifier) checkpointToken(ctx context.Context, note []byte, t *tree, last *entry) error {
	reply := v.file(CheckCheckpointTSA, "data/ledger/checkpoint.after.tsr", maxSmall)
	if reply == nil {
		return nil
	}
	if v.opt.Stamp == nil {
		v.unsure(CheckCheckpointTSA, "data/ledger/checkpoint.after.tsr was not checked: no trust anchor configured")
		return nil
	}
	at, err := v.opt.Stamp.VerifyStamp(ctx, note, reply, time.Time{})
	if err != nil {
		v.stampFailed(CheckCheckpointTSA, "data/ledger/checkpoint.after.tsr", err)
		return ctx.Err()
	}
	if t != nil {
		v.Assurance = fmt.Sprintf("timestamped(%d, %s)", t.size, at.UTC().Format(time.RFC3339))
	}
	if last != nil && last.time.Sub(at) > maxClockGap {
		v.note(CheckCheckpointTSA, "the token's time %s is more than %s before that of entry %d", at.UTC().Format(time.RFC3339), maxClockGap, last.N)
	}
	return nil
}

// previous checks the link to the package before: it says what the sealed index says, and fits the range.
func (v *verifier) previous(context.Context) error {
	text := v.file(CheckPrevious, "data/ledger/previous.json", maxSmall)
	if text == nil {
		return nil
	}
	var p struct {
		V        int              `json:"v"`
		Own      string           `json:"own"`
		First    uint64           `json:"first"`
		Previous *PreviousPackage `json:"previous"`
	}
	err := strictKeys(text)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		v.broken(CheckPrevious, "data/ledger/previous.json: %v", err)
		return nil
	}
	if s := v.stated; s != nil && s.hasRange {
		if p.Own != s.own || p.First != s.first || (p.Previous == nil) != (s.previous == nil) || p.Previous != nil && *p.Previous != *s.previous {
			v.broken(CheckPrevious, "data/ledger/previous.json and PIndex.xml differ")
		}
	}
	switch {
	case p.Previous == nil && p.First > 0:
		v.note(CheckPrevious, "the range begins at k %d and names no package before it", p.First)
	case p.Previous != nil && (p.Previous.LastK+1 != p.First || !idForm.MatchString(p.Previous.ID) || !isHex64(p.Previous.SHA256)):
		v.broken(CheckPrevious, "the range begins at k %d, the package before ends at %d", p.First, p.Previous.LastK)
	}
	return nil
}
