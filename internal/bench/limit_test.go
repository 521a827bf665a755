package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

// keyRecord is one record of a limit's or of a ledger's store.
type keyRecord struct{ key, value []byte }

// readLimit reads back what a limit wrote.
func readLimit(t *testing.T, dir string) []keyRecord {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "limit"))
	if err != nil {
		t.Fatal(err)
	}
	var out []keyRecord
	for len(b) > 0 {
		key, value := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint32(b[2:]))
		out = append(out, keyRecord{b[6 : 6+key], b[6+key : 6+key+value]})
		b = b[6+key+value:]
	}
	return out
}

// record sends count messages of one writer, and gives them.
func record(t *testing.T, r Recorder, count int) []exchange.Record {
	t.Helper()
	w, err := NewWriter(0, Workload{Size: 2048, Exchanges: true})
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange.Record
	for range count {
		rec, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		at, err := r.Record(t.Context(), rec)
		if err != nil {
			t.Fatal(err)
		}
		w.Written(&rec, at)
		all = append(all, rec)
	}
	return all
}

// TestLimitWritesEntriesOfTheLedger: what the limit chains are entries that the ledger's strict reader takes,
// joined to each other, and its root is that of RFC 6962 over them.
func TestLimitWritesEntriesOfTheLedger(t *testing.T) {
	dir := t.TempDir()
	l, err := NewLimit(dir)
	if err != nil {
		t.Fatal(err)
	}
	const count = 600 // two tiles and a bit
	record(t, l, count)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last ledger.Hash
	var own [32]byte
	var leaves [][32]byte
	tiles := 0
	for _, r := range readLimit(t, dir) {
		switch r.key[0] {
		case 't':
			tiles++
			if want := slices.Concat(hashes(leaves[256*(tiles-1) : 256*tiles])...); string(r.value) != string(want) {
				t.Errorf("tile %d does not hold its leaves", tiles-1)
			}
		case 'e':
			e, err := ledger.DecodeEntry(r.value)
			if err != nil {
				t.Fatalf("entry %d: %v\n%s", len(leaves), err, r.value)
			}
			if e.N != uint64(len(leaves)) || e.Prev != last || e.Own.Prev != own || e.Own.K != e.N {
				t.Fatalf("entry %d is not joined to the one before", len(leaves))
			}
			last = ledger.EntryHash(r.value)
			own = last
			leaves = append(leaves, sha256.Sum256(append([]byte{0}, r.value...)))
		}
	}
	if len(leaves) != count || tiles != 2 {
		t.Errorf("%d entries and %d tiles", len(leaves), tiles)
	}
	if got := l.log.tree.root(); got != naiveRoot(leaves) {
		t.Error("the root is not that of the leaves")
	}
}

func hashes(of [][32]byte) (all [][]byte) {
	for i := range of {
		all = append(all, of[i][:])
	}
	return all
}

// naiveRoot is the definition of RFC 6962, section 2.1.
func naiveRoot(leaves [][32]byte) [32]byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	return node(naiveRoot(leaves[:k]), naiveRoot(leaves[k:]))
}

