package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// TestHolderRefusesOtherRecords: whoever reaches the socket can, during an erasure, change how keys are wrapped and
// nothing else.
func TestHolderRefusesOtherRecords(t *testing.T) {
	dir, k := t.TempDir(), newMortalKeys(61)
	l, old, recent, _ := twoMonths(t, dir, k, 4)
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	log, remote, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	id := classMonthID{"audit-10y", classMonth(time.Now())}
	if err := remote.storeRewrapped(t.Context(), id, nil); err == nil {
		t.Error("records are taken although no erasure has begun")
	}
	state, err := remote.beginErasure(t.Context(), erasureOf(recent[1], 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.beginErasure(t.Context(), erasureOf(recent[2])); !errors.Is(err, ErrErasing) {
		t.Errorf("a second erasure beside the first: %v", err)
	}
	keys, err := readMonthKeys(t.Context(), log, id)
	if err != nil {
		t.Fatal(err)
	}
	w := &rewrapper{e: &Eraser{Log: log, Holder: remote, Keys: k}, s: state, old: keys.before(2), opener: newOpener(log.View, k)}
	if err := w.newKeys(t.Context()); err != nil {
		t.Fatal(err)
	}
	record := func(key []byte) kv {
		v, err := log.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		return kv{key, v}
	}
	changed := func(r kv, f func(v []byte) []byte) kv { return kv{r.key, f(bytes.Clone(r.value))} }
	x, erased, other := uuid.MustParse(string(recent[0])), uuid.MustParse(string(recent[1])), uuid.MustParse(string(old[0]))
	anew := func(key []byte, x uuid.UUID, i int, to *classKey) kv {
		v, err := wrapAnew(t.Context(), w.opener, x, i, record(key).value, to)
		if err != nil {
			t.Fatal(err)
		}
		return kv{key, v}
	}
	good := anew(messageKeyKey(x, 0), x, 0, w.content)
	_, foreign, err := newDataKey(t.Context(), k, classKeyName(testOrigin, "audit-10y", id.month, forContent, 9))
	if err != nil {
		t.Fatal(err)
	}
	index := classKeyName(testOrigin, id.class, id.month, forContent, 2)
	for what, r := range map[string]kv{
		"an entry":                         changed(record(entryKey(1)), func(v []byte) []byte { v[9] ^= 1; return v }),
		"the head":                         record(headKey()),
		"a chunk":                          record(chunkKey(x, 0, packedChunk)),
		"a checkpoint":                     {noteKey(1), []byte("x")},
		"the generation":                   {generationKey(id), []byte(`{"generation":1}`)},
		"an empty key":                     {[]byte{tableMessageKey}, good.value},
		"the erased message's key":         anew(messageKeyKey(erased, 0), erased, 0, w.content),
		"the erased exchange's receipt":    record(receiptKey(erased)),
		"a message of another month":       anew(messageKeyKey(other, 0), other, 0, w.content),
		"a key that is not there":          {messageKeyKey(x, 7), good.value},
		"the old generation":               record(messageKeyKey(x, 1)),
		"the receipts' key":                anew(messageKeyKey(x, 0), x, 0, w.receipts),
		"another prefix of nonces":         changed(good, func(v []byte) []byte { v[115] ^= 1; return v }),
		"another version":                  changed(good, func(v []byte) []byte { v[0] = 2; return v }),
		"a longer record":                  changed(good, func(v []byte) []byte { return append(v, 0) }),
		"a receipt's payload":              changed(record(receiptKey(x)), func(v []byte) []byte { copy(v[2:18], w.receipts.id[:]); v[len(v)-1] ^= 1; return v }),
		"a receipt made pending":           changed(record(receiptKey(x)), func(v []byte) []byte { copy(v[2:18], w.receipts.id[:]); v[0] = receiptPending; return v }),
		"a data key of another generation": foreign,
		"a data key that is there":         record(classKeyKey(w.content.id)),
		"an index term of another key":     {append(append(keyedPrefix("other"), make([]byte, 16)...), entryKey(1)[1:]...), nil},
		"an index term of no entry":        {append(append(keyedPrefix(index), make([]byte, 16)...), entryKey(1 << 40)[1:]...), nil},
	} {
		before, err := log.Get(t.Context(), r.key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if err := remote.storeRewrapped(t.Context(), id, []kv{good, r}); err == nil {
			t.Errorf("%s was taken", what)
		}
		if after, _ := log.Get(t.Context(), r.key); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", what)
		}
	}
	if err := remote.storeRewrapped(t.Context(), id, []kv{good}); err != nil {
		t.Errorf("a good record is refused: %v", err)
	}
	if err := remote.endErasure(t.Context(), id); err == nil {
		t.Error("the erasure was ended while the old keys live")
	}
	// All of that changed nothing: the erasure ends as it should.
	if reports, err := (&Eraser{Log: log, Holder: remote, Keys: k}).Resume(t.Context()); err != nil || len(reports) != 1 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	for i, id := range recent {
		if _, errs := opens(t, l, k, id); (i == 1) != errors.Is(errs[0], ErrErased) || errs[1] != nil {
			t.Errorf("exchange %d: %v", i, errs)
		}
	}
}

func TestClassKeyNamesAreReadBack(t *testing.T) {
	for _, p := range []classPurpose{forContent, forReceipts} {
		for _, class := range []string{"audit-10y", "r-g1", "x-2026-11-g3", "a"} {
			name := classKeyName(testOrigin, class, "2026-12", p, 12)
			if got, ok := parseClassKeyName(name); !ok || got != (classKeyParts{classMonthID{class, "2026-12"}, p, 12}) {
				t.Errorf("%s: %+v, %v", name, got, ok)
			}
		}
	}
	for _, name := range []string{"", "sigillo-receipt", "0123456789abcdef-a-2026-12-g0", "0123456789abcdef-a-2026-12", "0123456789abcdef--2026-12-g1"} {
		if got, ok := parseClassKeyName(name); ok {
			t.Errorf("%q was read as %+v", name, got)
		}
	}
}

func FuzzRewrappedRecords(f *testing.F) {
	var b bytes.Buffer
	for _, r := range []kv{{messageKeyKey(uuid.UUID{1}, 2), make([]byte, messageKeySize)}, {receiptKey(uuid.UUID{1}), make([]byte, 200)}, {termsKey(uuid.UUID{3}, "request"), make([]byte, 120)}} {
		_ = writeField(&b, r.key)
		_ = writeField(&b, r.value)
	}
	_ = writeField(&b, nil)
	f.Add(b.Bytes())
	f.Add([]byte{0, 0, 0, 1, 'k'})
	f.Fuzz(func(t *testing.T, in []byte) {
		records, err := readRecords(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, r := range records {
			if p, ok := placeOf(r.key); ok {
				if id, ok := p.wrappedBy(r.value); ok && !bytes.Contains(r.value, id[:]) {
					t.Errorf("data key id %x is not in the record", id)
				}
			}
			if err := errors.Join(writeField(&again, r.key), writeField(&again, r.value)); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeField(&again, nil); err != nil || !bytes.HasPrefix(in, again.Bytes()) {
			t.Errorf("records are read as others than they were written: %v", err)
		}
	})
}

// BenchmarkErase erases one exchange of a month of SIGILLO_BENCH_EXCHANGES (2,000) and tells the records a second.
func BenchmarkErase(b *testing.B) {
	n := 2000
	if s := os.Getenv("SIGILLO_BENCH_EXCHANGES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	k := newMortalKeys(62)
	l, err := Open(b.Context(), mortalOptions(b.TempDir(), k))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := l.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	var ids []exchange.ID
	var mu sync.Mutex
	var writers sync.WaitGroup
	for w := range 64 {
		writers.Go(func() {
			for range n / 64 {
				id, err := roundTrip(b.Context(), l, make([]byte, 500+rand.IntN(1000)), exchange.Key{Name: "iuv", Value: fmt.Sprint(w)}, exchange.Key{Name: "notice", Value: "1"})
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	writers.Wait()
	log, err := l.Log(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	i, wrapped := 0, uint64(0)
	for b.Loop() {
		r, err := (&Eraser{Log: log, Holder: l, Keys: k}).Erase(b.Context(), erasureOf(ids[i]))
		if err != nil {
			b.Fatal(err)
		}
		i, wrapped = i+1, wrapped+r[0].Rewrapped
	}
	b.ReportMetric(float64(wrapped)/b.Elapsed().Seconds(), "records/s")
}
