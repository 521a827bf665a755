package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// stretch is a run of entries that one worker reads and checks by itself. What needs the entries before
// it is left open here for the joiner: the fields say what.
type stretch struct {
	first, end uint64
	done       chan struct{} // the worker has finished

	findings []exchange.Finding
	counts   map[string]int64
	lost     []span
	err      error // the log could not be reached: no finding, an end

	leaves []Hash // of the first entries without a gap
	notes  []sizedNote
	tree   frontier
	tiles  []Hash // roots of each 256 leaves

	begins   bool // the first entry was read, and names firstPrev
	fromPrev Hash
	last     Hash // of the newest entry; zeros when it is lost
	timed    bool
	from, to timeText
	fromN    uint64 // the entry that from is of
	chains   map[string]*chainRun
	requests map[uuid.UUID]requestRun
	opened   []openSlot // by place within the stretch
	closings []closing  // of exchanges that no entry of the stretch opened
	stamp    Timestamp  // over the greatest size
	noKey    int64      // messages that could not be opened for want of a key
}

// span is entries first to end-1, which are not there.
type span struct {
	first, end uint64
	why        string
}

// chainRun is what a stretch holds of an own chain.
type chainRun struct {
	n, k uint64 // first entry and its place; prev is what it names
	prev Hash
	next uint64 // place of the next entry
	hash Hash   // of the newest
	hex  [64]byte
}

// requestRun is the first and the newest request entry of one exchange in a stretch.
type requestRun struct{ first, newest uint64 }

type openSlot struct {
	exchange uuid.UUID
	open     bool
}

// closing is an entry that closes an exchange opened before the stretch.
type closing struct {
	n, request uint64
	hasRequest bool
	exchange   uuid.UUID
}

func (s *stretch) entryf(check string, n uint64, format string, a ...any) {
	s.find(check, exchange.Broken, &n, format, a...)
}

func (s *stretch) addf(check, format string, a ...any) {
	s.find(check, exchange.Broken, nil, format, a...)
}

func (s *stretch) find(check, severity string, n *uint64, format string, a ...any) {
	s.findings = append(s.findings, exchange.Finding{Check: check, Severity: severity, Entry: n, Detail: fmt.Sprintf(format, a...)})
}

// reset makes the stretch empty and keeps its memory.
func (s *stretch) reset(first, end uint64) {
	clear(s.counts)
	clear(s.requests)
	*s = stretch{first: first, end: end, done: make(chan struct{}), counts: s.counts, requests: s.requests, chains: map[string]*chainRun{},
		leaves: s.leaves[:0], notes: s.notes[:0], tree: s.tree, tiles: s.tiles[:0], closings: s.closings[:0], opened: s.opened[:0]}
	for range end - first {
		s.opened = append(s.opened, openSlot{})
	}
}

// worker checks stretches; its buffers are reused from one to the next.
type worker struct {
	v    *verifier
	scan *scanner
	deep []deepCheck
	buf  [1 + MaxEntry]byte // a zero byte, then an entry: a leaf's preimage
	read reading

	tiles []tileRead // of the stretch

	signedSize uint64 // of the checkpoint that was asked for last, and its root
	signed     Hash
}

// unreachable tells an answer that never came from one that is wrong.
func unreachable(ctx context.Context, err error) bool {
	var u *url.Error
	return ctx.Err() != nil || errors.As(err, &u) || errors.Is(err, ErrUnreachable)
}

// check reads a stretch and finds all that can be said of it alone.
func (w *worker) check(ctx context.Context, s *stretch) error {
	w.deep = w.deep[:0]
	w.scan.chains = s.chains
	w.scan.setLast(Hash{})
	if err := w.readTiles(ctx, s); err != nil {
		return err
	}
	if err := w.readEntries(ctx, s); err != nil {
		return err
	}
	if err := w.readNotes(ctx, s); err != nil {
		return err
	}
	s.hashTree()
	for kind, c := range w.scan.kinds {
		if *c > 0 {
			s.counts["kind:"+string(kind)] += *c
			*c = 0
		}
	}
	return w.checkDeep(ctx, s)
}

