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

// recordTerms are the index prefixes of one record; the sequencer adds the entry's number to each.
func (l *Ledger) recordTerms(ctx context.Context, r exchange.Record) ([][]byte, error) {
	terms := make([][]byte, 0, 12)
	add := func(t []byte) {
		for _, x := range terms {
			if bytes.Equal(x, t) {
				return
			}
		}
		terms = append(terms, t)
	}
	for _, p := range [...]string{r.Principal, r.From.Participant, r.From.Via, r.To.Participant} {
		if p != "" {
			add(plainTerm(termParticipant, p))
		}
	}
	if r.Operation != "" {
		add(plainTerm(termOperation, r.Operation))
	}
	if r.Outcome != nil {
		add(plainTerm(termOutcome, r.Outcome.Code))
		if r.Outcome.Fault != "" {
			add(plainTerm(termOutcome, r.Outcome.Fault))
		}
	}
	if r.Reason != "" {
		add(plainTerm(termOutcome, string(r.Reason)))
	}
	if len(r.Keys) == 0 {
		return terms, nil
	}
	key, err := l.ring.indexKey(ctx, r.Class, classMonth(r.Captured))
	if err != nil {
		return nil, err
	}
	for _, k := range r.Keys {
		if k.Value == "" || len(k.Value) > maxTerm {
			continue
		}
		if kind, plain := plainKeys[k.Name]; plain {
			add(plainTerm(kind, k.Value))
			continue
		}
		add(key.term(k.Name, k.Value))
	}
	return terms, nil
}

// errStop ends a scan early without being a failure.
var errStop = errors.New("stop")
