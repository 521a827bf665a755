package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// The model: the real stages of the sequencer, driven one step at a time by a random number generator whose
// seed is printed, over a store and a HEAD that fail as told. SIGILLO_MODEL_SEED runs one history again,
// SIGILLO_MODEL_HISTORIES more of them.

var errInjected = errors.New("injected")

// modelDisk is what survives a crash.
type modelDisk struct {
	records map[string][]byte
	entries [][]byte
	head    headMark
	fault   int // of the next commit
}

const (
	commitWorks = iota
	commitFails // nothing is there
	commitLies  // all is there, and yet an error
)

func (d *modelDisk) Get(_ context.Context, key []byte) ([]byte, error) {
	if n, ok := entryNumber(key); ok {
		if n >= uint64(len(d.entries)) {
			return nil, ErrNotFound
		}
		return d.entries[n], nil
	}
	if v, ok := d.records[string(key)]; ok {
		return v, nil
	}
	return nil, ErrNotFound
}

func (d *modelDisk) Scan(_ context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	first, ok := entryNumber(from)
	if !ok || string(prefix) != string([]byte{tableEntry}) {
		return errors.New("the sequencer scans entries only")
	}
	for n := first; n < uint64(len(d.entries)); n++ {
		if err := fn(entryKey(n), d.entries[n]); err != nil {
			return err
		}
	}
	return nil
}

func (d *modelDisk) commit(writes []kv, deletes [][]byte) error {
	fault := d.fault
	d.fault = commitWorks
	if fault == commitFails {
		return errInjected
	}
	for _, w := range writes {
		if last, ok := entryNumber(w.key); ok {
			err := splitRun(last, w.value, func(n uint64, entry []byte) error {
				if n != uint64(len(d.entries)) {
					return fmt.Errorf("entry %d written where %d comes next", n, len(d.entries))
				}
				d.entries = append(d.entries, entry)
				return nil
			})
			if err != nil {
				return err
			}
			continue
		}
		d.records[string(w.key)] = w.value
	}
	for _, k := range deletes {
		delete(d.records, string(k))
	}
	if fault == commitLies {
		return errInjected
	}
	return nil
}

// modelHead is HEAD; a crash may tear the write in progress, which leaves the slot before it.
type modelHead struct {
	d     *modelDisk
	fault bool
}

func (h *modelHead) write(m headMark) error {
	if h.fault {
		h.fault = false
		return errInjected
	}
	h.d.head = m
	return nil
}

// history is one run of the model.
type history struct {
	t    *testing.T
	seed uint64
	r    *rand.Rand
	disk *modelDisk
	head *modelHead
	now  time.Time

	s         *sequencer
	failed    error
	idle      chan struct{}
	built     []*batch
	committed []*batch
	waiting   []*modelCall
	synced    mark

	acked    map[uint64]Hash
	told     map[uuid.UUID]int // late entries: how often told
	requests []exchange.Recorded
	ids      map[uint64]uuid.UUID
	busy     map[uuid.UUID]bool // entries that their callers were told are not written
	signed   []mark
}

// modelCall is a caller of append; got says what it was told.
type modelCall struct {
	it   *item
	gone bool
}

func (h *history) fatal(format string, a ...any) {
	h.t.Helper()
	h.t.Fatalf("SIGILLO_MODEL_SEED=%d: %s", h.seed, fmt.Sprintf(format, a...))
}

func (h *history) start() {
	now, err := loadState(context.Background(), h.disk)
	if err != nil {
		h.fatal("state after a restart: %v", err)
	}
	h.disk.fault, h.head.fault = commitWorks, false
	h.failed, h.built, h.committed, h.waiting, h.synced = nil, nil, nil, nil, now.mark()
	h.s = newSequencer(h.disk, h.head, now)
	h.s.clock = func() time.Time { return h.now }
	h.s.room = func() error { return nil }
	h.s.notice = func(code string, value int64) (*item, error) {
		return newLogItem(LogChain, Tail{Kind: KindNotice, Node: "model", Notice: &Notice{Code: code, Value: value}})
	}
	h.s.placed = func(m mark, _ *batch) { h.synced = m }
	h.s.fail = func(err error) { h.failed = errors.Join(h.failed, err) }
	h.s.failure = func() error { return h.failed }
}

