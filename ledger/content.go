package ledger

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// chunkSize is how many bytes of plain content one sealed chunk holds.
const chunkSize = 1 << 20

// maxChunks bounds what a reader follows: 4 GiB of content.
const maxChunks = 4096

const commitmentLabel = "sigillo/content/v1\n"

// Commitment is SHA-256("sigillo/content/v1\n" || salt || SHA-256(head) || SHA-256(body)): it says
// nothing about the content once the salt is destroyed (formats.md 3).
func Commitment(salt [32]byte, head, body [32]byte) Hash {
	h := sha256.New()
	h.Write([]byte(commitmentLabel))
	h.Write(salt[:])
	h.Write(head[:])
	h.Write(body[:])
	return Hash(h.Sum(nil))
}

// Content is one message, opened and checked against its commitment.
type Content struct {
	Head []byte
	Body []byte
	Salt [32]byte
}

// messageKeyRecord is the fixed-size record from which a message can be opened: version, data key id,
// nonce, wrapped key and salt, and the nonce prefix of the message's chunks.
const (
	messageKeyVersion = 1
	messageKeySize    = 1 + 16 + 12 + (64 + 16) + 7
)

type kv struct{ key, value []byte }

// streams of message i: head and body
func headStream(i int) uint32 { return uint32(2 * i) }
func bodyStream(i int) uint32 { return uint32(2*i + 1) }

// chunkNonce is 7 random bytes of the message, the chunk's number, and a byte of flags: bit 0 the last
// chunk, bit 1 the body. Head and body share one key, so the nonce must tell them apart
// (docs/decisions/0001-nonce-tells-head-from-body.md).
func chunkNonce(prefix [7]byte, stream, chunk uint32, last bool) []byte {
	n := binary.BigEndian.AppendUint32(append(make([]byte, 0, 12), prefix[:]...), chunk)
	flags := byte(stream&1) << 1
	if last {
		flags |= 1
	}
	return append(n, flags)
}

// chunkAAD binds a chunk to its place: format version, origin, exchange, stream, number, last; each
// field with its length before it.
func chunkAAD(origin string, x uuid.UUID, stream, chunk uint32, last bool) []byte {
	var a []byte
	field := func(b ...byte) {
		a = binary.BigEndian.AppendUint32(a, uint32(len(b)))
		a = append(a, b...)
	}
	field(1)
	field([]byte(origin)...)
	field(x[:]...)
	field(binary.BigEndian.AppendUint32(nil, stream)...)
	field(binary.BigEndian.AppendUint32(nil, chunk)...)
	if last {
		field(1)
	} else {
		field(0)
	}
	return a
}

// wrapAAD binds a wrapped message key to its message and its data key.
func wrapAAD(x uuid.UUID, i int, id classKeyID) []byte {
	a := append([]byte(nil), x[:]...)
	a = binary.BigEndian.AppendUint32(a, uint32(i))
	return append(a, id[:]...)
}

// sealMessage seals one message under a fresh key and salt. It runs in the caller's goroutine: neither
// the entry's number nor the class is needed for the chunks.
func sealMessage(origin string, x uuid.UUID, i int, m exchange.Message, ck *classKey) (MessageRef, []kv, error) {
	var random [64 + 12 + 7]byte
	if _, err := rand.Read(random[:]); err != nil {
		return MessageRef{}, nil, err
	}
	var salt [32]byte
	var prefix [7]byte
	copy(salt[:], random[32:64])
	wrapNonce := random[64:76]
	copy(prefix[:], random[76:])
	aead, err := newGCM(random[:32])
	if err != nil {
		return MessageRef{}, nil, err
	}
	var out []kv
	for _, s := range []struct {
		stream uint32
		plain  []byte
	}{{headStream(i), m.Head}, {bodyStream(i), m.Body}} {
		out = append(out, sealChunks(aead, prefix, origin, x, s.stream, s.plain)...)
	}
	rec := make([]byte, 0, messageKeySize)
	rec = append(rec, messageKeyVersion)
	rec = append(rec, ck.id[:]...)
	rec = append(rec, wrapNonce...)
	rec = ck.aead.Seal(rec, wrapNonce, random[:64], wrapAAD(x, i, ck.id))
	rec = append(rec, prefix[:]...)
	out = append(out, kv{messageKeyKey(x, i), rec})
	return MessageRef{I: i, Points: m.Points, Status: m.Status, Size: int64(len(m.Body)),
		Commitment: Commitment(salt, sha256.Sum256(m.Head), sha256.Sum256(m.Body)), Cut: m.Cut}, out, nil
}

