package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
)

// RolledBackError says that an anchor vouches for entries that the ledger does not hold.
type RolledBackError struct {
	Anchor     string // its name
	Origin     string // of the log that the anchor vouches for; a later one than the ledger's own after an accepted rollback
	AnchorSize uint64
	Size       uint64 // of the ledger
	Dir        string
	Later      bool // the log went on as Origin, and this directory is of before
}

// Error names what is gone and what to do.
func (e *RolledBackError) Error() string {
	if e.Later {
		return fmt.Sprintf("the ledger in %s is of before a rollback that was accepted: anchor %s vouches for %d entries of %s, which went on in its place; nothing is served; put that ledger's directory here",
			e.Dir, e.Anchor, e.AnchorSize, e.Origin)
	}
	return fmt.Sprintf("the ledger in %s was rolled back: anchor %s vouches for %d entries of %s, the ledger holds %d: entries %d to %d are gone; nothing is served; restore the newest backup, or, if they are lost for good, see 'sigillo ledger accept-rollback --help'",
		e.Dir, e.Anchor, e.AnchorSize, e.Origin, e.Size, e.Size, e.AnchorSize-1)
}

// ForkedError says that an anchor vouches for another history than the ledger's: at Size the two have
// different roots, so somebody went on with a copy, or wrote the ledger anew.
type ForkedError struct {
	Anchor     string
	Origin     string
	Size       uint64 // the anchor's
	AnchorRoot Hash
	Root       Hash // of the ledger's tree at that size
	Dir        string
}

// Error names both roots and what to do.
func (e *ForkedError) Error() string {
	return fmt.Sprintf("the ledger in %s is another history than the one that anchor %s vouches for: at size %d of %s the anchor has root %s, the ledger %s; nothing is served; find out who went on with a copy of this ledger, and keep both",
		e.Dir, e.Anchor, e.Size, e.Origin, e.AnchorRoot, e.Root)
}

// readMark asks an anchor and checks that the log's key signed what it gives.
func (l *Ledger) readMark(ctx context.Context, a Anchor, origin string) (AnchorMark, error) {
	pub, ok := l.opts.Checkpoints.Public().(ed25519.PublicKey)
	if !ok {
		return AnchorMark{}, errors.New("the checkpoint key is not Ed25519")
	}
	return readMark(ctx, a, origin, pub)
}

func readMark(ctx context.Context, a Anchor, origin string, pub ed25519.PublicKey) (AnchorMark, error) {
	ctx, cancel := context.WithTimeout(ctx, anchorCall)
	defer cancel()
	m, err := a.Read(ctx)
	if err != nil {
		return AnchorMark{}, err
	}
	c, err := OpenCheckpoint(m.Note, origin, pub)
	if err != nil {
		return AnchorMark{}, fmt.Errorf("%w: %w", ErrAnchorMark, err)
	}
	if c.Origin != m.Origin || c.Size != m.Size || c.Root != m.Root {
		return AnchorMark{}, fmt.Errorf("%w: it contradicts its signed note", ErrAnchorMark)
	}
	return m, nil
}

// seenMark is what an anchor said before anything of the ledger was touched.
type seenMark struct {
	anchor *anchorer
	mark   AnchorMark
}

// readAnchors asks all anchors, before a byte of the ledger is touched. With a directory that holds no
// ledger every mark is already the answer.
func (l *Ledger) readAnchors(ctx context.Context) (seen []seenMark, err error) {
	var away []error
	unusable := func(a Anchor, err error) {
		if l.opts.AnchorsRequired {
			away = append(away, fmt.Errorf("anchor %s cannot be used: %w", a.Name(), err))
			return
		}
		l.log.Warn("an anchor cannot be used; starting without it, as the configuration allows", "anchor", a.Name(), "error", err.Error())
	}
	for _, a := range l.opts.Anchors {
		k := &anchorer{l: l, a: a, state: AnchorState{Name: a.Name()}}
		l.anchors = append(l.anchors, k)
		switch m, err := l.readMark(ctx, a, l.opts.Origin); {
		case err == nil:
			k.state.Size, k.state.At = m.Size, l.clock()
			seen = append(seen, seenMark{k, m})
		case !errors.Is(err, ErrNoMark):
			k.state.Failing, k.state.Err = l.clock(), err
			unusable(a, err)
		}
	}
	for _, a := range l.opts.LaterAnchors {
		switch m, err := l.readMark(ctx, a, l.opts.LaterOrigin); {
		case err == nil:
			return nil, &RolledBackError{Anchor: a.Name(), Origin: m.Origin, AnchorSize: m.Size, Dir: l.opts.Dir, Later: true}
		case !errors.Is(err, ErrNoMark):
			unusable(a, err)
		}
	}
	if len(away) > 0 {
		return nil, fmt.Errorf("whether the ledger in %s was rolled back cannot be told: %w (anchors.required: false starts all the same)", l.opts.Dir, errors.Join(away...))
	}
	existing, err := hasStore(filepath.Join(l.opts.Dir, storeDirName))
	if err != nil {
		return nil, err
	}
	for _, s := range seen {
		if !existing {
			return nil, &RolledBackError{Anchor: s.anchor.a.Name(), Origin: s.mark.Origin, AnchorSize: s.mark.Size, Dir: l.opts.Dir}
		}
	}
	return seen, nil
}

// compareAnchors holds the opened store against what the anchors said; nothing is written before it.
func (l *Ledger) compareAnchors(ctx context.Context, seen []seenMark, size uint64) error {
	if size > 0 {
		for _, k := range l.anchors {
			if k.state.Size == 0 && k.state.Failing.IsZero() {
				l.log.Warn("an anchor holds no mark of this ledger yet: it vouches from now on only", "anchor", k.state.Name, "entries", size)
			}
		}
	}
	var all []error
	for _, s := range seen {
		all = append(all, holdAgainst(ctx, badgerView{l.db}, size, l.opts.Dir, s.anchor.state.Name, s.mark))
	}
	return errors.Join(all...)
}

// holdAgainst compares the live ledger with one mark.
func (l *Ledger) holdAgainst(ctx context.Context, name string, m AnchorMark) error {
	return holdAgainst(ctx, l.View(), l.Size(), l.opts.Dir, name, m)
}

// holdAgainst gives *RolledBackError or *ForkedError where a log of the given size is not what m
// vouches for. The root at the mark's size is computed from the tree.
func holdAgainst(ctx context.Context, v View, size uint64, dir, name string, m AnchorMark) error {
	if m.Size > size {
		return &RolledBackError{Anchor: name, Origin: m.Origin, AnchorSize: m.Size, Size: size, Dir: dir}
	}
	if m.Size == 0 {
		return nil
	}
	root, err := rangeRoot(0, m.Size, nodes(ctx, v, size))
	if err != nil {
		return fmt.Errorf("computing the root at the anchored size %d: %w", m.Size, err)
	}
	if root != m.Root {
		return &ForkedError{Anchor: name, Origin: m.Origin, Size: m.Size, AnchorRoot: m.Root, Root: root, Dir: dir}
	}
	return nil
}

// refusedByAnchors tells whether err is the verdict of an anchor.
func refusedByAnchors(err error) bool {
	var rolled *RolledBackError
	var forked *ForkedError
	return errors.As(err, &rolled) || errors.As(err, &forked)
}

// leaveAsFound puts the sign of a clean stop back where an anchor refused a ledger that had it: nothing
// was written, so the next look at it needs no recovery.
func (l *Ledger) leaveAsFound(unclean bool, err error) error {
	if unclean || !refusedByAnchors(err) {
		return nil
	}
	return markClean(l.opts.Dir)
}
