package ledger

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// indexLabel is what the class key authenticates to give the key of the keyed index.
const indexLabel = "sigillo/index/v1"

// maxTerm bounds an indexed value in bytes; longer ones are not identifiers.
const maxTerm = 256

// Plain terms: of legal persons and of the catalogue, never of natural persons.
const (
	termParticipant = 'P'
	termOperation   = 'O'
	termOutcome     = 'U'
	termStation     = 'S'
	termChannel     = 'C'
	termDisposal    = 'D' // class/YYYY-MM of a disposal entry
)

// plainKeys are the business keys that name technical end points of legal persons.
var plainKeys = map[string]byte{"idStation": termStation, "idChannel": termChannel}

// plainTerm is the index prefix of a value that may stand in clear.
func plainTerm(kind byte, value string) []byte {
	return append(append(append(make([]byte, 0, len(value)+3), tableTerm, kind), value...), 0)
}

// indexKey makes the index prefixes of business keys of one class-month. Safe for concurrent use.
type indexKey struct {
	tag  [8]byte // of the class key, so that its terms can be removed together
	macs sync.Pool
}

func newIndexKey(classKey string, key [32]byte) *indexKey {
	tag := sha256.Sum256([]byte(classKey))
	k := &indexKey{tag: [8]byte(tag[:8])}
	k.macs.New = func() any { return hmac.New(sha256.New, key[:]) }
	return k
}

// term is the index prefix of a business key: nobody reads the value without the class key.
func (k *indexKey) term(name, value string) []byte {
	m := k.macs.Get().(hash.Hash)
	defer k.macs.Put(m)
	m.Reset()
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 1+8+sha256.Size+len(name)+len(value)), uint32(len(name)))
	m.Write(append(append(b, name...), value...))
	b = append(append(b[:0], tableKeyed), k.tag[:]...)
	return m.Sum(b)[:1+8+16]
}

// recordTerms are the index prefixes of one record; the sequencer adds the entry's number to each. The
// business keys, sealed, are added to what it encloses.
func (l *Ledger) recordTerms(ctx context.Context, x uuid.UUID, r exchange.Record, enclosed []byte) ([][]byte, []byte, error) {
	terms := plainTerms(tailOf(r), r.Principal)
	keys := indexed(r.Keys)
	if len(keys) == 0 {
		return terms, enclosed, nil
	}
	month := classMonth(r.Captured)
	index, err := l.ring.indexKey(ctx, r.Class, month)
	if err != nil {
		return nil, nil, err
	}
	ck, err := l.ring.key(ctx, r.Class, month, forContent)
	if err != nil {
		return nil, nil, err
	}
	sealed, err := sealTerms(l.opts.Origin, x, r.Kind, keys, ck)
	if err != nil {
		return nil, nil, err
	}
	return append(terms, keyTerms(index, keys)...), enclose(enclosed, sealed), nil
}

// tailOf is what the index reads of a record, as its entry will say it.
func tailOf(r exchange.Record) Tail {
	return Tail{From: &r.From, To: &r.To, Operation: r.Operation, Outcome: r.Outcome, Reason: string(r.Reason)}
}

// plainTerms are the index prefixes that an entry of an exchange gives by itself.
func plainTerms(t Tail, principal string) [][]byte {
	var terms termSet
	parties := []string{principal}
	for _, p := range []*exchange.Party{t.From, t.To} {
		if p != nil {
			parties = append(parties, p.Participant, p.Via)
		}
	}
	for _, p := range parties {
		terms.plain(termParticipant, p)
	}
	terms.plain(termOperation, t.Operation)
	if t.Outcome != nil {
		terms.plain(termOutcome, t.Outcome.Code)
		terms.plain(termOutcome, t.Outcome.Fault)
	}
	terms.plain(termOutcome, t.Reason)
	return terms.list
}

// keyTerms are the index prefixes of an entry's business keys.
func keyTerms(index *indexKey, keys exchange.Keys) [][]byte {
	var terms termSet
	for _, k := range keys {
		if kind, plain := plainKeys[k.Name]; plain {
			terms.plain(kind, k.Value)
			continue
		}
		terms.add(index.term(k.Name, k.Value))
	}
	return terms.list
}

// termSet keeps index prefixes, each once, in order.
type termSet struct{ list [][]byte }

func (s *termSet) add(t []byte) {
	for _, x := range s.list {
		if bytes.Equal(x, t) {
			return
		}
	}
	s.list = append(s.list, t)
}

func (s *termSet) plain(kind byte, value string) {
	if value != "" {
		s.add(plainTerm(kind, value))
	}
}

// keyedPrefix begins every keyed term of one class-month's generation.
func keyedPrefix(classKey string) []byte {
	tag := sha256.Sum256([]byte(classKey))
	return append([]byte{tableKeyed}, tag[:8]...)
}

// errStop ends a scan early without being a failure.
var errStop = errors.New("stop")