func (h *history) id() uuid.UUID {
	var x uuid.UUID
	binary.BigEndian.PutUint64(x[:8], h.r.Uint64())
	binary.BigEndian.PutUint64(x[8:], h.r.Uint64())
	return x
}

func (h *history) request() *item {
	x := h.id()
	tail, err := encodeTail(&Tail{Kind: exchange.KindRequest, Node: "model", Exchange: exchange.ID(x.String()), Route: "r", Operation: "o",
		From: &exchange.Party{Participant: "node:pagopa", Role: "node"}, To: &exchange.Party{Participant: "ec:1", Role: "ec"},
		Messages: []MessageRef{{Points: []exchange.Point{exchange.RequestReceived}}}, Decision: &exchange.Decision{Policies: []string{}}})
	if err != nil {
		h.fatal("%v", err)
	}
	return &item{own: fmt.Sprintf("ec:%d/c", h.r.IntN(3)), kind: exchange.KindRequest, exchange: x, tail: tail, opens: true, terms: [][]byte{{tableTerm, 'O', 0}}}
}

func (h *history) failure(n uint64, x uuid.UUID, own string) *item {
	it, err := newLogItem(own, Tail{Kind: exchange.KindFailure, Node: "model", Exchange: exchange.ID(x.String()), Request: &n, Route: "r", Operation: "o",
		From: &exchange.Party{Participant: "node:pagopa", Role: "node"}, To: &exchange.Party{Participant: "ec:1", Role: "ec"}, Reason: "upstream-timeout"})
	if err != nil {
		h.fatal("%v", err)
	}
	it.closes = true
	return it
}

// call queues an item as append does.
func (h *history) call(it *item) {
	it.done = make(chan appended, 1)
	if it.exchange != uuid.Nil && it.opens {
		it.late = func(r exchange.Recorded) {
			h.told[it.exchange]++
			h.acked[r.N] = r.Entry
			h.requests, h.ids[r.N] = append(h.requests, r), it.exchange
		}
	}
	h.s.queue <- it
	h.waiting = append(h.waiting, &modelCall{it: it})
}

// leave makes a caller lose patience.
func (h *history) leave(c *modelCall) {
	if c.it.stage.CompareAndSwap(itemQueued, itemLeft) {
		c.gone = true
		if c.it.opens {
			h.busy[c.it.exchange] = true
		}
	} else if c.it.stage.CompareAndSwap(itemTaken, itemLeft) {
		c.gone = true
	}
}

// answers takes note of who was told what.
func (h *history) answers() {
	rest := h.waiting[:0]
	for _, c := range h.waiting {
		select {
		case a := <-c.it.done:
			if a.err == nil && c.it.own != "" {
				if a.N >= h.disk.head.Size {
					h.fatal("entry %d was acknowledged before HEAD says so", a.N)
				}
				h.acked[a.N] = a.Entry
				if c.it.opens {
					h.requests, h.ids[a.N] = append(h.requests, a.Recorded), c.it.exchange
				}
			}
		default:
			if !c.gone {
				rest = append(rest, c)
			}
		}
	}
	h.waiting = rest
}

