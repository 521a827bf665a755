package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"sigillo/internal/exchange"
)

// Sizes of a batch: those of the ledger's sequencer.
const (
	queueLength = 4096
	batchUnits  = 1024
	batchBytes  = 4 << 20
)

// unit is one message on its way into the file.
type unit struct {
	own     []byte // name of its own chain
	tail    []byte // the entry from "kind" on
	records []byte // sealed content, keys and index: everything but the entry
	numbers []int  // where in records the entry's number belongs, eight bytes each
	done    chan answer
}

type answer struct {
	exchange.Recorded
	err error
}

// joiner puts a unit's bytes, joined to its place, into the batch.
type joiner interface {
	begin(batch []byte) []byte
	join(batch []byte, u *unit) ([]byte, exchange.Recorded)
	end(batch []byte) []byte
}

// batch is what one write and one sync make durable.
type batch struct {
	bytes   []byte
	units   []*unit
	answers []answer
}

func newBatch() *batch {
	return &batch{bytes: make([]byte, 0, batchBytes+1<<20), units: make([]*unit, 0, batchUnits), answers: make([]answer, 0, batchUnits)}
}

func (b *batch) full() bool { return len(b.units) >= batchUnits || len(b.bytes) >= batchBytes }

// groupCommit is one append-only file with two goroutines, as the ledger overlaps its stages: the sequencer
// joins what comes while the other writes and syncs the batch before, once each, and answers. There is no
// timer: a batch goes as soon as the file is free.
type groupCommit struct {
	file  *os.File
	join  joiner // used by the sequencer only
	queue chan *unit
	ready chan *batch   // joined, to be written
	free  chan *batch   // answered, to be used again
	idle  chan struct{} // the file waits for a batch

	mu      sync.RWMutex // guards closed against sends on queue
	closed  bool
	stopped sync.WaitGroup

	written int64 // bytes; owned by the writing goroutine, to be read after close
}

var errClosed = errors.New("the file is closed")

func newGroupCommit(path string, j joiner) (*groupCommit, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	g := &groupCommit{file: f, join: j, queue: make(chan *unit, queueLength), ready: make(chan *batch, 1),
		free: make(chan *batch, 2), idle: make(chan struct{}, 1)}
	g.free <- newBatch()
	g.free <- newBatch()
	g.stopped.Add(2)
	go func() { defer g.stopped.Done(); g.sequence() }()
	go func() { defer g.stopped.Done(); g.acknowledge() }()
	return g, nil
}

// append waits until u is durable.
func (g *groupCommit) append(ctx context.Context, u *unit) (exchange.Recorded, error) {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return exchange.Recorded{}, errClosed
	}
	select {
	case g.queue <- u:
		g.mu.RUnlock()
	case <-ctx.Done():
		g.mu.RUnlock()
		return exchange.Recorded{}, ctx.Err()
	}
	a := <-u.done
	return a.Recorded, a.err
}

// sequence joins until the queue is closed and empty.
func (g *groupCommit) sequence() {
	defer close(g.ready)
	for first := range g.queue {
		b := <-g.free
		b.units, b.answers, b.bytes = b.units[:0], b.answers[:0], g.join.begin(b.bytes[:0])
		g.add(b, first)
		g.gather(b)
		b.bytes = g.join.end(b.bytes)
		g.ready <- b
	}
}

// gather joins what is queued, and goes on until the file is free.
func (g *groupCommit) gather(b *batch) {
	for !b.full() {
		select {
		case u, ok := <-g.queue:
			if !ok {
				<-g.idle
				return
			}
			g.add(b, u)
			continue
		default:
		}
		select {
		case u, ok := <-g.queue:
			if !ok {
				<-g.idle
				return
			}
			g.add(b, u)
		case <-g.idle:
			return
		}
	}
	<-g.idle
}

func (g *groupCommit) add(b *batch, u *unit) {
	var at exchange.Recorded
	b.bytes, at = g.join.join(b.bytes, u)
	b.units, b.answers = append(b.units, u), append(b.answers, answer{Recorded: at})
}

// acknowledge writes, syncs and answers until the sequencer has ended.
func (g *groupCommit) acknowledge() {
	var failed error
	g.idle <- struct{}{}
	for b := range g.ready {
		if failed == nil {
			failed = g.write(b.bytes)
		}
		g.idle <- struct{}{}
		for i, u := range b.units {
			b.answers[i].err = failed
			u.done <- b.answers[i]
		}
		g.free <- b
	}
}

func (u *unit) size() int { return len(u.tail) + len(u.records) }

func (g *groupCommit) write(batch []byte) error {
	if _, err := g.file.Write(batch); err != nil {
		return fmt.Errorf("writing a batch: %w", err)
	}
	if err := unix.Fdatasync(int(g.file.Fd())); err != nil {
		return fmt.Errorf("syncing a batch: %w", err)
	}
	g.written += int64(len(batch))
	return nil
}

// close writes what is queued and stops.
func (g *groupCommit) close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errClosed
	}
	g.closed = true
	close(g.queue)
	g.mu.Unlock()
	g.stopped.Wait()
	return g.file.Close()
}

// frame begins a record of a key and a value: two bytes and four bytes of length.
func frame(b []byte, key, value int) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	return binary.BigEndian.AppendUint32(b, uint32(value))
}