func sealChunks(aead cipher.AEAD, prefix [7]byte, origin string, x uuid.UUID, stream uint32, plain []byte) []kv {
	var out []kv
	for n := uint32(0); ; n++ {
		part, last := plain, true
		if len(plain) > chunkSize {
			part, last = plain[:chunkSize], false
		}
		plain = plain[len(part):]
		out = append(out, kv{chunkKey(x, stream, n),
			aead.Seal(nil, chunkNonce(prefix, stream, n, last), part, chunkAAD(origin, x, stream, n, last))})
		if last {
			return out
		}
	}
}

// ErrCommitment says that content was opened and is not what its entry committed to.
var ErrCommitment = errors.New("content does not match the commitment in its entry")

// ErrAbsent says that content which an entry commits to is not in the store.
var ErrAbsent = errors.New("content is missing from the store")

// openMessage opens message ref of exchange x and checks it against the commitment.
func openMessage(ctx context.Context, o *opener, origin string, x uuid.UUID, ref MessageRef) (Content, error) {
	var c Content
	rec, err := o.view.Get(ctx, messageKeyKey(x, ref.I))
	if errors.Is(err, ErrNotFound) {
		return c, fmt.Errorf("key of message %d: %w", ref.I, ErrAbsent)
	}
	if err != nil {
		return c, fmt.Errorf("reading the key of message %d: %w", ref.I, err)
	}
	if len(rec) != messageKeySize || rec[0] != messageKeyVersion {
		return c, fmt.Errorf("key record of message %d: not of version %d", ref.I, messageKeyVersion)
	}
	id := classKeyID(rec[1:17])
	ck, err := o.key(ctx, id)
	if err != nil {
		return c, err
	}
	keys, err := ck.aead.Open(nil, rec[17:29], rec[29:109], wrapAAD(x, ref.I, id))
	if err != nil {
		return c, fmt.Errorf("key record of message %d was altered", ref.I)
	}
	aead, err := newGCM(keys[:32])
	if err != nil {
		return c, err
	}
	copy(c.Salt[:], keys[32:])
	prefix := [7]byte(rec[109:])
	if c.Head, err = openChunks(ctx, o.view, aead, prefix, origin, x, headStream(ref.I)); err != nil {
		return c, fmt.Errorf("head of message %d: %w", ref.I, err)
	}
	if c.Body, err = openChunks(ctx, o.view, aead, prefix, origin, x, bodyStream(ref.I)); err != nil {
		return c, fmt.Errorf("body of message %d: %w", ref.I, err)
	}
	if int64(len(c.Body)) != ref.Size || Commitment(c.Salt, sha256.Sum256(c.Head), sha256.Sum256(c.Body)) != ref.Commitment {
		return c, fmt.Errorf("message %d: %w", ref.I, ErrCommitment)
	}
	return c, nil
}

func openChunks(ctx context.Context, v View, aead cipher.AEAD, prefix [7]byte, origin string, x uuid.UUID, stream uint32) ([]byte, error) {
	plain := []byte{}
	for n := uint32(0); n < maxChunks; n++ {
		sealed, err := v.Get(ctx, chunkKey(x, stream, n))
		if errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("chunk %d: %w", n, ErrAbsent)
		}
		if err != nil {
			return nil, fmt.Errorf("reading chunk %d: %w", n, err)
		}
		// A full chunk may be the last or not: its nonce and associated data tell.
		for _, last := range []bool{true, false} {
			if !last && len(sealed) < chunkSize {
				continue
			}
			part, err := aead.Open(nil, chunkNonce(prefix, stream, n, last), sealed, chunkAAD(origin, x, stream, n, last))
			if err != nil {
				if last && len(sealed) >= chunkSize {
					continue
				}
				return nil, fmt.Errorf("chunk %d was altered", n)
			}
			plain = append(plain, part...)
			if last {
				return plain, nil
			}
		}
	}
	return nil, fmt.Errorf("more than %d chunks", maxChunks)
}
