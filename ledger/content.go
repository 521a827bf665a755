package ledger

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"

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

// inlineContent is the sealed content in bytes up to which a message travels with its entry: head and
// body in one record. Larger content goes ahead of its entry, chunk by chunk.
const inlineContent = 256 << 10

// packedChunk stands for the chunk number of a record that holds head and body of a small message:
// length of the sealed head (uint32), sealed head, sealed body, each of one chunk.
const packedChunk = ^uint32(0)

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

// sealer seals one message under a fresh key and salt: neither the entry's number nor the class is
// needed, so it works in the caller's goroutine, and for a large body while the bytes arrive.
type sealer struct {
	origin string
	x      uuid.UUID
	i      int
	secret [64]byte // key and salt
	nonce  [12]byte // of their wrapping
	prefix [7]byte  // of the chunks' nonces
	aead   cipher.AEAD
}

func newSealer(origin string, x uuid.UUID, i int) (*sealer, error) {
	var random [64 + 12 + 7]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	s := &sealer{origin: origin, x: x, i: i}
	copy(s.secret[:], random[:64])
	copy(s.nonce[:], random[64:76])
	copy(s.prefix[:], random[76:])
	var err error
	s.aead, err = newGCM(s.secret[:32])
	return s, err
}

// chunk seals plain behind what dst holds.
func (s *sealer) chunk(dst []byte, stream, n uint32, last bool, plain []byte) []byte {
	return s.aead.Seal(dst, chunkNonce(s.prefix, stream, n, last), plain, chunkAAD(s.origin, s.x, stream, n, last))
}

// keyRecord wraps key and salt under a class key.
func (s *sealer) keyRecord(ck *classKey) kv {
	rec := make([]byte, 0, messageKeySize)
	rec = append(rec, messageKeyVersion)
	rec = append(rec, ck.id[:]...)
	rec = append(rec, s.nonce[:]...)
	rec = ck.aead.Seal(rec, s.nonce[:], s.secret[:], wrapAAD(s.x, s.i, ck.id))
	rec = append(rec, s.prefix[:]...)
	return kv{messageKeyKey(s.x, s.i), rec}
}

// enclose appends a small message and its key as enclosures.
func (s *sealer) enclose(b []byte, m exchange.Message, ck *classKey) []byte {
	const overhead = 16
	size := 4 + len(m.Head) + len(m.Body) + 2*overhead
	b = slices.Grow(b, 512+size) // the key, and what else comes with an entry
	b = enclose(b, s.keyRecord(ck))
	b = beginEnclosure(b, chunkKey(s.x, headStream(s.i), packedChunk), size)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Head)+overhead))
	b = s.chunk(b, headStream(s.i), 0, true, m.Head)
	return s.chunk(b, bodyStream(s.i), 0, true, m.Body)
}

// reference is what the entry says of the message.
func (s *sealer) reference(m exchange.Message, size int64, body [32]byte) MessageRef {
	return MessageRef{I: s.i, Points: m.Points, Status: m.Status, Size: size, Cut: m.Cut,
		Commitment: Commitment([32]byte(s.secret[32:]), sha256.Sum256(m.Head), body)}
}
