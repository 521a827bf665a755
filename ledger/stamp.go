package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// StampedCheckpoint is a signed checkpoint with the time-stamp authority's word on it.
type StampedCheckpoint struct {
	Size  uint64
	Note  []byte // signed note; the token's imprint is its SHA-256
	Query []byte // DER TimeStampReq
	Reply []byte // DER TimeStampResp
}

// stampRecord is what stands under stampKey.
type stampRecord struct {
	Query []byte `json:"query"`
	Reply []byte `json:"reply"`
}

// ErrNoStamper says that no time-stamp authority is configured.
var ErrNoStamper = errors.New("no time-stamp authority is configured")

// stampLoop asks a token every StampEvery when the tree grew by anything but tokens.
func (l *Ledger) stampLoop(ctx context.Context) {
	tick := time.NewTicker(l.opts.StampEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := l.stampIfGrown(ctx); err != nil && ctx.Err() == nil {
				l.log.Warn("no time-stamp token; trying again at the next interval", "error", err.Error())
			}
		case <-ctx.Done():
			return
		}
	}
}

func (l *Ledger) stampIfGrown(ctx context.Context) error {
	grown, err := l.grewSinceStamp(ctx)
	if err != nil || !grown {
		return err
	}
	return l.stamp(ctx)
}

// grewSinceStamp looks whether an entry other than a timestamp follows the newest stamped size. It
// reads backwards no further than the run of timestamp entries at the end.
func (l *Ledger) grewSinceStamp(ctx context.Context) (bool, error) {
	for n := l.Size(); n > 0; n-- {
		e, err := readEntry(ctx, l.View(), n-1)
		if err != nil {
			return false, err
		}
		if e.Kind != KindTimestamp {
			stamped, err := After(ctx, l.View(), n-1)
			return stamped == nil, err
		}
	}
	return false, nil
}

// stamp asks a token over the newest signed checkpoint and records it.
func (l *Ledger) stamp(ctx context.Context) error {
	size, note, err := NewestNote(ctx, l.View())
	if err != nil {
		return err
	}
	digest := sha256.Sum256(note)
	s, err := l.opts.Stamper.Stamp(ctx, digest)
	if err != nil {
		return fmt.Errorf("asking a token over the checkpoint of size %d: %w", size, err)
	}
	text, _, err := splitNote(note)
	if err != nil {
		return err
	}
	value, err := json.Marshal(stampRecord{s.Query, s.Reply})
	if err != nil {
		return err
	}
	it, err := l.logItem(LogChain, Tail{Kind: KindTimestamp, Timestamp: &Timestamp{Size: size, Root: text.Root,
		Checkpoint: digest, Reply: sha256.Sum256(s.Reply), Authority: s.Authority, Time: At(s.Time)}})
	if err != nil {
		return err
	}
	it.writes = []kv{{stampKey(size), value}}
	_, err = l.append(ctx, it)
	return err
}

// EnsureStamped gives the first signed checkpoint with a token that covers entry n, asking for both
// when there is none yet.
func (l *Ledger) EnsureStamped(ctx context.Context, n uint64) (*StampedCheckpoint, error) {
	if s, err := After(ctx, l.View(), n); err != nil || s != nil {
		return s, err
	}
	if l.opts.Stamper == nil {
		return nil, ErrNoStamper
	}
	if n >= l.Size() {
		return nil, fmt.Errorf("entry %d is not in the ledger yet", n)
	}
	if err := l.notary.await(ctx, n+1); err != nil {
		return nil, fmt.Errorf("waiting for a checkpoint over entry %d: %w", n, err)
	}
	if err := l.stamp(ctx); err != nil {
		return nil, err
	}
	return After(ctx, l.View(), n)
}

// ErrNoCheckpoint says that nothing of the log is signed yet.
var ErrNoCheckpoint = errors.New("the ledger has no signed checkpoint yet")

// NewestNote gives the newest signed checkpoint, or ErrNoCheckpoint.
func NewestNote(ctx context.Context, v View) (size uint64, note []byte, err error) {
	h, err := readHead(ctx, v)
	if err != nil {
		return 0, nil, err
	}
	size, note, err = Before(ctx, v, h.Size)
	if err == nil && note == nil {
		err = ErrNoCheckpoint
	}
	return size, note, err
}

// Before gives the newest signed checkpoint whose size is at most max; note is nil where there is none.
func Before(ctx context.Context, v View, max uint64) (size uint64, note []byte, err error) {
	for step, from := uint64(256), max; ; step *= 4 {
		if from > step {
			from -= step
		} else {
			from = 0
		}
		err = v.Scan(ctx, []byte{tableNote}, noteKey(from), func(key, value []byte) error {
			s := binary.BigEndian.Uint64(key[1:])
			if s > max {
				return errStop
			}
			size, note = s, value
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return 0, nil, fmt.Errorf("reading checkpoints: %w", err)
		}
		if note != nil || from == 0 {
			return size, note, nil
		}
	}
}

// After gives the first signed checkpoint with a token whose size is above n; nil where there is none.
func After(ctx context.Context, v View, n uint64) (*StampedCheckpoint, error) {
	var found *StampedCheckpoint
	err := v.Scan(ctx, []byte{tableStamp}, stampKey(n+1), func(key, value []byte) error {
		var r stampRecord
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		found = &StampedCheckpoint{Size: binary.BigEndian.Uint64(key[1:]), Query: r.Query, Reply: r.Reply}
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, fmt.Errorf("reading time-stamp tokens: %w", err)
	}
	if found == nil {
		return nil, nil
	}
	if found.Note, err = v.Get(ctx, noteKey(found.Size)); err != nil {
		return nil, fmt.Errorf("reading the checkpoint of size %d: %w", found.Size, err)
	}
	return found, nil
}