// TestLimitSealsContent: the limit's body can be opened with its keys and is what was recorded.
func TestLimitSealsContent(t *testing.T) {
	k, err := newClassKeys()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(3, Workload{Size: 777})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Next()
	if err != nil {
		t.Fatal(err)
	}
	s := newSealer(Origin, Node, k)
	if err := s.seal(&r); err != nil {
		t.Fatal(err)
	}
	var sealed, rec []byte
	for b := s.records[6+25:][:binary.BigEndian.Uint32(s.records[2:])]; len(b) > 0; { // what the entry encloses
		rest, value := int(b[1]), int(binary.BigEndian.Uint32(b[2:]))
		switch v := b[6+rest : 6+rest+value]; b[0] {
		case 'c':
			sealed = v[4+binary.BigEndian.Uint32(v):] // behind the head
		case 'k':
			rec = v
		}
		b = b[6+rest+value:]
	}
	x := [16]byte(s.records[7:23])
	keys, err := k.content.Open(nil, rec[17:29], rec[29:109], s.wrapAAD(x, 0))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := gcm(keys[:32])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, append(append(slices.Clone(rec[109:]), 0, 0, 0, 0), 3), sealed, s.chunkAAD(x, 1))
	if err != nil || string(plain) != string(r.Messages[0].Body) {
		t.Fatalf("the body does not come back: %v", err)
	}
	e, err := ledger.DecodeEntry([]byte(`{"v":1,"n":0,"prev":"` + ledger.Hash{}.String() + `","time":"2026-11-24T00:00:00.000000Z","own":{"p":"log","k":0,"prev":"` +
		ledger.Hash{}.String() + `"},` + string(s.tail)))
	if err != nil {
		t.Fatal(err)
	}
	want := ledger.Commitment([32]byte(keys[32:]), sha256.Sum256(r.Messages[0].Head), sha256.Sum256(plain))
	if e.Messages[0].Commitment != want {
		t.Error("the commitment is not that of the content")
	}
}

// unsigned refuses to sign receipts, so that a ledger holds what its callers wrote and no more.
type unsigned struct{ *signing.KeyDir }

func (unsigned) SignReceipts(context.Context, [][]byte) ([]ledger.SignedReceipt, error) {
	return nil, errors.New("not in this test")
}

func (unsigned) DataKey(context.Context, string) (plain [32]byte, wrapped []byte, err error) {
	_, err = rand.Read(plain[:])
	return plain, make([]byte, 60), err
}

func (unsigned) Unwrap(context.Context, string, []byte) (key [32]byte, err error) {
	return key, errors.New("not in this test")
}

func (unsigned) MAC(_ context.Context, name string, _ []byte) (sum [32]byte, err error) {
	m := hmac.New(sha256.New, []byte(name))
	return [32]byte(m.Sum(nil)), nil
}

func (unsigned) Destroyed(error) bool { return false }

// TestLimitWritesAsManyBytesAsTheLedger: same records, keys and values, up to what is written once a batch.
func TestLimitWritesAsManyBytesAsTheLedger(t *testing.T) {
	const count = 400
	dir := t.TempDir()
	l, err := NewLimit(dir)
	if err != nil {
		t.Fatal(err)
	}
	record(t, l, count)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What a batch writes once is left out: here a batch is one message.
	perMessage := func(key byte) bool { return !strings.ContainsRune("howpliy", rune(key)) }
	limit := 0
	for _, r := range readLimit(t, dir) {
		if perMessage(r.key[0]) {
			limit += len(r.key) + len(r.value)
		}
	}
	got := ledgerBytes(t, count, perMessage)
	// Genesis is one entry more; of the business keys that a batch's messages share each is written here.
	if diff := float64(limit-got) / float64(got); diff < -0.03 || diff > 0.02 {
		t.Errorf("the limit wrote %d bytes for %d messages, the ledger %d", limit, count, got)
	}
}

func ledgerBytes(t *testing.T, count int, counts func(key byte) bool) (total int) {
	t.Helper()
	dir := t.TempDir()
	keys, err := signing.CreateKeyDir(filepath.Join(dir, "keys"), signing.SealP256)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint, err := keys.Key(t.Context(), signing.UseCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := checkpoint.Public().(ed25519.PublicKey); !ok {
		t.Fatal("no Ed25519 key")
	}
	k := unsigned{keys}
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: filepath.Join(dir, "ledger"), Origin: Origin, Node: Node, Software: "bench", Custody: "file",
		Checkpoints: checkpoint, Receipts: k, Keys: k, DiskStop: 1 << 20, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	record(t, l, count)
	if err := l.View().Scan(t.Context(), nil, nil, func(key, value []byte) error {
		if counts(key[0]) {
			total += len(key) + len(value)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // the receipts stay unsigned
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return total
}

func TestClosedLimitRefuses(t *testing.T) {
	l, err := NewLimit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(0, Workload{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), r); !errors.Is(err, errClosed) {
		t.Errorf("a record after Close: %v", err)
	}
}
