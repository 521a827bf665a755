package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"

	"sigillo/internal/exchange"
)

// CompareAnchors holds a log that was opened for reading against its anchors (formats.md 10). Findings:
// rolled-back (an anchor vouches for entries that the log does not hold), forked (it vouches for another
// history), anchor (indeterminate: it cannot be used, or holds no mark yet). The assurance is that of the
// greatest size that an anchor and the log agree on: "anchored(SIZE)", or "self" where there is none.
//
// Anchors say what their writers say: whoever holds ledger, signing key and the right to write an anchor
// can still write a new history.
func CompareAnchors(ctx context.Context, l *Log, anchors []Anchor) (findings []exchange.Finding, assurance string) {
	assurance = "self"
	pub, err := genesisKey(l)
	if err != nil {
		return []exchange.Finding{{Check: "anchor", Severity: exchange.Indeterminate, Detail: err.Error()}}, assurance
	}
	agreed := uint64(0)
	for _, a := range anchors {
		m, err := readMark(ctx, a, l.Origin(), pub)
		if err == nil {
			err = holdAgainst(ctx, l.View, sizeNow(ctx, l), "", a.Name(), m)
		}
		if err != nil {
			findings = append(findings, anchorFinding(a, err))
			continue
		}
		agreed = max(agreed, min(m.Size, l.Head.Size))
	}
	if agreed > 0 {
		assurance = fmt.Sprintf("anchored(%d)", agreed)
	}
	return findings, assurance
}

// CompareLater looks whether the log went on under another origin after an accepted rollback, so that
// this one is of before.
func CompareLater(ctx context.Context, l *Log, origin string, anchors []Anchor) (findings []exchange.Finding) {
	pub, err := genesisKey(l)
	if err != nil {
		return nil // CompareAnchors says it
	}
	for _, a := range anchors {
		m, err := readMark(ctx, a, origin, pub)
		switch {
		case err == nil:
			n := l.Head.Size
			findings = append(findings, exchange.Finding{Check: "rolled-back", Severity: exchange.Broken, Entry: &n,
				Detail: fmt.Sprintf("anchor %s vouches for %d entries of %s: the log went on there after a rollback of this one was accepted", a.Name(), m.Size, m.Origin)})
		case !errors.Is(err, ErrNoMark):
			findings = append(findings, anchorFinding(a, err))
		}
	}
	return findings
}

func anchorFinding(a Anchor, err error) exchange.Finding {
	var rolled *RolledBackError
	var forked *ForkedError
	switch {
	case errors.As(err, &rolled):
		return exchange.Finding{Check: "rolled-back", Severity: exchange.Broken, Entry: &rolled.Size,
			Detail: fmt.Sprintf("anchor %s vouches for %d entries, the ledger holds %d: entries %d to %d are gone", a.Name(), rolled.AnchorSize, rolled.Size, rolled.Size, rolled.AnchorSize-1)}
	case errors.As(err, &forked):
		return exchange.Finding{Check: "forked", Severity: exchange.Broken,
			Detail: fmt.Sprintf("at size %d anchor %s has root %s, the ledger %s: another history", forked.Size, a.Name(), forked.AnchorRoot, forked.Root)}
	case errors.Is(err, ErrNoMark):
		return exchange.Finding{Check: "anchor", Severity: exchange.Indeterminate, Detail: fmt.Sprintf("anchor %s holds no mark of this log", a.Name())}
	}
	return exchange.Finding{Check: "anchor", Severity: exchange.Indeterminate, Detail: fmt.Sprintf("anchor %s cannot be used: %s", a.Name(), oneLine(err))}
}

// sizeNow is the size of a log that may have grown since it was opened: its anchors then are ahead of
// what was opened. It is asked after them.
func sizeNow(ctx context.Context, l *Log) uint64 {
	size := l.Head.Size
	if h, err := readHead(ctx, l.View); err == nil {
		size = max(size, h.Size)
	}
	return size
}

// genesisKey is the checkpoint key that a log's genesis names.
func genesisKey(l *Log) (ed25519.PublicKey, error) {
	for _, k := range l.Genesis.Genesis.Keys {
		if k.Use != "checkpoint" {
			continue
		}
		pub, err := x509.ParsePKIXPublicKey(k.SPKI)
		if err != nil {
			return nil, fmt.Errorf("checkpoint key in genesis: %w", err)
		}
		if ed, ok := pub.(ed25519.PublicKey); ok {
			return ed, nil
		}
	}
	return nil, errors.New("genesis names no Ed25519 checkpoint key")
}

// ReadOnce asks the anchors now and gives anchors that remember the answers. A verifier that reads a
// live log in a snapshot asks before it takes the snapshot: else the anchors go on meanwhile, and an
// honest log looks rolled back.
func ReadOnce(ctx context.Context, anchors []Anchor) []Anchor {
	out := make([]Anchor, len(anchors))
	for i, a := range anchors {
		call, cancel := context.WithTimeout(ctx, anchorCall)
		m, err := a.Read(call)
		cancel()
		out[i] = askedAnchor{a, m, err}
	}
	return out
}

type askedAnchor struct {
	Anchor
	mark AnchorMark
	err  error
}

func (a askedAnchor) Read(context.Context) (AnchorMark, error) { return a.mark, a.err }
