package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// entry holds one entry against everything before it.
func (v *verifier) entry(ctx context.Context, n uint64, b []byte) {
	if v.opts.Progress != nil && n%256 == 0 {
		v.opts.Progress(n, v.log.Head.Size)
	}
	hash, leaf := EntryHash(b), leafHash(b)
	if want, ok, err := v.tile.leaf(ctx, v.log, n); err != nil {
		v.out.Entryf("tile", exchange.Broken, n, "%v", err)
	} else if ok && want != leaf {
		v.out.Entryf("tree", exchange.Broken, n, "its bytes are not those of the tree's leaf")
		leaf = want // so that what follows is held against what was signed
	}
	if v.tree.size == n {
		v.tree.add(leaf)
		v.checkNotes(ctx, n+1)
	}
	e, err := DecodeEntry(b)
	switch {
	case errors.Is(err, ErrUnknown):
		v.out.Entryf("entry", exchange.Indeterminate, n, "%v", err)
	case err != nil:
		v.out.Entryf("entry", exchange.Broken, n, "%v", err)
	default:
		v.place(n, e)
		v.meaning(ctx, n, e, hash)
	}
	v.last = hash // the chain goes on with the bytes as they are
}

// place checks number, chain, time and own chain.
func (v *verifier) place(n uint64, e *Entry) {
	if e.N != n {
		v.out.Entryf("entry", exchange.Broken, n, "says that it is entry %d", e.N)
	}
	if e.Prev != v.last {
		if n > 0 {
			v.out.Entryf("chain", exchange.Broken, n-1, "is not the predecessor that entry %d names", n)
		} else {
			v.out.Entryf("chain", exchange.Broken, 0, "names a predecessor")
		}
	}
	if e.Time.Before(v.time.Time) {
		v.out.Entryf("time", exchange.Broken, n, "is older than the entry before it")
	}
	v.time = e.Time
	own := v.own[e.Own.P]
	switch {
	case e.Own.K != own.K:
		v.out.Entryf("own-chain", exchange.Broken, n, "has place %d in own chain %s, where %d comes next", e.Own.K, e.Own.P, own.K)
	case e.Own.Prev != own.Hash:
		v.out.Entryf("own-chain", exchange.Broken, n, "does not name the entry that stands before it in own chain %s", e.Own.P)
	}
}

// meaning checks what an entry says: completeness, content, receipts, tokens.
func (v *verifier) meaning(ctx context.Context, n uint64, e *Entry, hash Hash) {
	v.own[e.Own.P] = ownState{K: e.Own.K + 1, Hash: hash}
	v.out.Counts["kind:"+string(e.Kind)]++
	if e.Exchange == "" {
		if e.Timestamp != nil {
			v.timestamp(ctx, n, e.Timestamp)
		}
		return
	}
	x, err := uuid.Parse(string(e.Exchange))
	if err != nil {
		v.out.Entryf("entry", exchange.Broken, n, "its exchange id is no UUID")
		return
	}
	v.completeness(n, e, x)
	for _, m := range e.Messages {
		v.content(ctx, n, x, m)
	}
	switch e.Kind {
	case exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure:
		v.receipt(ctx, n, e, x, hash)
	}
}

// completeness: one refusal, or one request and exactly one of response, failure, recovery.
func (v *verifier) completeness(n uint64, e *Entry, x uuid.UUID) {
	at, isOpen := v.open[x]
	switch e.Kind {
	case exchange.KindRequest:
		if isOpen {
			v.out.Entryf("completeness", exchange.Broken, n, "is a second request of one exchange (the first is entry %d)", at)
		}
		v.open[x] = n
	case exchange.KindResponse, exchange.KindFailure, KindRecovery:
		if !isOpen || e.Request == nil || *e.Request != at {
			v.out.Entryf("completeness", exchange.Broken, n, "closes an exchange that its request entry did not open, or that is closed")
		}
		delete(v.open, x)
	}
}

func (v *verifier) content(ctx context.Context, n uint64, x uuid.UUID, m MessageRef) {
	v.out.Counts["messages"]++
	if v.opts.SkipContent {
		return
	}
	if v.opener == nil {
		v.noKey++
		return
	}
	err := checkMessage(ctx, v.opener, v.log.Origin(), x, m)
	err = v.log.explain(ctx, exchange.ID(x.String()), m.I, err)
	switch {
	case errors.Is(err, ErrErased):
		v.out.Counts["contents_erased"]++
	case err == nil:
		v.out.Counts["contents_checked"]++
	case errors.Is(err, ErrNoKey):
		v.noKey++
	default:
		v.out.Entryf("content", exchange.Broken, n, "%v", err)
	}
}

func (v *verifier) receipt(ctx context.Context, n uint64, e *Entry, x uuid.UUID, hash Hash) {
	if v.opener == nil || v.opts.CheckReceipt == nil {
		return
	}
	compact, err := readReceipt(ctx, v.opener, v.log.Origin(), x)
	err = v.log.explain(ctx, e.Exchange, receiptOf, err)
	switch {
	case errors.Is(err, ErrErased):
		v.out.Counts["receipts_erased"]++
		return
	case errors.Is(err, ErrPending):
		v.out.Counts["receipts_pending"]++
		return
	case errors.Is(err, ErrNoKey):
		v.out.Counts["receipts_not_checked"]++
		return
	case errors.Is(err, ErrNotFound):
		v.out.Entryf("receipt", exchange.Broken, n, "has no receipt")
		return
	case err != nil:
		v.out.Entryf("receipt", exchange.Broken, n, "%v", err)
		return
	}
	payload, err := v.opts.CheckReceipt(compact)
	if err != nil {
		v.out.Entryf("receipt", exchange.Broken, n, "%v", err)
		return
	}
	var p receiptPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		v.out.Entryf("receipt", exchange.Broken, n, "its payload: %v", err)
		return
	}
	if p.Issuer != v.log.Origin() || p.Exchange != e.Exchange || p.Response.N != n || p.Response.Entry != hash || p.Tree.Size <= n {
		v.out.Entryf("receipt", exchange.Broken, n, "its receipt speaks of something else")
		return
	}
	v.out.Counts["receipts_checked"]++
}

