package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A ledger cannot vouch for its own tail: one that was rolled back to yesterday's backup verifies
// perfectly. So the newest signed checkpoint is also kept in anchors, outside the ledger, where it only
// grows (ledger.md 5). Start and verify hold the ledger against them.

// AnchorMark is a signed checkpoint as an anchor keeps it.
type AnchorMark struct {
	Origin string
	Size   uint64
	Root   Hash
	Note   []byte // the signed note that says the three above, at most 16 KiB
	// Version tells this write of the anchor from every other, as Read gave it; 0: nothing was written yet.
	// Advance writes in the place of exactly this one.
	Version uint64
}

// Anchor keeps one log's newest mark. It only grows: Advance never writes a smaller size, nor another
// root at the same size, and never over a write that its caller has not read. Safe for concurrent use.
type Anchor interface {
	// Name tells anchors apart in logs, findings and readiness; it holds no secret.
	Name() string
	// Read gives the mark that stands there, unverified, or ErrNoMark when nothing was ever written.
	// Any other error says that the anchor cannot be used now.
	Read(ctx context.Context) (AnchorMark, error)
	// Advance writes m in the place of the mark of m.Version. A mark that stands there already is no
	// error. ErrAnchorMoved, ErrAnchorAhead, ErrAnchorForked: nothing was written.
	Advance(ctx context.Context, m AnchorMark) error
}

// What an anchor can say.
var (
	ErrNoMark       = errors.New("the anchor holds no mark yet")
	ErrAnchorMoved  = errors.New("somebody else wrote the anchor meanwhile")
	ErrAnchorAhead  = errors.New("the anchor holds a greater size")
	ErrAnchorForked = errors.New("the anchor holds another root at this size")
	ErrAnchorMark   = errors.New("what the anchor holds is no mark of this log")
)

// MarkOf reads what a signed note says. It does not judge the signature.
func MarkOf(note []byte) (AnchorMark, error) {
	c, _, err := splitNote(note)
	if err != nil {
		return AnchorMark{}, fmt.Errorf("%w: %w", ErrAnchorMark, err)
	}
	return AnchorMark{Origin: c.Origin, Size: c.Size, Root: c.Root, Note: note}, nil
}

// Precedes tells an Anchor's Advance whether next may be written in the place of m, which stands there
// (the zero mark: nothing does). Neither write nor error: m is next already.
func (m AnchorMark) Precedes(next AnchorMark) (write bool, err error) {
	switch {
	case m.Version == 0 && next.Version == 0:
		return true, nil
	case m.Version == 0:
		return false, ErrAnchorMoved
	case m.Origin != next.Origin:
		return false, fmt.Errorf("a mark of %q, not of %q: %w", m.Origin, next.Origin, ErrAnchorMark)
	case m.Size > next.Size:
		return false, fmt.Errorf("%d entries, not %d: %w", m.Size, next.Size, ErrAnchorAhead)
	case m.Size == next.Size && m.Root != next.Root:
		return false, fmt.Errorf("size %d: %w", m.Size, ErrAnchorForked)
	case m.Size == next.Size:
		return false, nil
	case m.Version != next.Version:
		return false, ErrAnchorMoved
	}
	return true, nil
}

// AnchorState says how far one anchor is.
type AnchorState struct {
	Name    string
	Size    uint64    // of the newest mark that is known to stand there
	At      time.Time // when that was seen; zero: not yet by this process
	Failing time.Time // since when the anchor cannot be used; zero: it can
	Err     error     // why
}

// Bounds of talking to an anchor.
const (
	anchorCall     = 15 * time.Second // one Read or Advance
	anchorFirst    = 20 * time.Millisecond
	anchorMinRetry = 500 * time.Millisecond
	anchorMaxRetry = time.Minute
	defaultAnchor  = 10 * time.Second // Options.AnchorEvery
)

// anchorer carries one anchor forward. Each has a goroutine of its own, so that one that hangs does not
// hold the others up.
type anchorer struct {
	l *Ledger
	a Anchor

	mu    sync.Mutex
	state AnchorState
}

