package bench

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"sigillo/internal/exchange"
)

// Limit is what this machine could do at best: the work that the ledger does for a message — tail, three
// hashes, AES-256-GCM under a fresh key, wrapping, index, pending receipt in the caller's goroutine; join,
// entry hash, leaf hash, tree and tiles in one sequencer — over one append-only file with one write and one
// fdatasync a batch. It recovers from nothing, finds nothing again and signs nothing. Safe for concurrent use.
type Limit struct {
	commit  *groupCommit
	log     *chain
	sealers sync.Pool
}

// Origin and Node are those of every log that this package writes; their lengths count as bytes.
const (
	Origin = "bench.sigillo.test/ec-77777777777"
	Node   = "gw-1"
)

// NewLimit opens an empty file in dir, which must be there.
func NewLimit(dir string) (*Limit, error) {
	k, err := newClassKeys()
	if err != nil {
		return nil, err
	}
	l := &Limit{log: &chain{own: map[string]*ownEnd{}}}
	l.sealers.New = func() any { return newSealer(Origin, Node, k) }
	if l.commit, err = newGroupCommit(filepath.Join(dir, "limit"), l.log); err != nil {
		return nil, err
	}
	return l, nil
}

// Record returns when the record is durable. Only requests and responses of this package's workload are known.
func (l *Limit) Record(ctx context.Context, r exchange.Record) (exchange.Recorded, error) {
	s := l.sealers.Get().(*sealer)
	defer l.sealers.Put(s)
	if err := s.seal(&r); err != nil {
		return exchange.Recorded{}, err
	}
	own := append(append(s.own[:0], r.Principal...), '/')
	s.own = append(own, r.Class...)
	return l.commit.append(ctx, &s.unit)
}

// Close writes what is queued and closes the file.
func (l *Limit) Close(context.Context) error { return l.commit.close() }

// chain joins units as the ledger's sequencer does. One goroutine owns it.
type chain struct {
	tree  tree
	last  [32]byte
	own   map[string]*ownEnd
	now   time.Time
	entry []byte
}

// ownEnd is the end of an own chain.
type ownEnd struct {
	name    string
	k       uint64
	prev    [32]byte
	touched bool // in this batch
}

const timeLayout = "2006-01-02T15:04:05.000000Z"

func (c *chain) begin(batch []byte) []byte {
	if now := time.Now().UTC().Truncate(time.Microsecond); now.After(c.now) {
		c.now = now
	}
	return batch
}

func (c *chain) join(batch []byte, u *unit) ([]byte, exchange.Recorded) {
	n := c.tree.size
	own := c.own[string(u.own)]
	if own == nil {
		own = &ownEnd{name: string(u.own)}
		c.own[own.name] = own
	}
	e := strconv.AppendUint(append(c.entry[:0], `{"v":1,"n":`...), n, 10)
	e = hex.AppendEncode(append(e, `,"prev":"`...), c.last[:])
	e = c.now.AppendFormat(append(e, `","time":"`...), timeLayout)
	e = append(append(e, `","own":{"p":"`...), own.name...)
	e = strconv.AppendUint(append(e, `","k":`...), own.k, 10)
	e = hex.AppendEncode(append(e, `,"prev":"`...), own.prev[:])
	e = append(append(e, `"},`...), u.tail...)
	c.entry = e

	batch = frame(batch, 9, len(e))
	batch = binary.BigEndian.AppendUint64(append(batch, 'e'), n)
	batch = append(batch, e...)
	hash := sha256.Sum256(e)
	batch = c.tree.add(batch, e)
	batch = frame(batch, 1+len(own.name)+1+8, 8)
	batch = append(append(append(batch, 'l'), own.name...), 0)
	batch = binary.BigEndian.AppendUint64(batch, own.k)
	batch = binary.BigEndian.AppendUint64(batch, n)
	at := len(batch)
	batch = append(batch, u.records...)
	for _, hole := range u.numbers {
		binary.BigEndian.PutUint64(batch[at+hole:], n)
	}
	own.k, own.prev, own.touched, c.last = own.k+1, hash, true, hash
	return batch, exchange.Recorded{N: n, Entry: hash, Time: c.now}
}

// end writes the head record and the ends of the own chains, once a batch.
func (c *chain) end(batch []byte) []byte {
	batch = appendValue(batch, "h", headRecord(c))
	for _, own := range c.own {
		if own.touched {
			batch = appendValue(batch, "o"+own.name, ownRecord(own))
			own.touched = false
		}
	}
	return batch
}

func appendValue(batch []byte, key string, value []byte) []byte {
	batch = frame(batch, len(key), len(value))
	return append(append(batch, key...), value...)
}

func headRecord(c *chain) []byte {
	root := c.tree.root()
	edge := make([]string, len(c.tree.edge))
	for i, h := range c.tree.edge {
		edge[i] = hex.EncodeToString(h[:])
	}
	b, _ := json.Marshal(map[string]any{"size": c.tree.size, "last": hex.EncodeToString(c.last[:]), "time": c.now.Format(timeLayout),
		"root": hex.EncodeToString(root[:]), "edge": edge, "start": 0}) // of strings and numbers: cannot fail
	return b
}

func ownRecord(o *ownEnd) []byte {
	b := strconv.AppendUint([]byte(`{"k":`), o.k, 10)
	b = hex.AppendEncode(append(b, `,"hash":"`...), o.prev[:])
	return append(b, `"}`...)
}
