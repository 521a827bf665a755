package ledger

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// oracleVerify is the verification as one goroutine does it, entry after entry, with DecodeEntry: what the
// stretches find must be what it finds.
func oracleVerify(ctx context.Context, l *Log, o VerifyOptions, key ed25519.PublicKey) (*exchange.Verdict, error) {
	v := &oracle{log: l, opts: o, key: key, out: exchange.NewVerdict(), own: map[string]ownState{}, open: map[uuid.UUID]uint64{}}
	if o.Keys != nil {
		v.opener = newOpener(l.View, o.Keys)
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

// oracle walks the log once; its fields are the state after the entries read so far.
type oracle struct {
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

// earlier opens the checkpoint of before.
func (v *oracle) earlier() error {
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
func (v *oracle) entries(ctx context.Context) error {
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
	return nil
}

// lost takes note of entries that are not there; the tree goes on with the leaves of the tiles.
func (v *oracle) lost(first, end uint64, why string) {
	if end == first+1 {
		v.out.Entryf("entry", exchange.Broken, first, "%s", why)
	} else {
		v.out.Entryf("entry", exchange.Broken, first, "entries %d to %d: %s", first, end-1, why)
	}
	v.last = Hash{}
}

// end draws the balance after the last entry.
func (v *oracle) end(ctx context.Context) {
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
	v.out.Counts["open_exchanges"] = int64(len(v.open))
	if v.noKey > 0 {
		v.out.Addf("content", exchange.Indeterminate, "%d messages not checked: their keys cannot be had (--skip-content leaves them out)", v.noKey)
	}
}

// whole tells whether the tree stands over every entry read so far.
func (v *oracle) whole() bool { return v.tree.size == v.log.Head.Size }

// entry holds one entry against everything before it.
func (v *oracle) entry(ctx context.Context, n uint64, b []byte) {
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
func (v *oracle) place(n uint64, e *Entry) {
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
func (v *oracle) meaning(ctx context.Context, n uint64, e *Entry, hash Hash) {
	v.own[e.Own.P] = ownState{K: e.Own.K + 1, Hash: hash}
	v.out.Counts["kind:"+string(e.Kind)]++
	if e.Exchange == "" {
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
func (v *oracle) completeness(n uint64, e *Entry, x uuid.UUID) {
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

func (v *oracle) content(ctx context.Context, n uint64, x uuid.UUID, m MessageRef) {
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

func (v *oracle) receipt(ctx context.Context, n uint64, e *Entry, x uuid.UUID, hash Hash) {
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

// checkNotes holds the signed checkpoints of one size, and the one given, against the tree.
func (v *oracle) checkNotes(ctx context.Context, size uint64) {
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