// startAnchors begins to carry the anchors forward; ctx ends it, l.workers waits for it.
func (l *Ledger) startAnchors(ctx context.Context) {
	for _, k := range l.anchors {
		l.workers.Go(func() { k.run(ctx) })
	}
}

func (k *anchorer) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := anchorMinRetry
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if k.advance(ctx) == nil {
			retry = anchorMinRetry
			timer.Reset(k.wait())
			continue
		}
		timer.Reset(retry)
		retry = min(2*retry, max(anchorMaxRetry, k.l.opts.AnchorEvery))
	}
}

// wait is the time until the next round: short until the first checkpoint of a new log is anchored.
func (k *anchorer) wait() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state.Size == 0 {
		return min(anchorFirst, k.l.opts.AnchorEvery)
	}
	return k.l.opts.AnchorEvery
}

// lastAnchors carries every anchor to the newest signed checkpoint once more, when the ledger closes.
func (l *Ledger) lastAnchors(ctx context.Context) {
	var all sync.WaitGroup
	for _, k := range l.anchors {
		all.Go(func() { _ = k.advance(ctx) }) // noted; the next start goes on from here
	}
	all.Wait()
}

// advance carries the anchor to the newest signed checkpoint, if that has grown.
func (k *anchorer) advance(ctx context.Context) error {
	size, err := k.step(ctx)
	if err != nil && ctx.Err() != nil && k.l.failed.Load() == nil {
		return err // stopping is no failure of the anchor
	}
	k.note(size, err)
	return err
}

// step is one round; size is that of the mark that stands there afterwards, 0 where nothing was asked.
func (k *anchorer) step(ctx context.Context) (uint64, error) {
	l := k.l
	size, note, err := Before(ctx, l.View(), l.Size())
	if err != nil {
		return 0, err
	}
	k.mu.Lock()
	known, failing := k.state.Size, !k.state.Failing.IsZero()
	k.mu.Unlock()
	if note == nil || size <= known && !failing {
		return 0, nil
	}
	m, err := l.readMark(ctx, k.a, l.opts.Origin)
	if err != nil && !errors.Is(err, ErrNoMark) {
		return 0, err
	}
	// Another process that goes on with a copy of this ledger shows here: the one that comes second stops.
	// A tree that cannot be read just now says nothing of the kind.
	if err := l.holdAgainst(ctx, k.a.Name(), m); err != nil {
		if refusedByAnchors(err) {
			l.fail(err)
		}
		return 0, err
	}
	if m.Size >= size {
		return m.Size, nil
	}
	next, err := MarkOf(note)
	if err != nil {
		return 0, err
	}
	next.Version = m.Version
	call, cancel := context.WithTimeout(ctx, anchorCall)
	defer cancel()
	if err := k.a.Advance(call, next); err != nil {
		return 0, fmt.Errorf("advancing the anchor to size %d: %w", size, err)
	}
	return size, nil
}

// note remembers whether the anchor can be used, and logs the change only.
func (k *anchorer) note(size uint64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := &k.state
	switch {
	case err != nil && s.Failing.IsZero():
		s.Failing = k.l.clock()
		k.l.log.Warn("an anchor cannot be advanced; entries go on without it", "anchor", s.Name, "error", err.Error())
	case err == nil && !s.Failing.IsZero():
		s.Failing = time.Time{}
		k.l.log.Info("the anchor can be advanced again", "anchor", s.Name)
	}
	s.Err = err
	if err == nil && size > 0 {
		s.Size, s.At = size, k.l.clock()
	}
}

// Anchored tells the state of every configured anchor, in the order of Options.Anchors.
func (l *Ledger) Anchored() []AnchorState {
	out := make([]AnchorState, 0, len(l.anchors))
	for _, k := range l.anchors {
		k.mu.Lock()
		out = append(out, k.state)
		k.mu.Unlock()
	}
	return out
}
