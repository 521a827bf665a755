package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"sigillo/internal/exchange"
)

// The sequencer is the one writer. It works in three stages that overlap: build (join every tail to its
// place: n, prev, time, own), commit (one transaction a batch), acknowledge (sync HEAD, answer). There is
// no timer: a stage takes what queued while the next one was busy, so a single writer waits for one commit
// and one HEAD sync, and many writers share them.
//
// Invariants: n is gapless; nobody is answered before HEAD says so; a failed commit fails its batch and
// every batch built on it, and building goes on from what the store says. What a batch writes depends on
// its items, the state before and one reading of the clock, on nothing else (scale-out.md 5).
const (
	queueLength = 4096
	batchItems  = 1024
	batchBytes  = 4 << 20
)

// batchStore is where batches become durable. Badger is one; the model test has one that fails on purpose.
type batchStore interface {
	View
	// commit makes all of it durable, or none.
	commit(writes []kv, deletes [][]byte) error
}

// headWriter makes the mark of what was acknowledged durable.
type headWriter interface {
	write(headMark) error
}

// sequencer gives every item its place. build, commit and acknowledge are each called by one goroutine.
type sequencer struct {
	store batchStore
	head  headWriter
	clock func() time.Time
	// room says why no batch may be committed now: the disk is full.
	room func() error
	// notice makes the item by which the log says something of itself.
	notice func(code string, value int64) (*item, error)
	// placed is told of every batch that is durable, before its callers are answered.
	placed func(mark, *batch)
	// fail stops the ledger for good; failure says why it was stopped.
	fail    func(error)
	failure func() error

	mu     sync.RWMutex // guards closed against sends on queue
	closed bool
	queue  chan *item

	tail  state         // of the build stage: after the newest batch built
	round uint64        // of the build stage: the round of tail
	stale atomic.Uint64 // round of the commit stage: batches of earlier ones are void
	size  uint64        // of the commit stage: entries in the store
	acked uint64        // of the last stage: entries in HEAD
}

// newSequencer goes on after what the store holds. Its function fields are set before it runs.
func newSequencer(store batchStore, head headWriter, now state) *sequencer {
	return &sequencer{store: store, head: head, queue: make(chan *item, queueLength), tail: now, size: now.head.Size, acked: now.head.Size}
}

// item is one entry on its way into the log; without own chain it is no entry, but records that go with
// the next commit: signatures, which would otherwise contend with the entries for the disk.
type item struct {
	own      string
	kind     exchange.Kind
	exchange uuid.UUID // zero: of no exchange
	tail     []byte
	enclosed []byte   // what the entry brings with it
	writes   []kv     // records that come with it and stand by themselves
	deletes  [][]byte // records that the entry ends
	terms    [][]byte // index terms
	opens    bool     // a request: open until its exchange is closed
	closes   bool
	receipt  *pending // the entry answers a caller: a receipt follows

	late  func(exchange.Recorded) // told of an entry whose caller was already told that there is none; nil: nobody
	stage atomic.Int32
	done  chan appended
}

// Stages of an item. Whoever moves it on by compare-and-swap decides.
const (
	itemQueued   = iota
	itemTaken    // it may become an entry
	itemAnswered // its caller has the answer
	itemLeft     // its caller has gone
)

// appended is the answer to the caller of an item.
type appended struct {
	exchange.Recorded
	err error
}

func (it *item) bytes() int {
	n := len(it.tail) + len(it.enclosed)
	for _, w := range it.writes {
		n += len(w.key) + len(w.value)
	}
	return n
}

// answer ends an item. An entry whose caller has gone is told to late.
func (it *item) answer(a appended) {
	if it.stage.CompareAndSwap(itemTaken, itemAnswered) {
		it.done <- a
	} else if a.err == nil && it.late != nil {
		it.late(a.Recorded)
	}
}

func answer(items []*item, err error) {
	for _, it := range items {
		it.answer(appended{err: err})
	}
}

// ErrBusy says that an entry was not written because the ledger did not get to it in time.
var ErrBusy = errors.New("the ledger is too busy: the entry was not written")

// append queues one item and waits until it is durable. When ctx ends first the error is ErrBusy if the
// entry was not written; otherwise it may be written all the same, and then it.late is told.
func (s *sequencer) append(ctx context.Context, it *item) (exchange.Recorded, error) {
	it.done = make(chan appended, 1)
	if err := s.enqueue(ctx, it); err != nil {
		return exchange.Recorded{}, err
	}
	select {
	case a := <-it.done:
		return a.Recorded, a.err
	case <-ctx.Done():
	}
	if it.stage.CompareAndSwap(itemQueued, itemLeft) {
		return exchange.Recorded{}, fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
	if it.stage.CompareAndSwap(itemTaken, itemLeft) {
		return exchange.Recorded{}, fmt.Errorf("waiting for the ledger: %w", ctx.Err())
	}
	a := <-it.done // it was answered while ctx ended
	return a.Recorded, a.err
}

func (s *sequencer) enqueue(ctx context.Context, it *item) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	select {
	case s.queue <- it:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrBusy, ctx.Err())
	}
}

