package ledger

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/google/uuid"
)

// ErrCommitment says that content was opened and is not what its entry committed to.
var ErrCommitment = errors.New("content does not match the commitment in its entry")

// ErrAbsent says that content which an entry commits to is not in the store.
var ErrAbsent = errors.New("content is missing from the store")

// openedMessage is a sealed message whose key is at hand; nothing of it is checked yet.
type openedMessage struct {
	view   View
	origin string
	x      uuid.UUID
	ref    MessageRef
	aead   cipher.AEAD
	salt   [32]byte
	prefix [7]byte
	packed []byte // the record of a small message; nil: it lies in chunks
}

// unlock finds and unwraps the key of message ref of exchange x.
func unlock(ctx context.Context, o *opener, origin string, x uuid.UUID, ref MessageRef) (*openedMessage, error) {
	rec, err := o.view.Get(ctx, messageKeyKey(x, ref.I))
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("key of message %d: %w", ref.I, ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of message %d: %w", ref.I, err)
	}
	if len(rec) != messageKeySize || rec[0] != messageKeyVersion {
		return nil, fmt.Errorf("key record of message %d: not of version %d", ref.I, messageKeyVersion)
	}
	id := classKeyID(rec[1:17])
	ck, err := o.key(ctx, id)
	if err != nil {
		return nil, err
	}
	keys, err := ck.aead.Open(nil, rec[17:29], rec[29:109], wrapAAD(x, ref.I, id))
	if err != nil {
		return nil, fmt.Errorf("key record of message %d was altered", ref.I)
	}
	m := &openedMessage{view: o.view, origin: origin, x: x, ref: ref, salt: [32]byte(keys[32:]), prefix: [7]byte(rec[109:])}
	if m.aead, err = newGCM(keys[:32]); err != nil {
		return nil, err
	}
	m.packed, err = o.view.Get(ctx, chunkKey(x, headStream(ref.I), packedChunk))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("reading message %d: %w", ref.I, err)
	}
	return m, nil
}

// copyStream opens one stream, a chunk at a time, into w.
func (m *openedMessage) copyStream(ctx context.Context, stream uint32, w io.Writer) error {
	for n := uint32(0); n < maxChunks; n++ {
		sealed, err := m.sealed(ctx, stream, n)
		if err != nil {
			return err
		}
		part, last, err := m.chunk(stream, n, sealed)
		if err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
	return fmt.Errorf("more than %d chunks", maxChunks)
}

// sealed gives chunk n of a stream as it is stored.
func (m *openedMessage) sealed(ctx context.Context, stream, n uint32) ([]byte, error) {
	if m.packed == nil {
		sealed, err := m.view.Get(ctx, chunkKey(m.x, stream, n))
		if errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("chunk %d: %w", n, ErrAbsent)
		}
		if err != nil {
			return nil, fmt.Errorf("reading chunk %d: %w", n, err)
		}
		return sealed, nil
	}
	if n > 0 || len(m.packed) < 4 {
		return nil, fmt.Errorf("chunk %d: %w", n, ErrAbsent)
	}
	cut := uint64(binary.BigEndian.Uint32(m.packed))
	if cut > uint64(len(m.packed)-4) {
		return nil, errors.New("the record was altered")
	}
	if stream == headStream(m.ref.I) {
		return m.packed[4 : 4+cut], nil
	}
	return m.packed[4+cut:], nil
}

// chunk opens one chunk. A full one may be the last or not: its nonce and associated data tell.
func (m *openedMessage) chunk(stream, n uint32, sealed []byte) (plain []byte, last bool, err error) {
	for _, last := range []bool{true, false} {
		if !last && len(sealed) < chunkSize {
			continue
		}
		plain, err := m.aead.Open(nil, chunkNonce(m.prefix, stream, n, last), sealed, chunkAAD(m.origin, m.x, stream, n, last))
		if err == nil {
			return plain, last, nil
		}
	}
	return nil, false, fmt.Errorf("chunk %d was altered", n)
}

// measured counts and hashes what is written to it.
type measured struct {
	hash.Hash
	size int64
}

func (d *measured) Write(b []byte) (int, error) {
	d.size += int64(len(b))
	return d.Hash.Write(b)
}

// copyTo writes head and body while they are opened, and then says whether they are what the entry
// committed to: what was written before an error is worth nothing.
func (m *openedMessage) copyTo(ctx context.Context, head, body io.Writer) error {
	h, b := measured{Hash: sha256.New()}, measured{Hash: sha256.New()}
	if err := m.copyStream(ctx, headStream(m.ref.I), io.MultiWriter(&h, head)); err != nil {
		return fmt.Errorf("head of message %d: %w", m.ref.I, err)
	}
	if err := m.copyStream(ctx, bodyStream(m.ref.I), io.MultiWriter(&b, body)); err != nil {
		return fmt.Errorf("body of message %d: %w", m.ref.I, err)
	}
	if b.size != m.ref.Size || Commitment(m.salt, [32]byte(h.Sum(nil)), [32]byte(b.Sum(nil))) != m.ref.Commitment {
		return fmt.Errorf("message %d: %w", m.ref.I, ErrCommitment)
	}
	return nil
}

// checkMessage holds message ref of exchange x against its commitment, in flat memory.
func checkMessage(ctx context.Context, o *opener, origin string, x uuid.UUID, ref MessageRef) error {
	m, err := unlock(ctx, o, origin, x, ref)
	if err != nil {
		return err
	}
	return m.copyTo(ctx, io.Discard, io.Discard)
}

// openMessage opens message ref of exchange x whole, checked against its commitment.
func openMessage(ctx context.Context, o *opener, origin string, x uuid.UUID, ref MessageRef) (Content, error) {
	m, err := unlock(ctx, o, origin, x, ref)
	if err != nil {
		return Content{}, err
	}
	var head, body bytes.Buffer
	if err := m.copyTo(ctx, &head, &body); err != nil {
		return Content{}, err
	}
	return Content{Head: head.Bytes(), Body: body.Bytes(), Salt: m.salt}, nil
}
