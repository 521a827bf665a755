package ledger

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// fuzzStore is a View over a few records.
type fuzzStore map[string][]byte

func (s fuzzStore) Get(_ context.Context, key []byte) ([]byte, error) {
	if v, ok := s[string(key)]; ok {
		return v, nil
	}
	return nil, ErrNotFound
}

func (s fuzzStore) Scan(context.Context, []byte, []byte, func(key, value []byte) error) error {
	return nil
}

// FuzzSealedMessage: whatever stands in the records of a sealed message and of a receipt, opening them gives
// what was sealed or an error, and never anything else.
func FuzzSealedMessage(f *testing.F) {
	k := newSeedKeys(91)
	name := classKeyName(testOrigin, "audit-10y", "2026-11", forContent, 1)
	ck, class, err := newDataKey(context.Background(), k, name)
	if err != nil {
		f.Fatal(err)
	}
	x := uuid.MustParse("019a9f5e-2f10-7c3a-9d51-2f6b8e0c4a11")
	s, err := newSealer(testOrigin, x, 0)
	if err != nil {
		f.Fatal(err)
	}
	m := exchange.Message{Points: []exchange.Point{exchange.RequestReceived}, Head: []byte(`{"v":1}`), Body: []byte("<body/>")}
	ref := s.reference(m, int64(len(m.Body)), sha256.Sum256(m.Body))
	key, packed := s.keyRecord(ck), kv{key: chunkKey(x, headStream(0), packedChunk)}
	if packed.value, err = enclosedIn(s.enclose(nil, m, ck), packed.key); err != nil {
		f.Fatal(err)
	}
	envelope, err := receiptPlace.seal(testOrigin, x, []byte("a.b.c"), ck)
	if err != nil {
		f.Fatal(err)
	}
	chunk := s.chunk(nil, bodyStream(0), 0, true, m.Body)
	f.Add(key.value, packed.value, chunk, envelope)
	f.Add(key.value, []byte{}, chunk, envelope[:80])
	f.Add(key.value[:115], []byte{0xff, 0xff, 0xff, 0xff, 1}, []byte{}, []byte{1})
	f.Add(key.value, packed.value[:20], packed.value, packed.value)
	f.Fuzz(func(t *testing.T, keyRecord, record, chunk, envelope []byte) {
		store := fuzzStore{string(class.key): class.value, string(key.key): keyRecord, string(chunkKey(x, bodyStream(0), 0)): chunk}
		if len(record) > 0 {
			store[string(packed.key)] = record
		}
		o := newOpener(store, k)
		if c, err := openMessage(t.Context(), o, testOrigin, x, ref); err == nil && (string(c.Head) != string(m.Head) || string(c.Body) != string(m.Body)) {
			t.Errorf("opened as %q %q", c.Head, c.Body)
		}
		if plain, err := receiptPlace.open(t.Context(), o, testOrigin, x, envelope); err == nil && string(plain) != "a.b.c" {
			t.Errorf("a receipt opened as %q", plain)
		}
	})
}