// step does one thing.
func (h *history) step() {
	switch p := h.r.IntN(100); {
	case p < 30:
		h.call(h.request())
	case p < 42 && len(h.requests) > 0:
		i := h.r.IntN(len(h.requests))
		q := h.requests[i]
		h.requests = append(h.requests[:i:i], h.requests[i+1:]...)
		e, err := DecodeEntry(h.disk.entries[q.N])
		if err != nil {
			h.fatal("acknowledged entry %d: %v", q.N, err)
		}
		h.call(h.failure(q.N, h.ids[q.N], e.Own.P))
	case p < 45:
		h.call(&item{writes: []kv{{[]byte{tableNote, byte(h.r.IntN(9))}, []byte("side")}}})
	case p < 62:
		h.build()
	case p < 76 && len(h.built) > 0:
		h.disk.fault = []int{commitWorks, commitWorks, commitWorks, commitWorks, commitWorks, commitWorks, commitWorks, commitFails, commitFails, commitLies}[h.r.IntN(10)]
		b := h.built[0]
		h.built = h.built[1:]
		if h.s.commit(b) {
			h.committed = append(h.committed, b)
		}
	case p < 88 && len(h.committed) > 0:
		h.head.fault = h.r.IntN(40) == 0
		n := 1 + h.r.IntN(len(h.committed))
		h.s.acknowledge(h.committed[:n])
		h.committed = h.committed[n:]
	case p < 91 && len(h.waiting) > 0:
		h.leave(h.waiting[h.r.IntN(len(h.waiting))])
	case p < 95:
		h.now = h.now.Add(time.Duration(h.r.IntN(5000)-1000) * time.Millisecond)
	case p < 97 && h.synced.size > 0:
		h.signed = append(h.signed, h.synced)
	case p >= 97:
		h.crash()
	}
	h.answers()
}

func (h *history) build() {
	if len(h.built) > 1 || len(h.s.queue) == 0 {
		return
	}
	h.idle <- struct{}{}
	if b := h.s.build(<-h.s.queue, h.idle); b != nil {
		h.built = append(h.built, b)
	}
	select {
	case <-h.idle:
	default:
	}
}

// crash loses everything but the disk, and recovers as Open does.
func (h *history) crash() {
	if n := uint64(len(h.disk.entries)); h.disk.head.Size > n {
		h.fatal("HEAD acknowledges %d entries, the store holds %d", h.disk.head.Size, n)
	}
	h.start()
	h.requests = nil
	for _, o := range h.s.tail.open.list() {
		e, err := DecodeEntry(h.disk.entries[o.n])
		if err != nil {
			h.fatal("%v", err)
		}
		it, err := recoveryItem("model", e.Own.P, o)
		if err != nil {
			h.fatal("%v", err)
		}
		h.call(it)
		h.build()
		if !h.s.commit(h.built[0]) {
			h.fatal("recovery: %v", h.failed)
		}
		h.s.acknowledge(h.built)
		h.built = nil
		h.answers()
	}
	h.check()
}

func runHistory(t *testing.T, seed uint64, steps int) *history {
	disk := &modelDisk{records: map[string][]byte{}}
	h := &history{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 0)), disk: disk, head: &modelHead{d: disk}, now: time.Unix(1_800_000_000, 0), idle: make(chan struct{}, 1),
		acked: map[uint64]Hash{}, told: map[uuid.UUID]int{}, ids: map[uint64]uuid.UUID{}, busy: map[uuid.UUID]bool{}}
	h.start()
	for range steps {
		h.step()
	}
	h.crash()
	return h
}

func TestModelOfTheSequencer(t *testing.T) {
	histories := 20_000
	if underRace {
		histories = 2_000
	}
	if s := os.Getenv("SIGILLO_MODEL_HISTORIES"); s != "" {
		var err error
		if histories, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("SIGILLO_MODEL_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		runHistory(t, seed, 60)
		return
	}
	first := rand.Uint64()
	t.Logf("seeds %d to %d", first, first+uint64(histories)-1)
	var entries, late, signed int
	sizes := make([]int, 0, histories)
	for i := range uint64(histories) {
		h := runHistory(t, first+i, 60)
		entries, late, signed = entries+len(h.disk.entries), late+len(h.told), signed+len(h.signed)
		sizes = append(sizes, len(h.disk.entries))
	}
	sort.Ints(sizes)
	t.Logf("%d histories, %d entries (median %d), %d late, %d checkpoints", histories, entries, sizes[len(sizes)/2], late, signed)
	if entries < 5*histories || late == 0 || signed == 0 {
		t.Error("the histories do not reach what they are there for")
	}
}
