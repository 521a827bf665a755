package bench

import (
	"context"
	"path/filepath"
	"sync"

	"sigillo/internal/exchange"
)

// Plain writes, for each record, as many bytes as the limit does, by the same writers through the same
// group commit, and does no work for them: no encoding, no hash, no encryption, no tree. Safe for
// concurrent use.
type Plain struct {
	commit *groupCommit
	units  sync.Pool

	mu     sync.Mutex
	shapes map[exchange.Kind][]byte // bytes of one sealed unit with room for its entry
}

// entryJoin is what the sequencer puts before a tail and around an entry: frames, keys, numbers, hashes,
// and its share of the tiles.
const entryJoin = 320

// NewPlain opens an empty file in dir, which must be there.
func NewPlain(dir string) (*Plain, error) {
	p := &Plain{shapes: map[exchange.Kind][]byte{}}
	p.units.New = func() any { return &unit{done: make(chan answer, 1)} }
	var err error
	p.commit, err = newGroupCommit(filepath.Join(dir, "plain"), copier{})
	return p, err
}

// Record returns when as many bytes as the record makes are durable.
func (p *Plain) Record(ctx context.Context, r exchange.Record) (exchange.Recorded, error) {
	shape, err := p.shape(&r)
	if err != nil {
		return exchange.Recorded{}, err
	}
	u := p.units.Get().(*unit)
	defer p.units.Put(u)
	u.records = shape
	return p.commit.append(ctx, u)
}

func (p *Plain) shape(r *exchange.Record) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.shapes[r.Kind]; b != nil {
		return b, nil
	}
	k, err := newClassKeys()
	if err != nil {
		return nil, err
	}
	s := newSealer(Origin, Node, k)
	if err := s.seal(r); err != nil {
		return nil, err
	}
	b := append(append(make([]byte, entryJoin, entryJoin+s.size()), s.tail...), s.records...)
	p.shapes[r.Kind] = b
	return b, nil
}

// Close writes what is queued and closes the file.
func (p *Plain) Close(context.Context) error { return p.commit.close() }

// copier joins by copying.
type copier struct{}

func (copier) begin(batch []byte) []byte { return batch }
func (copier) end(batch []byte) []byte   { return append(batch, make([]byte, 600)...) }

func (copier) join(batch []byte, u *unit) ([]byte, exchange.Recorded) {
	return append(batch, u.records...), exchange.Recorded{}
}
