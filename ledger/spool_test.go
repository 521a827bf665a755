package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// pattern gives bytes that differ from chunk to chunk, without holding them.
type pattern struct{ at, size int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.size-p.at))
	for i := range b[:n] {
		at := p.at + int64(i)
		b[i] = byte(at ^ at>>12 ^ at>>20)
	}
	p.at += int64(n)
	return n, nil
}

// spoolRecord is a request whose body came through a spool.
func spoolRecord(t *testing.T, l *Ledger, id exchange.ID, body io.Reader) exchange.Record {
	t.Helper()
	s, err := l.Spool(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(s, body); err != nil {
		t.Fatal(err)
	}
	r := requestRecord(id, nil)
	r.Messages[0].Spool = s
	return r
}

// TestGibibyteBodyInFlatMemory: 1 GiB goes in, on to the other side, through verification and out again while
// the heap stays small.
func TestGibibyteBodyInFlatMemory(t *testing.T) {
	size, most := int64(1<<30), uint64(320<<20) // opening a ledger reads its last value log, 128 MiB, at once
	if testing.Short() || underRace {
		size = 64 << 20
	}
	k, dir := newSeedKeys(81), t.TempDir()
	l := openTest(t, dir, k)
	var peak uint64
	heap := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse)
	}
	want := sha256.New()
	watch := writerFunc(func(b []byte) (int, error) { heap(); return len(b), nil })
	id := newID()
	r := spoolRecord(t, l, id, io.TeeReader(&pattern{size: size}, io.MultiWriter(want, every(16<<20, watch))))
	spool := r.Messages[0].Spool.(*Spool)
	forwarded := sha256.New()
	if err := spool.CopyTo(t.Context(), io.MultiWriter(forwarded, every(16<<20, watch))); err != nil {
		t.Fatal(err)
	}
	at, err := l.Record(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	response := responseRecord(r, at, []byte("received"))
	response.Request.Body = spool.Digest()
	if _, err := l.Record(t.Context(), response); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	if !bytes.Equal(want.Sum(nil), forwarded.Sum(nil)) || spool.Size() != size || spool.Digest() != [32]byte(want.Sum(nil)) {
		t.Error("what went on is not what came in")
	}
	heap()
	wantIntact(t, verifyDir(t, dir, k))
	heap()
	log, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	e, err := log.Entry(t.Context(), at.N)
	if err != nil {
		t.Fatal(err)
	}
	out := sha256.New()
	if err := NewOpener(log, k).Body(t.Context(), id, e.Messages[0], io.MultiWriter(out, every(16<<20, watch))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want.Sum(nil), out.Sum(nil)) || e.Messages[0].Size != size {
		t.Error("what is read is not what came in")
	}
	if peak > most {
		t.Errorf("%d MiB of heap for a body of %d MiB", peak>>20, size>>20)
	}
	t.Logf("%d MiB body, at most %d MiB of heap", size>>20, peak>>20)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// every calls w once for so many bytes.
func every(step int64, w io.Writer) io.Writer {
	var n int64
	return writerFunc(func(b []byte) (int, error) {
		if n += int64(len(b)); n >= step {
			n = 0
			if _, err := w.Write(b); err != nil {
				return 0, err
			}
		}
		return len(b), nil
	})
}

// TestSpooledBodiesOfEverySize: sizes at the borders of chunks, in pieces of odd sizes.
func TestSpooledBodiesOfEverySize(t *testing.T) {
	k, dir := newSeedKeys(82), t.TempDir()
	l := openTest(t, dir, k)
	want := map[exchange.ID][]byte{}
	at := map[exchange.ID]uint64{}
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 2*chunkSize + 77777} {
		id := newID()
		body, err := io.ReadAll(&pattern{size: int64(size)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Spool(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 123457)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		r := requestRecord(id, nil)
		r.Messages[0].Spool = s
		rec, err := l.Record(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		want[id], at[id] = body, rec.N
	}
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := NewOpener(log, k)
	for id, body := range want {
		e, err := log.Entry(t.Context(), at[id])
		if err != nil {
			t.Fatal(err)
		}
		c, err := o.Content(t.Context(), id, e.Messages[0])
		if err != nil || !bytes.Equal(c.Body, body) || string(c.Head) != `{"method":"POST"}` {
			t.Errorf("body of %d bytes: %d bytes came back, %v", len(body), len(c.Body), err)
		}
	}
	wantNoSpools(t, l)
}

// wantNoSpools checks that no chunk is without its entry.
func wantNoSpools(t *testing.T, l *Ledger) {
	t.Helper()
	left := 0
	if err := l.View().Scan(t.Context(), []byte{tableSpool}, nil, func([]byte, []byte) error { left++; return nil }); err != nil || left != 0 {
		t.Errorf("%d bodies wait for an entry, %v", left, err)
	}
}

// TestBodiesWithoutEntryAreRemoved: a body whose entry never came is gone when it is discarded, and after a
// restart; one whose spool is another message's is refused.
func TestBodiesWithoutEntryAreRemoved(t *testing.T) {
	k, dir := newSeedKeys(83), t.TempDir()
	l := openTest(t, dir, k)
	fill(t, l, 3)
	discarded, left := newID(), newID()
	r := spoolRecord(t, l, discarded, &pattern{size: 3 * chunkSize})
	if err := r.Messages[0].Spool.(*Spool).Discard(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), r); !errors.Is(err, errSpoolEnded) {
		t.Errorf("a discarded body made an entry: %v", err)
	}
	wantNoSpools(t, l)
	other := spoolRecord(t, l, left, &pattern{size: 3 * chunkSize})
	other.Exchange = newID()
	if _, err := l.Record(t.Context(), other); err == nil {
		t.Error("a body of another exchange made an entry")
	}
	closeTest(t, l)
	again := openTest(t, dir, k)
	wantNoSpools(t, again)
	for _, id := range []exchange.ID{discarded, left} {
		x := uuid.MustParse(string(id))
		n := 0
		if err := again.View().Scan(t.Context(), exchangeTableKey(tableChunk, x), nil, func([]byte, []byte) error { n++; return nil }); err != nil || n != 0 {
			t.Errorf("%d chunks without entry are left, %v", n, err)
		}
	}
	fill(t, again, 3)
	closeTest(t, again)
	wantIntact(t, verifyDir(t, dir, k))
}