func (v *verifier) timestamp(ctx context.Context, n uint64, t *Timestamp) {
	s, err := After(ctx, v.log, t.Size-1)
	if err != nil || s == nil || s.Size != t.Size {
		v.out.Entryf("timestamp", exchange.Broken, n, "its token over the checkpoint of size %d is missing", t.Size)
		return
	}
	if sha256.Sum256(s.Note) != t.Checkpoint || sha256.Sum256(s.Reply) != t.Reply {
		v.out.Entryf("timestamp", exchange.Broken, n, "its checkpoint or token was altered")
		return
	}
	if v.opts.CheckStamp == nil {
		return
	}
	if err := v.opts.CheckStamp(s.Reply, s.Note); err != nil {
		v.out.Entryf("timestamp", exchange.Broken, n, "%v", err)
		return
	}
	v.out.Counts["tokens_checked"]++
	v.out.Assurance = fmt.Sprintf("timestamped(%d, %s)", t.Size, t.Time.UTC().Format(timeLayout))
}

// checkNotes holds the signed checkpoints of one size, and the one given, against the tree.
func (v *verifier) checkNotes(ctx context.Context, size uint64) {
	if v.before != nil && v.before.Size == size && v.before.Root != v.tree.root() {
		v.out.Entryf("forked", exchange.Broken, size-1, "the checkpoint given has another root at size %d", size)
	}
	note, err := v.notes.at(ctx, v.log, size)
	if err != nil {
		v.out.Addf("checkpoint", exchange.Broken, "%v", err)
		return
	}
	if note == nil {
		return
	}
	c, err := OpenCheckpoint(note, v.log.Origin(), v.key)
	switch {
	case err != nil:
		v.out.Entryf("checkpoint", exchange.Broken, size-1, "checkpoint of size %d: %v", size, err)
	case c.Size != size:
		v.out.Entryf("checkpoint", exchange.Broken, size-1, "the checkpoint kept for size %d says size %d", size, c.Size)
	case c.Root != v.tree.root():
		// Every later root contains the same fault: one finding, and a count.
		if v.out.Counts["checkpoints_failed"]++; v.out.Counts["checkpoints_failed"] == 1 {
			v.out.Entryf("checkpoint", exchange.Broken, size-1,
				"entries up to here do not have the root of the signed checkpoint of size %d; those up to size %d had the root that was signed", size, v.good)
		}
	default:
		v.good = size
		v.out.Counts["checkpoints_checked"]++
	}
}

// noteCursor reads the signed checkpoints in order of size, a page at a time.
type noteCursor struct {
	sizes []uint64
	notes [][]byte
	from  uint64
	ended bool
}

func (c *noteCursor) at(ctx context.Context, v View, size uint64) ([]byte, error) {
	for len(c.sizes) == 0 && !c.ended {
		err := v.Scan(ctx, []byte{tableNote}, noteKey(c.from), func(key, value []byte) error {
			c.sizes, c.notes = append(c.sizes, binary.BigEndian.Uint64(key[1:])), append(c.notes, value)
			if len(c.sizes) == 512 {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			c.ended = true
			return nil, fmt.Errorf("reading checkpoints from size %d: %w", c.from, err)
		}
		c.ended = err == nil
		if len(c.sizes) > 0 {
			c.from = c.sizes[len(c.sizes)-1] + 1
		}
	}
	for len(c.sizes) > 0 && c.sizes[0] < size {
		c.sizes, c.notes = c.sizes[1:], c.notes[1:]
		if len(c.sizes) == 0 && !c.ended {
			return c.at(ctx, v, size)
		}
	}
	if len(c.sizes) == 0 || c.sizes[0] != size {
		return nil, nil
	}
	note := c.notes[0]
	c.sizes, c.notes = c.sizes[1:], c.notes[1:]
	return note, nil
}

// tileCursor reads the leaves of the full tiles in order.
type tileCursor struct {
	n    uint64
	tile []byte // nil: not read yet
	bad  bool   // the tile cannot be read: said once
}

// leaf is the leaf hash of entry n as the tiles have it; ok is false right of the last full tile.
func (c *tileCursor) leaf(ctx context.Context, l *Log, n uint64) (Hash, bool, error) {
	if (n/tileWidth+1)*tileWidth > l.Head.Size {
		return Hash{}, false, nil
	}
	if (c.tile == nil && !c.bad) || c.n != n/tileWidth {
		t, err := readTile(ctx, l, 0, n/tileWidth)
		c.n, c.tile, c.bad = n/tileWidth, t, err != nil
		if err != nil {
			return Hash{}, false, err
		}
	}
	if c.bad {
		return Hash{}, false, nil
	}
	return Hash(c.tile[32*(n%tileWidth):][:32]), true, nil
}
