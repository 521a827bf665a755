package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// A receipt is sealed like a message, with a key of its own, in one record: version, data key id,
// nonce, wrapped key, nonce of the payload, payload. Its associated data carry receiptStream, a stream
// that no message has, so that neither can stand in for the other.
const (
	envelopeVersion = 1
	envelopeFixed   = 1 + 16 + 12 + (32 + 16) + 12
	receiptStream   = ^uint32(0)
)

func sealEnvelope(origin string, x uuid.UUID, plain []byte, ck *classKey) ([]byte, error) {
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
	b = ck.aead.Seal(b, random[32:44], random[:32], wrapAAD(x, -1, ck.id))
	b = append(b, random[44:]...)
	return aead.Seal(b, random[44:], plain, chunkAAD(origin, x, receiptStream, 0, true)), nil
}

func openEnvelope(ctx context.Context, o *opener, origin string, x uuid.UUID, b []byte) ([]byte, error) {
	if len(b) < envelopeFixed || b[0] != envelopeVersion {
		return nil, errors.New("not a sealed receipt of version 1")
	}
	id := classKeyID(b[1:17])
	ck, err := o.key(ctx, id)
	if err != nil {
		return nil, err
	}
	key, err := ck.aead.Open(nil, b[17:29], b[29:77], wrapAAD(x, -1, id))
	if err != nil {
		return nil, errors.New("the key of the sealed receipt was altered")
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, b[77:89], b[89:], chunkAAD(origin, x, receiptStream, 0, true))
	if err != nil {
		return nil, fmt.Errorf("the sealed receipt was altered")
	}
	return plain, nil
}
