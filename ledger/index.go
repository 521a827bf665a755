package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"

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
	return append(append([]byte{tableTerm, kind}, value...), 0)
}

// keyedTerm is the index prefix of a business key: nobody reads the value without the class key.
func keyedTerm(classKey string, indexKey [32]byte, name, value string) []byte {
	tag := sha256.Sum256([]byte(classKey))
	m := hmac.New(sha256.New, indexKey[:])
	m.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
	m.Write([]byte(name))
	m.Write([]byte(value))
	return append(append([]byte{tableKeyed}, tag[:8]...), m.Sum(nil)[:16]...)
}

// recordTerms are the index prefixes of one record; the sequencer adds the entry's number to each.
func (l *Ledger) recordTerms(ctx context.Context, r exchange.Record) ([][]byte, error) {
	seen := map[string]bool{}
	var terms [][]byte
	add := func(t []byte) {
		if !seen[string(t)] {
			seen[string(t)] = true
			terms = append(terms, t)
		}
	}
	for _, p := range []string{r.Principal, r.From.Participant, r.From.Via, r.To.Participant} {
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
	name, key, err := l.ring.indexKey(ctx, r.Class, classMonth(r.Captured))
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
		add(keyedTerm(name, key, k.Name, k.Value))
	}
	return terms, nil
}

// errStop ends a scan early without being a failure.
var errStop = errors.New("stop")