// close lets no further item in; what is queued is still done.
func (s *sequencer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
}

// run works until the queue is closed and empty.
func (s *sequencer) run() {
	built, committed := make(chan *batch, 1), make(chan *batch, 1)
	idle := make(chan struct{}, 1) // the commit stage waits for a batch
	idle <- struct{}{}
	var stages sync.WaitGroup
	stages.Add(2)
	go func() {
		defer stages.Done()
		defer close(committed)
		for b := range built {
			if s.commit(b) {
				committed <- b
			}
			idle <- struct{}{}
		}
	}()
	go func() {
		defer stages.Done()
		for b := range committed {
			s.acknowledge(together(b, committed))
		}
	}()
	for first := range s.queue {
		if b := s.build(first, idle); b != nil {
			built <- b
		} else {
			idle <- struct{}{}
		}
	}
	close(built)
	stages.Wait()
}

// build joins first, and what is queued until the commit stage is idle or the batch is full. It has taken
// the commit stage's word when it returns; nil: no item is left to commit.
func (s *sequencer) build(first *item, idle <-chan struct{}) *batch {
	b, err := s.begin()
	size := 0
	add := func(it *item) {
		if !it.stage.CompareAndSwap(itemQueued, itemTaken) {
			return // its caller has left
		}
		if err == nil {
			err = b.join(it)
			size += it.bytes()
		}
		if err != nil {
			it.answer(appended{err: err})
		}
	}
	add(first)
	for more := true; more && len(b.items) < batchItems && size < batchBytes; {
		select {
		case it, ok := <-s.queue:
			if more = ok; ok {
				add(it)
			}
			continue
		default:
		}
		select {
		case it, ok := <-s.queue:
			if more = ok; ok {
				add(it)
			}
		case <-idle:
			return s.finish(b, err)
		}
	}
	<-idle
	return s.finish(b, err)
}

// begin opens a batch after the newest one built, or, when a commit has failed since, after what the store
// holds.
func (s *sequencer) begin() (*batchBuilder, error) {
	if err := s.failure(); err != nil {
		return &batchBuilder{}, err
	}
	if round := s.stale.Load(); round != s.round {
		again, err := loadState(context.Background(), s.store)
		if err != nil {
			s.fail(fmt.Errorf("reading the log's state after a failed commit: %w", err))
			return &batchBuilder{}, err
		}
		s.tail, s.round = again, round
	}
	return beginBatch(s.store, s.tail, At(s.clock()), s.notice)
}

// finish closes a batch. After an error none of its items becomes an entry.
func (s *sequencer) finish(b *batchBuilder, err error) *batch {
	if err == nil && len(b.items) > 0 {
		err = b.finish()
	}
	if err != nil {
		answer(b.items, err)
		return nil
	}
	if len(b.items) == 0 {
		return nil
	}
	b.round = s.round
	s.tail = b.after
	return &b.batch
}

// commit makes a batch durable in one transaction. After a failure the store is asked what it holds:
// whether the transaction is there or not, the next batch is joined to what is.
func (s *sequencer) commit(b *batch) bool {
	err := s.failure()
	switch {
	case err != nil:
	case b.round != s.stale.Load():
		err = errors.New("the batch before it could not be committed")
	default:
		if err = s.room(); err == nil {
			err = s.store.commit(b.writes, b.deletes)
		}
		if err == nil {
			s.size = b.after.head.Size
			return true
		}
		err = fmt.Errorf("committing entries: %w", err)
		if h, rerr := readHead(context.Background(), s.store); s.size > 0 && rerr != nil || h.Size != s.size {
			// The batch may be there although its callers are told that it is not: only recovery,
			// which closes what stands open, can put that right.
			s.fail(errors.Join(err, rerr))
		}
		s.stale.Add(1)
	}
	answer(b.items, err)
	return false
}

// together takes what is committed by now: one HEAD sync serves it all.
func together(b *batch, committed <-chan *batch) []*batch {
	batches := []*batch{b}
	for {
		select {
		case b, ok := <-committed:
			if !ok {
				return batches
			}
			batches = append(batches, b)
		default:
			return batches
		}
	}
}

// acknowledge syncs HEAD behind the newest of some commits and answers them all.
func (s *sequencer) acknowledge(batches []*batch) {
	m := batches[len(batches)-1].after.mark()
	err := s.failure()
	if err == nil && m.size > s.acked {
		if err = s.head.write(headMark{Size: m.size, Last: m.last, Root: m.root}); err != nil {
			s.fail(err)
		}
		s.acked = m.size
	}
	for _, b := range batches {
		if err != nil {
			answer(b.items, err)
			continue
		}
		s.placed(b.after.mark(), b)
		for i, it := range b.items {
			it.answer(appended{Recorded: b.entries[i]})
		}
	}
}

// freeSpace is what an unprivileged process may still write in dir's file system, in bytes.
func freeSpace(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("measuring free space in %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
