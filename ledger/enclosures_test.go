package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// TestEnclosuresAreRecords: what entries enclose is seen as records of its own tables, merged in order with
// those that stand by themselves, which come first; and what is dropped is gone while the entry stays found.
func TestEnclosuresAreRecords(t *testing.T) {
	l := openTest(t, t.TempDir(), newSeedKeys(61))
	defer closeTest(t, l)
	a, b, c := uuid.UUID{1}, uuid.UUID{1, 2}, uuid.UUID{3}
	rec := func(key []byte, value string) kv { return kv{key, []byte(value)} }
	enclosed := func(rs ...kv) (out []byte) {
		for _, r := range rs {
			out = enclose(out, r)
		}
		return out
	}
	must(t, write(l.db, []kv{
		{exchangeIndexKey(a, 90), enclosed(rec(messageKeyKey(a, 0), "a0"), rec(chunkKey(a, 0, packedChunk), "A0"), rec(termsKey(a, exchange.KindRequest), "t"))},
		{exchangeIndexKey(a, 91), enclosed(rec(messageKeyKey(a, 1), "a1"), rec(receiptKey(a), "\x00pending"), rec(chunkKey(a, 2, packedChunk), "A1"))},
		{exchangeIndexKey(b, 92), nil},
		{exchangeIndexKey(c, 93), enclosed(rec(messageKeyKey(c, 0), "c0"), rec(messageKeyKey(c, 1), "c1"))},
		rec(messageKeyKey(a, 1), "wrapped anew"), rec(messageKeyKey(b, 0), "b0"), rec(messageKeyKey(c, 7), "c7"), rec(receiptKey(a), "\x01signed"),
	}, nil))
	seen := func(prefix, from []byte) string {
		var out []string
		must(t, l.View().Scan(t.Context(), prefix, from, func(key, value []byte) error {
			got, err := l.View().Get(t.Context(), key)
			if err != nil || !bytes.Equal(got, value) {
				t.Errorf("key %x: scanned %q, got %q, %v", key, value, got, err)
			}
			out = append(out, string(value))
			return nil
		}))
		return fmt.Sprint(out)
	}
	k := []byte{tableMessageKey}
	for _, s := range []struct {
		prefix, from []byte
		want         string
	}{
		{k, nil, "[a0 wrapped anew b0 c0 c1 c7]"},
		{k, messageKeyKey(a, 1), "[wrapped anew b0 c0 c1 c7]"},
		{k, messageKeyKey(c, 1), "[c1 c7]"},
		{messageKeyKey(a, 0)[:17], nil, "[a0 wrapped anew]"},
		{messageKeyKey(c, 0)[:17], messageKeyKey(c, 1), "[c1 c7]"},
		{chunkKey(a, 2, 0)[:21], nil, "[A1]"},
		{[]byte{tableReceipt}, nil, "[\x01signed]"},
		{[]byte{tableTerms}, nil, "[t]"},
	} {
		if got := seen(s.prefix, s.from); got != s.want {
			t.Errorf("from %x in %x: %q, want %q", s.from, s.prefix, got, s.want)
		}
	}
	for _, key := range [][]byte{messageKeyKey(b, 1), chunkKey(a, 1, packedChunk), chunkKey(a, 0, 0), receiptKey(c), termsKey(a, exchange.KindResponse)} {
		if v, err := l.View().Get(t.Context(), key); !errors.Is(err, ErrNotFound) {
			t.Errorf("key %x: %q, %v", key, v, err)
		}
	}
	var ns []uint64
	index := func(x uuid.UUID) []uint64 {
		ns = nil
		must(t, l.View().Scan(t.Context(), exchangeTableKey(tableExchange, x), nil, func(key, value []byte) error {
			if len(value) > 0 {
				t.Errorf("the exchange index shows %q", value)
			}
			ns = append(ns, exchangeEntry(key))
			return nil
		}))
		return ns
	}
	if got := index(a); !slices.Equal(got, []uint64{90, 91}) {
		t.Errorf("entries of the exchange: %v", got)
	}

	d := enclosureDrop{db: l.db}
	must(t, d.drop(t.Context(), a, ofMessage(0)))
	must(t, d.drop(t.Context(), a, func(table byte, _ []byte) bool { return table == tableReceipt }))
	must(t, d.drop(t.Context(), a, ofMessage(1)))
	must(t, write(l.db, d.writes(), [][]byte{messageKeyKey(a, 1), receiptKey(a)}))
	for table, want := range map[byte]string{tableMessageKey: "[]", tableChunk: "[]", tableReceipt: "[]", tableTerms: "[t]"} {
		if got := seen(exchangeTableKey(table, a), nil); got != want {
			t.Errorf("table %c after the drop: %s", table, got)
		}
	}
	if got := index(a); !slices.Equal(got, []uint64{90, 91}) {
		t.Errorf("entries of the exchange after the drop: %v", got)
	}
}

func FuzzEnclosures(f *testing.F) {
	x := uuid.UUID{7}
	f.Add(enclose(enclose(nil, kv{messageKeyKey(x, 3), []byte("key")}), kv{receiptKey(x), nil}))
	f.Add([]byte{tableChunk, 8, 0xff, 0xff, 0xff, 0xff, 1, 2})
	f.Add([]byte{tableEntry, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := enclosures(b, func(table byte, rest, value []byte) error {
			again = enclose(again, kv{append(exchangeTableKey(table, x), rest...), value})
			return nil
		})
		if err == nil && !bytes.Equal(again, b) {
			t.Errorf("%x written again gives %x", b, again)
		}
		if !bytes.HasPrefix(b, again) {
			t.Errorf("%x begins as %x", b, again)
		}
	})
}
