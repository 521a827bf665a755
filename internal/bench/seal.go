package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// classKeys are the two data keys of the one class-month of a run, and the key of its index.
type classKeys struct {
	id      [16]byte
	content cipher.AEAD
	receipt cipher.AEAD
	index   [32]byte
	tag     [8]byte // of the class-month, before each keyed term
}

func newClassKeys() (*classKeys, error) {
	var random [112]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	k := &classKeys{id: [16]byte(random[:16]), index: [32]byte(random[80:])}
	k.tag = [8]byte(sha256.New().Sum(random[:8])[:8])
	var err error
	if k.content, err = gcm(random[16:48]); err != nil {
		return nil, err
	}
	k.receipt, err = gcm(random[48:80])
	return k, err
}

func gcm(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// sealer does what the ledger does in a caller's goroutine, into a unit. Each is used by one caller at a
// time and keeps its buffers.
type sealer struct {
	unit
	origin string
	node   string
	keys   *classKeys
	mac    hash.Hash
	aad    []byte
	small  []byte
	list   []byte // business keys, in clear
}

func newSealer(origin, node string, k *classKeys) *sealer {
	return &sealer{unit: unit{done: make(chan answer, 1)}, origin: origin, node: node, keys: k, mac: hmac.New(sha256.New, k.index[:])}
}

// seal fills the unit: content under a fresh key, the key under the class key, tail, index, pending receipt.
func (s *sealer) seal(r *exchange.Record) error {
	x, err := uuid.Parse(string(r.Exchange))
	if err != nil {
		return fmt.Errorf("exchange id: %w", err)
	}
	s.records, s.numbers = s.records[:0], s.numbers[:0]
	s.records = append(append(frame(s.records, 25, 0), 'x'), x[:]...)
	s.number()
	var commitments [2][32]byte
	var body [32]byte
	for i, m := range r.Messages {
		if commitments[i], body, err = s.message(x, r.FirstIndex+i, m); err != nil {
			return err
		}
	}
	s.tail = appendTail(s.tail[:0], s.node, r, commitments[:])
	if err := s.terms(x, r); err != nil {
		return err
	}
	if r.Kind != exchange.KindRequest {
		if err := s.receipt(x, r, body); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(s.records[2:], uint32(len(s.records)-6-25)) // what is enclosed with the entry
	s.index(r)
	return nil
}

// enclose writes what stands before an enclosure: its table, and the lengths of its key's rest and value.
func (s *sealer) enclose(table byte, rest, value int) {
	s.records = binary.BigEndian.AppendUint32(append(s.records, table, byte(rest)), uint32(value))
}

// number leaves room for the entry's number.
func (s *sealer) number() {
	s.numbers = append(s.numbers, len(s.records))
	s.records = append(s.records, 0, 0, 0, 0, 0, 0, 0, 0)
}

func (s *sealer) message(x uuid.UUID, i int, m exchange.Message) (commitment, body [32]byte, err error) {
	var random [64 + 12 + 7]byte
	if _, err = rand.Read(random[:]); err != nil {
		return
	}
	aead, err := gcm(random[:32])
	if err != nil {
		return
	}
	s.enclose('c', 8, 4+len(m.Head)+16+len(m.Body)+16)
	s.records = binary.BigEndian.AppendUint32(s.records, uint32(2*i))
	s.records = binary.BigEndian.AppendUint32(s.records, ^uint32(0))
	s.records = binary.BigEndian.AppendUint32(s.records, uint32(len(m.Head)+16))
	for stream, plain := range [][]byte{m.Head, m.Body} {
		stream += 2 * i
		var nonce [12]byte
		copy(nonce[:], random[76:])
		nonce[11] = byte(stream&1)<<1 | 1
		s.records = aead.Seal(s.records, nonce[:], plain, s.chunkAAD(x, uint32(stream)))
	}
	s.enclose('k', 4, 116)
	s.records = binary.BigEndian.AppendUint32(s.records, uint32(i))
	s.records = append(append(s.records, 1), s.keys.id[:]...)
	s.records = append(s.records, random[64:76]...)
	s.records = s.keys.content.Seal(s.records, random[64:76], random[:64], s.wrapAAD(x, uint32(i)))
	s.records = append(s.records, random[76:]...)

	head := sha256.Sum256(m.Head)
	body = sha256.Sum256(m.Body)
	s.small = append(append(append(append(s.small[:0], "sigillo/content/v1\n"...), random[32:64]...), head[:]...), body[:]...)
	return sha256.Sum256(s.small), body, nil
}

func (s *sealer) chunkAAD(x uuid.UUID, stream uint32) []byte {
	a := append(s.aad[:0], 0, 0, 0, 1, 1)
	a = append(binary.BigEndian.AppendUint32(a, uint32(len(s.origin))), s.origin...)
	a = append(append(a, 0, 0, 0, 16), x[:]...)
	a = binary.BigEndian.AppendUint32(append(a, 0, 0, 0, 4), stream)
	s.aad = append(a, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1)
	return s.aad
}

func (s *sealer) wrapAAD(x uuid.UUID, i uint32) []byte {
	s.aad = append(binary.BigEndian.AppendUint32(append(s.aad[:0], x[:]...), i), s.keys.id[:]...)
	return s.aad
}

// terms writes the business keys, sealed.
func (s *sealer) terms(x uuid.UUID, r *exchange.Record) error {
	list := append(s.list[:0], '[')
	for i, k := range r.Keys {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(append(append(append(append(list, `["`...), k.Name...), `","`...), k.Value...), `"]`...)
	}
	s.list = append(list, ']')
	s.enclose('m', len(r.Kind), 1+16+12+48+12+len(s.list)+16)
	s.records = append(s.records, r.Kind...)
	return s.envelope(x, s.keys.content, ^uint32(1), s.list)
}

// index writes the business keys, hashed. Those that the messages of a batch share cost the ledger a byte or
// two each: here they are hashed only.
func (s *sealer) index(r *exchange.Record) {
	for _, k := range r.Keys {
		if k.Name == "idStation" {
			continue
		}
		s.small = binary.BigEndian.AppendUint32(s.small[:0], uint32(len(k.Name)))
		s.small = append(append(s.small, k.Name...), k.Value...)
		s.mac.Reset()
		s.mac.Write(s.small)
		sum := s.mac.Sum(s.small[:0])
		if k.Name == "notice" || k.Name == "iuv" {
			s.records = frame(s.records, 1+8+16+8, 0)
			s.records = append(append(append(s.records, 'j'), s.keys.tag[:]...), sum[:16]...)
			s.number()
		}
	}
}

// envelope seals plain under a key of its own, and that under a class key.
func (s *sealer) envelope(x uuid.UUID, class cipher.AEAD, stream uint32, plain []byte) error {
	var random [32 + 12 + 12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	aead, err := gcm(random[:32])
	if err != nil {
		return err
	}
	s.records = append(append(s.records, 1), s.keys.id[:]...)
	s.records = append(s.records, random[32:44]...)
	s.records = class.Seal(s.records, random[32:44], random[:32], s.wrapAAD(x, stream))
	s.records = append(s.records, random[44:]...)
	s.records = aead.Seal(s.records, random[44:], plain, s.chunkAAD(x, stream))
	return nil
}

// receipt writes the sealed basis of a receipt.
func (s *sealer) receipt(x uuid.UUID, r *exchange.Record, body [32]byte) error {
	basis := append(s.small[:0], `{"exchange":"`...)
	basis = append(basis, r.Exchange...)
	basis = append(append(basis, `","principal":"`...), r.Principal...)
	basis = fmt.Appendf(basis, `","iat":%d,"request":{"n":%d,"entry":"`, r.Captured.Unix(), r.Request.N)
	basis = hex.AppendEncode(basis, r.Request.Entry[:])
	basis = hex.AppendEncode(append(basis, `","body":"`...), r.Request.Body[:])
	basis = append(basis, `"},"request_body":"`...)
	basis = hex.AppendEncode(basis, make([]byte, 32))
	basis = hex.AppendEncode(append(basis, `","body":"`...), body[:])
	basis = fmt.Appendf(basis, `","status":%d,"origin":"upstream"}`, r.Messages[0].Status)
	s.small = basis

	s.enclose('r', 0, 1+1+16+12+48+12+len(basis)+16)
	s.records = append(s.records, 0)
	return s.envelope(x, s.keys.receipt, ^uint32(0), basis)
}
