package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
)

// scannedExamples are entries of every kind, several places each.
func scannedExamples() (out [][]byte) {
	var last Hash
	for i, at := range []time.Time{time.Unix(1, 0), time.Date(2028, 2, 29, 23, 59, 59, 1000, time.UTC)} {
		for _, g := range goldenTails() {
			g.tail.Node = "gw-1"
			tail, err := encodeTail(&g.tail)
			if err != nil {
				panic(err)
			}
			b := joinEntry(uint64(len(out)*i*1000), last, At(at), Own{P: g.own, K: uint64(len(out)), Prev: last}, tail)
			last = EntryHash(b)
			out = append(out, b)
		}
	}
	return out
}

// sameReading fails when what the scanner read is not what DecodeEntry reads.
func sameReading(t *testing.T, b []byte, r *reading) {
	t.Helper()
	e, err := DecodeEntry(b)
	if err != nil {
		t.Fatalf("the scanner accepts %q, DecodeEntry says %v", b, err)
	}
	x, err := uuid.Parse(string(e.Exchange))
	if err != nil && !r.badExchange {
		t.Fatalf("exchange id of %q: %v", b, err)
	}
	if r.n != e.N || r.prev != e.Prev || string(r.time[:]) != e.Time.UTC().Format(timeLayout) || string(r.own) != e.Own.P || r.k != e.Own.K ||
		r.ownPrev != e.Own.Prev || r.kind != e.Kind || r.exchange != x || r.hasExchange != (e.Exchange != "") ||
		r.hasRequest != (e.Request != nil) || r.hasRequest && r.request != *e.Request || len(r.messages) != len(e.Messages) {
		t.Fatalf("%q read as %+v", b, r)
	}
	for i, m := range e.Messages {
		if g := r.messages[i]; g.I != m.I || g.Status != m.Status || g.Size != m.Size || g.Commitment != m.Commitment || g.Cut != m.Cut {
			t.Fatalf("message %d of %q read as %+v", i, b, g)
		}
	}
}

func TestScannerKnowsWhatItHasMet(t *testing.T) {
	s, known := newScanner(), 0
	for range 2 {
		for _, b := range scannedExamples() {
			var r reading
			if s.scan(b, &r) {
				known++
				sameReading(t, b, &r)
				continue
			}
			e, err := DecodeEntry(b)
			if err != nil {
				t.Fatal(err)
			}
			s.learn(b, e)
		}
	}
	// Six kinds are learnt at first sight: three of four meetings are recognised.
	if known != 6*3 {
		t.Errorf("%d entries recognised", known)
	}
}

// FuzzScanEntry: whatever the scanner accepts, DecodeEntry accepts, with the same reading.
func FuzzScanEntry(f *testing.F) {
	learnt := newScanner()
	for _, b := range scannedExamples() {
		f.Add(b)
		e, err := DecodeEntry(b)
		if err != nil {
			f.Fatal(err)
		}
		learnt.learn(b, e)
		for _, m := range [][2]string{{`"n":`, `"n":0`}, {`"cut":true`, `"cut":false`}, {`"status":200`, `"status":0`}, {`Z`, `z`}, {`},`, "},\x00"},
			{`"exchange":"019a`, `"exchange":"019A`}, {`,"messages":[{`, `,"messages":[{"i":0},{`}, {`1970-01-01`, `1970-02-30`}, {`.000000Z`, `,000000Z`}} {
			f.Add(bytes.Replace(b, []byte(m[0]), []byte(m[1]), 1))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newScanner()
		s.forms = learnt.forms
		var r reading
		if s.scan(b, &r) {
			sameReading(t, b, &r)
		}
	})
}
