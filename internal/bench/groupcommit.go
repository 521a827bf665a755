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

// groupCommit is one append-only file with one goroutine: it takes one unit, drains what queued while the
// last batch was being synced, joins, writes once, syncs once, answers. There is no timer.
type groupCommit struct {
	file  *os.File
	join  joiner
	queue chan *unit

	mu      sync.RWMutex // guards closed against sends on queue
	closed  bool
	stopped chan struct{}

	written int64 // bytes; owned by the goroutine, to be read after close
}

var errClosed = errors.New("the file is closed")

func newGroupCommit(path string, j joiner) (*groupCommit, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	g := &groupCommit{file: f, join: j, queue: make(chan *unit, queueLength), stopped: make(chan struct{})}
	go func() { defer close(g.stopped); g.run() }()
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

func (g *groupCommit) run() {
	var failed error
	units := make([]*unit, 0, batchUnits)
	answers := make([]answer, 0, batchUnits)
	batch := make([]byte, 0, batchBytes+1<<20)
	for first := range g.queue {
		units, answers = g.drain(append(units[:0], first)), answers[:0]
		batch = g.join.begin(batch[:0])
		for _, u := range units {
			var at exchange.Recorded
			batch, at = g.join.join(batch, u)
			answers = append(answers, answer{Recorded: at})
		}
		batch = g.join.end(batch)
		if failed == nil {
			failed = g.write(batch)
		}
		for i, u := range units {
			answers[i].err = failed
			u.done <- answers[i]
		}
	}
}

func (g *groupCommit) drain(units []*unit) []*unit {
	for size := units[0].size(); len(units) < batchUnits && size < batchBytes; {
		select {
		case u, ok := <-g.queue:
			if !ok {
				return units
			}
			units, size = append(units, u), size+u.size()
		default:
			return units
		}
	}
	return units
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
	<-g.stopped
	return g.file.Close()
}

// frame begins a record of a key and a value: two bytes and four bytes of length.
func frame(b []byte, key, value int) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	return binary.BigEndian.AppendUint32(b, uint32(value))
}
