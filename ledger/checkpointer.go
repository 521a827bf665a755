package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrForked says that a log has, or had, another history than the one that lies here: a witness or a
// checkpoint of its own holds another root, or more entries, than it has. Nothing is signed and
// nothing appended after it; a person must find out which of the histories is the log.
var ErrForked = errors.New("the log was forked or rolled back")

// checkpoints signs the newest synced tree until ctx ends, beginning after the witnesses had the chance
// to say that the log is not the one they know.
//
// The promise by which no two checkpoints of one size have different roots is durable before a
// signature is asked for: HEAD names the size and the root. A signature that was lost with the process
// before it was stored is over that root, and the next process signs the same one or a larger.
func (n *notary) checkpoints(ctx context.Context) {
	select {
	case <-n.gate:
	case <-ctx.Done():
		return
	}
	retry := notaryMinRetry
	for {
		signed, err := n.signTree(ctx)
		if errors.Is(err, ErrForked) {
			n.fork(err)
			return
		}
		if err != nil && ctx.Err() != nil {
			return
		}
		n.fault(checkpointFault, err)
		if err != nil {
			if !pause(ctx, retry) {
				return
			}
			retry = min(2*retry, notaryMaxRetry)
			continue
		}
		retry = notaryMinRetry
		if signed {
			continue
		}
		select {
		case <-n.pokeTree:
		case <-ctx.Done():
			return
		}
	}
}

// pause waits; false: ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// signTree signs and stores the newest synced tree, where it is time for that.
func (n *notary) signTree(ctx context.Context) (signed bool, err error) {
	m := *n.l.synced.Load()
	n.mu.Lock()
	// One checkpoint for each batch of receipts, and one ahead; who waits for one has it at once.
	ahead := n.busy && n.tree.size > n.under && n.wanted <= n.tree.size
	done := m.size <= n.tree.size
	n.mu.Unlock()
	if done || ahead {
		return false, nil
	}
	stored, err := storedCheckpoint(ctx, badgerView{n.l.db}, m)
	if err != nil {
		return false, err
	}
	if !stored {
		note, err := signCheckpoint(ctx, Checkpoint{Origin: n.l.opts.Origin, Size: m.size, Root: m.root}, n.l.opts.Checkpoints)
		if err != nil {
			return false, err
		}
		if ctx.Err() != nil { // found forked meanwhile: it must not go out
			return false, ctx.Err()
		}
		if err := n.l.store(ctx, []kv{{noteKey(m.size), note}}, nil); err != nil {
			return false, fmt.Errorf("storing the checkpoint of size %d: %w", m.size, err)
		}
	}
	n.mu.Lock()
	n.tree = m
	close(n.grew)
	n.grew = make(chan struct{})
	n.mu.Unlock()
	poke(n.pokeReceipts)
	if n.cosigner != nil {
		poke(n.cosigner.poke)
	}
	return true, nil
}

// storedCheckpoint tells whether the tree m has a stored checkpoint, and refuses with ErrForked where
// there is one of this size with another root, or one of a larger size.
func storedCheckpoint(ctx context.Context, v View, m mark) (bool, error) {
	size, note, err := noteFrom(ctx, v, m.size)
	if err != nil || note == nil {
		return false, err
	}
	if size > m.size {
		return false, fmt.Errorf("a checkpoint of size %d is signed already, the log has %d entries: %w", size, m.size, ErrForked)
	}
	c, _, err := splitNote(note)
	if err != nil {
		return false, fmt.Errorf("the stored checkpoint of size %d: %w", size, err)
	}
	if c.Size != size || c.Root != m.root {
		return false, fmt.Errorf("the checkpoint that is signed for size %d has another root than the log: %w", size, ErrForked)
	}
	return true, nil
}

// noteFrom gives the stored checkpoint with the smallest size that is not below from; nil: none.
func noteFrom(ctx context.Context, v View, from uint64) (size uint64, note []byte, err error) {
	err = v.Scan(ctx, []byte{tableNote}, noteKey(from), func(key, value []byte) error {
		size, note = binary.BigEndian.Uint64(key[1:]), value
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return 0, nil, fmt.Errorf("reading checkpoints: %w", err)
	}
	return size, note, nil
}

// newestSigned gives the newest stored checkpoint of a log of the given size, which must be over the
// beginning of that log: a start may not add a second history to one that was signed.
func newestSigned(ctx context.Context, v View, origin string, size uint64) (mark, error) {
	above, note, err := noteFrom(ctx, v, size+1)
	if err != nil {
		return mark{}, err
	}
	if note != nil {
		return mark{}, fmt.Errorf("a checkpoint of size %d is signed, the log has %d entries: %w", above, size, ErrForked)
	}
	at, note, err := Before(ctx, v, size)
	if err != nil || note == nil {
		return mark{}, err
	}
	c, _, err := splitNote(note)
	if err != nil {
		return mark{}, fmt.Errorf("the newest checkpoint: %w", err)
	}
	if c.Size != at || c.Origin != origin {
		return mark{}, fmt.Errorf("the newest checkpoint, kept for size %d, is of size %d and origin %q", at, c.Size, c.Origin)
	}
	root, err := rangeRoot(0, at, nodes(ctx, v, size))
	if err != nil {
		return mark{}, fmt.Errorf("holding the newest checkpoint against the tree: %w", err)
	}
	if root != c.Root {
		return mark{}, fmt.Errorf("the newest checkpoint, of size %d, has another root than the log at that size: %w", at, ErrForked)
	}
	return mark{size: at, root: root}, nil
}
