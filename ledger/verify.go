package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// VerifyOptions say what a verification has at hand.
type VerifyOptions struct {
	// Keys opens sealed content; nil: content is reported as not checked, unless SkipContent.
	Keys        ClassKeys
	SkipContent bool
	// CheckReceipt checks a compact JWS and gives its payload; nil: receipts are not opened.
	CheckReceipt func(compact string) ([]byte, error)
	// CheckStamp checks a time-stamp reply over data; nil: tokens are compared by digest only.
	CheckStamp func(reply, data []byte) error
	// Checkpoint is a signed note of before, kept outside: the ledger must contain its tree.
	Checkpoint []byte
	// CheckpointKey is the log's key as the verifier knows it; nil: the one that genesis names.
	CheckpointKey ed25519.PublicKey
	// Progress, when set, is told how many entries were read, of how many.
	Progress func(done, total uint64)
}

// Verify reads a whole log and lists everything that is wrong with it (ledger.md 6). It writes
// nothing. An error means that the log could not even be begun; everything else is a finding.
func Verify(ctx context.Context, l *Log, o VerifyOptions) (*exchange.Verdict, error) {
	v := &verifier{log: l, opts: o, out: exchange.NewVerdict(), own: map[string]ownState{}, open: map[uuid.UUID]uint64{}}
	if o.Keys != nil {
		v.opener = newOpener(l.View, o.Keys)
	}
	if err := v.keys(); err != nil {
		return nil, err
	}
	if err := v.earlier(); err != nil {
		return nil, err
	}
	if err := v.entries(ctx); err != nil {
		return nil, err
	}
	v.end(ctx)
	return v.out, nil
}

// verifier walks the log once; its fields are the state after the entries read so far.
type verifier struct {
	log    *Log
	opts   VerifyOptions
	out    *exchange.Verdict
	opener *opener

	key   ed25519.PublicKey
	notes noteCursor
	tile  tileCursor

	tree frontier
	last Hash // of the entry before
	time Time
	own  map[string]ownState
	open map[uuid.UUID]uint64 // exchanges without a closing entry: n of the request

	good uint64 // size of the newest checkpoint whose root held

	before *Checkpoint // VerifyOptions.Checkpoint, opened
	noKey  int64
}

// keys finds the checkpoint key that the log is held against.
func (v *verifier) keys() error {
	g := v.log.Genesis.Genesis
	if g.Custody != "vault" {
		v.out.Addf("custody", exchange.Remark, "the keys of this log lie in a file: a demonstration, not evidence")
	}
	v.key = v.opts.CheckpointKey
	for _, k := range g.Keys {
		if k.Use != "checkpoint" {
			continue
		}
		pub, err := x509.ParsePKIXPublicKey(k.SPKI)
		if err != nil {
			return fmt.Errorf("checkpoint key in genesis: %w", err)
		}
		ed, ok := pub.(ed25519.PublicKey)
		if !ok {
			return errors.New("the checkpoint key in genesis is not Ed25519")
		}
		if v.key == nil {
			v.key = ed
		} else if !v.key.Equal(ed) {
			v.out.Entryf("genesis", exchange.Broken, 0, "names another checkpoint key than the one given")
		}
	}
	if v.key == nil {
		return errors.New("genesis names no checkpoint key")
	}
	return nil
}

// earlier opens the checkpoint of before.
func (v *verifier) earlier() error {
	if v.opts.Checkpoint == nil {
		return nil
	}
	c, err := OpenCheckpoint(v.opts.Checkpoint, v.log.Origin(), v.key)
	if err != nil {
		return fmt.Errorf("the checkpoint given: %w", err)
	}
	v.before = &c
	if c.Size > v.log.Head.Size {
		v.out.Entryf("rolled-back", exchange.Broken, v.log.Head.Size,
			"the checkpoint given is of size %d, the ledger holds %d entries: entries %d to %d are gone", c.Size, v.log.Head.Size, v.log.Head.Size, c.Size-1)
	}
	return nil
}

// entries reads all entries in order. Where a scan ends early the entry is asked for by itself, so
// that a damaged one is named and the rest is still read.
func (v *verifier) entries(ctx context.Context) error {
	size := v.log.Head.Size
	for n := uint64(0); n < size; {
		scanErr := v.log.Scan(ctx, []byte{tableEntry}, entryKey(n), func(key, value []byte) error {
			if n >= size || string(key) != string(entryKey(n)) {
				return errStop
			}
			v.entry(ctx, n, value)
			n++
			return nil
		})
		if err := ctx.Err(); err != nil {
			return err
		}
		if n >= size {
			break
		}
		b, err := v.log.Get(ctx, entryKey(n))
		switch {
		case err == nil:
			v.entry(ctx, n, b)
			n++
		case errors.Is(err, ErrNotFound):
			first := n
			for n++; n < size; n++ {
				if _, err := v.log.Get(ctx, entryKey(n)); !errors.Is(err, ErrNotFound) {
					break
				}
			}
			v.lost(first, n, "missing")
		default:
			v.lost(n, n+1, fmt.Sprintf("cannot be read: %v", errors.Join(err, scanErr)))
			n++
		}
	}
	v.out.Counts["entries"] = int64(size)
	v.beyond(ctx, size)
	return nil
}

// lost takes note of entries that are not there; the tree goes on with the leaves of the tiles.
func (v *verifier) lost(first, end uint64, why string) {
	if end == first+1 {
		v.out.Entryf("entry", exchange.Broken, first, "%s", why)
	} else {
		v.out.Entryf("entry", exchange.Broken, first, "entries %d to %d: %s", first, end-1, why)
	}
	v.last = Hash{}
}

// beyond looks for entries above the head.
func (v *verifier) beyond(ctx context.Context, size uint64) {
	err := v.log.Scan(ctx, []byte{tableEntry}, entryKey(size), func(key, _ []byte) error {
		v.out.Entryf("entry", exchange.Broken, size, "stands above the head of the log")
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		v.out.Addf("store", exchange.Broken, "reading above the head: %v", err)
	}
}

// end draws the balance after the last entry.
func (v *verifier) end(ctx context.Context) {
	h := v.log.Head
	if v.last != h.Last {
		v.out.Entryf("head", exchange.Broken, h.Size-1, "is not the entry that the head names")
	}
	if v.whole() && v.tree.root() != h.Root {
		v.out.Addf("tree", exchange.Broken, "the entries do not have the root that the head names")
	}
	if size, _, err := Before(ctx, v.log, h.Size); err != nil {
		v.out.Addf("checkpoint", exchange.Broken, "%v", err)
	} else {
		v.out.Counts["signed_size"] = int64(size)
		if size == 0 {
			v.out.Addf("checkpoint", exchange.Indeterminate, "the log has no signed checkpoint")
		}
	}
	if left, err := v.log.Unfinished(ctx); err != nil {
		v.out.Addf("erasure", exchange.Broken, "%v", err)
	} else if len(left) > 0 {
		v.out.Addf("erasure", exchange.Remark, "an erasure or a disposal has begun and is not ended in class-month %s: give the verb again", strings.Join(left, ", "))
	}
	v.out.Counts["open_exchanges"] = int64(len(v.open))
	if v.noKey > 0 {
		v.out.Addf("content", exchange.Indeterminate, "%d messages not checked: their keys cannot be had (--skip-content leaves them out)", v.noKey)
	}
}

// whole tells whether the tree stands over every entry read so far.
func (v *verifier) whole() bool { return v.tree.size == v.log.Head.Size }