// readEntries reads the stretch in order. Where a scan ends early the entry is asked for by itself, so
// that a damaged one is named and the rest is still read.
func (w *worker) readEntries(ctx context.Context, s *stretch) error {
	for n := s.first; n < s.end; {
		scanErr := scanValues(ctx, w.v.log.View, []byte{tableEntry}, entryKey(n), func(key, value []byte) error {
			if n >= s.end || len(key) != 9 || numberOf(key) != n {
				return errStop
			}
			w.entry(s, n, value)
			if n++; n == s.end {
				return errStop
			}
			return nil
		})
		if n >= s.end {
			return nil
		}
		if errors.Is(scanErr, errStop) {
			scanErr = nil
		}
		if scanErr != nil && unreachable(ctx, scanErr) {
			return scanErr
		}
		b, err := w.v.log.Get(ctx, entryKey(n))
		switch {
		case err == nil:
			w.entry(s, n, b)
			n++
		case unreachable(ctx, err):
			return err
		case errors.Is(err, ErrNotFound):
			first := n
			for n++; n < s.end; n++ {
				if _, err := w.v.log.Get(ctx, entryKey(n)); !errors.Is(err, ErrNotFound) {
					break
				}
			}
			w.lost(s, span{first, n, "missing"})
		default:
			w.lost(s, span{n, n + 1, "cannot be read: " + oneLine(errors.Join(err, scanErr))})
			n++
		}
	}
	return nil
}

// lost takes note of entries that are not there; the tree goes on with the leaves of the tiles.
func (w *worker) lost(s *stretch, g span) {
	s.lost = append(s.lost, g)
	for n := g.first; n < g.end; n++ {
		if leaf, ok := w.leaf(s, n); ok && uint64(len(s.leaves)) == n-s.first {
			s.leaves = append(s.leaves, leaf)
		}
	}
	s.last = Hash{} // the next entry's predecessor is not known
	w.scan.setLast(s.last)
}

// readTiles reads the leaves of the stretch as its full tiles have them, before the entries are scanned:
// while a value lies open in the store's files nothing else may be asked of them.
func (w *worker) readTiles(ctx context.Context, s *stretch) error {
	w.tiles = w.tiles[:0]
	for n := s.first / tileWidth; (n+1)*tileWidth <= w.v.log.Head.Size && n*tileWidth < s.end; n++ {
		t, err := readTile(ctx, w.v.log, 0, n)
		if err != nil && unreachable(ctx, err) {
			return err
		}
		w.tiles = append(w.tiles, tileRead{t, err})
	}
	return nil
}

// tileRead is a full tile of leaves, or why it cannot be read: said once.
type tileRead struct {
	tile []byte
	err  error
}

// leaf is the leaf hash of entry n as the tiles have it; ok is false right of the last full tile.
func (w *worker) leaf(s *stretch, n uint64) (leaf Hash, ok bool) {
	i := (n - s.first) / tileWidth
	if i >= uint64(len(w.tiles)) {
		return leaf, false
	}
	t := &w.tiles[i]
	if t.err != nil {
		s.entryf("tile", n, "%v", t.err)
		t.err, t.tile = nil, nil
	}
	if t.tile == nil {
		return leaf, false
	}
	return Hash(t.tile[32*(n%tileWidth):][:32]), true
}

// entry checks one entry against those before it in the stretch.
func (w *worker) entry(s *stretch, n uint64, b []byte) {
	var hash, leaf Hash
	if len(b) <= MaxEntry {
		copy(w.buf[1:], b)
		b = w.buf[1 : 1+len(b)]
		hash, leaf = entryHashes(w.buf[:1+len(b)])
	} else {
		hash, leaf = EntryHash(b), leafHash(b)
	}
	if want, ok := w.leaf(s, n); ok && want != leaf {
		s.entryf("tree", n, "its bytes are not those of the tree's leaf")
		leaf = want // so that what follows is held against what was signed
	}
	if uint64(len(s.leaves)) == n-s.first {
		s.leaves = append(s.leaves, leaf)
	}
	r := &w.read
	err := w.scan.read(b, r)
	switch {
	case errors.Is(err, ErrUnknown):
		at := n // its address is taken here only: the many good entries stay off the heap
		s.find("entry", exchange.Indeterminate, &at, "%v", err)
	case err != nil:
		s.entryf("entry", n, "%v", err)
	default:
		w.place(s, n, r)
	}
	w.scan.setLast(hash) // the chain goes on with the bytes as they are
	if err == nil {
		w.own(s, n, r, hash)
		w.meaning(s, n, r, hash)
	}
	s.last = hash
}

