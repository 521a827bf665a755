package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// A receipt is sealed like a message, with a key of its own, in one record: version, data key id,
// nonce, wrapped key, nonce of the payload, payload. Its associated data carry receiptStream, a stream
// that no message has, so that neither can stand in for the other. Index terms are sealed the same way
// in streams of their own, one for each kind of entry.
const (
	envelopeVersion = 1
	envelopeWrapped = 1 + 16 + 12 + (32 + 16) // all that changes when the key is wrapped anew
	envelopeFixed   = envelopeWrapped + 12
	receiptStream   = ^uint32(0)
	termsStream     = ^uint32(1)
)

// envelopePlace says what an envelope holds; it is bound into both of its seals.
type envelopePlace struct {
	index  int // in the place of a message's number
	stream uint32
	what   string
	kind   exchange.Kind // index terms: of the entry
}

var receiptPlace = envelopePlace{-1, receiptStream, "receipt", ""}

func termsPlace(kind exchange.Kind) envelopePlace {
	return envelopePlace{-2, termsStream, "list of index terms", kind}
}

func (p envelopePlace) aad(origin string, x uuid.UUID) []byte {
	return append(chunkAAD(origin, x, p.stream, 0, true), p.kind...)
}

func (p envelopePlace) seal(origin string, x uuid.UUID, plain []byte, ck *classKey) ([]byte, error) {
	var random [32 + 12 + 12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	aead, err := newGCM(random[:32])
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, envelopeFixed+len(plain)+16)
	b = append(b, envelopeVersion)
	b = append(b, ck.id[:]...)
	b = append(b, random[32:44]...)
	b = ck.aead.Seal(b, random[32:44], random[:32], wrapAAD(x, p.index, ck.id))
	b = append(b, random[44:]...)
	return aead.Seal(b, random[44:], plain, p.aad(origin, x)), nil
}

// key unwraps the key of an envelope.
func (p envelopePlace) key(ctx context.Context, o *opener, x uuid.UUID, b []byte) ([]byte, error) {
	if len(b) < envelopeFixed || b[0] != envelopeVersion {
		return nil, fmt.Errorf("not a sealed %s of version 1", p.what)
	}
	id := classKeyID(b[1:17])
	ck, err := o.key(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := ck.aead.Open(nil, b[17:29], b[29:77], wrapAAD(x, p.index, id))
	if err != nil {
		return nil, fmt.Errorf("the key of the sealed %s was altered", p.what)
	}
	return key, nil
}

func (p envelopePlace) open(ctx context.Context, o *opener, origin string, x uuid.UUID, b []byte) ([]byte, error) {
	key, err := p.key(ctx, o, x, b)
	if err != nil {
		return nil, err
	}
	aead, err := newGCM(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, b[77:89], b[89:], p.aad(origin, x))
	if err != nil {
		return nil, errors.New("the sealed " + p.what + " was altered")
	}
	return plain, nil
}

func sealEnvelope(origin string, x uuid.UUID, plain []byte, ck *classKey) ([]byte, error) {
	return receiptPlace.seal(origin, x, plain, ck)
}

func openEnvelope(ctx context.Context, o *opener, origin string, x uuid.UUID, b []byte) ([]byte, error) {
	return receiptPlace.open(ctx, o, origin, x, b)
}