// place checks number, chain and time.
func (w *worker) place(s *stretch, n uint64, r *reading) {
	if r.n != n {
		s.entryf("entry", n, "says that it is entry %d", r.n)
	}
	if n == s.first {
		s.begins, s.fromPrev = true, r.prev
	} else if r.prev != s.last {
		s.entryf("chain", n-1, "is not the predecessor that entry %d names", n)
	}
	if !s.timed {
		s.timed, s.from, s.fromN = true, r.time, n
	} else if string(r.time[:]) < string(s.to[:]) {
		s.entryf("time", n, "is older than the entry before it")
	}
	s.to = r.time
}

// own checks the entry's place in its own chain, once the stretch has met that chain.
func (w *worker) own(s *stretch, n uint64, r *reading, hash Hash) {
	c := r.chain
	if c == nil {
		c = &chainRun{n: n, k: r.k, prev: r.ownPrev}
		s.chains[string(r.own)] = c
	} else if r.k != c.next {
		s.entryf("own-chain", n, "has place %d in own chain %s, where %d comes next", r.k, r.own, c.next)
	} else if r.ownPrev != c.hash {
		s.entryf("own-chain", n, "does not name the entry that stands before it in own chain %s", r.own)
	}
	c.next, c.hash = r.k+1, hash
	c.hex = w.scan.lastHex
}

// meaning checks what an entry says of other entries, and leaves what takes keys and signatures for later.
func (w *worker) meaning(s *stretch, n uint64, r *reading, hash Hash) {
	if !r.hasExchange {
		if r.entry.Timestamp != nil {
			w.deep = append(w.deep, deepCheck{n: n, stamp: r.entry.Timestamp})
		}
		return
	}
	if r.badExchange {
		s.entryf("entry", n, "its exchange id is no UUID")
		return
	}
	closes := false
	switch r.kind {
	case exchange.KindRequest:
		s.request(n, r.exchange)
	case exchange.KindResponse, exchange.KindFailure:
		s.close(closing{n, r.request, r.hasRequest, r.exchange})
		closes = true
	case KindRecovery:
		s.close(closing{n, r.request, r.hasRequest, r.exchange})
	case exchange.KindRefusal:
		closes = true
	}
	s.counts["messages"] += int64(len(r.messages))
	if w.v.opener == nil {
		if !w.v.opts.SkipContent && !w.v.log.Partial() {
			s.noKey += int64(len(r.messages))
		}
		return
	}
	if len(r.messages) == 0 && !closes {
		return
	}
	w.deep = append(w.deep, deepCheck{n: n, exchange: r.exchange, hash: hash, answers: closes,
		messages: append([]MessageRef(nil), r.messages...)})
}

// request and close hold to: one request and exactly one of response, failure, recovery.
func (s *stretch) request(n uint64, x uuid.UUID) {
	run, again := s.requests[x]
	if !again {
		run.first = n
	} else if at := &s.opened[run.newest-s.first]; at.open {
		s.entryf("completeness", n, "is a second request of one exchange (the first is entry %d)", run.newest)
		at.open = false
	}
	run.newest = n
	s.requests[x] = run
	s.opened[n-s.first] = openSlot{x, true}
}

func (s *stretch) close(c closing) {
	if c.hasRequest && c.request >= s.first && c.request < c.n {
		if at := &s.opened[c.request-s.first]; at.open && at.exchange == c.exchange {
			at.open = false
			return
		}
	}
	run, here := s.requests[c.exchange]
	if !here {
		s.closings = append(s.closings, c)
		return
	}
	s.opened[run.newest-s.first].open = false
	s.entryf("completeness", c.n, closedWrongly)
}

const closedWrongly = "closes an exchange that its request entry did not open, or that is closed"
