package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// FuzzCosignatures: what parses is what stood there, and what verifies was signed.
func FuzzCosignatures(f *testing.F) {
	w := testWitnessKey(1, "witness.example/w1")
	key, err := parseWitnessKey(w.vkey())
	if err != nil {
		f.Fatal(err)
	}
	c := Checkpoint{Origin: testOrigin, Size: 42, Root: Hash{7}}
	line := w.cosign([]byte(c.text()+"\n"), 1700000000)
	f.Add([]byte(line))
	f.Add([]byte(line + "— witness.example/w2 AWui8Sk55XjYLOij\n"))
	f.Add([]byte("— example.com Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"))
	f.Add([]byte("\n"))
	f.Add([]byte("— a b\n— "))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := parseCosignatures(b)
		if err != nil {
			return
		}
		for _, l := range lines {
			if !strings.Contains("\n"+string(b), "\n"+l.line+"\n") {
				t.Fatalf("a line that does not stand there: %q", l.line)
			}
			if l.verify(key, c.text()) && l.line+"\n" != line {
				t.Fatalf("another line verifies: %q", l.line)
			}
		}
	})
}

// FuzzWitnessAnswer: whatever a witness answers, only its own cosignature of this checkpoint comes out of
// it, and only a size from which a proof can be made.
func FuzzWitnessAnswer(f *testing.F) {
	w := testWitnessKey(1, "witness.example/w1")
	key, err := parseWitnessKey(w.vkey())
	if err != nil {
		f.Fatal(err)
	}
	at := Checkpoint{Origin: testOrigin, Size: 42, Root: Hash{7}}
	line := w.cosign([]byte(at.text()+"\n"), 1700000000)
	f.Add(200, "", "", []byte(line), uint64(0))
	f.Add(409, "text/x.tlog.size", "", []byte("41\n"), uint64(0))
	f.Add(409, "text/x.tlog.size", "", []byte("43\n"), uint64(7))
	f.Add(409, "text/plain", "", []byte("no\n"), uint64(42))
	f.Add(422, "", "", []byte{}, uint64(12))
	f.Add(429, "", "12", []byte{}, uint64(12))
	f.Fuzz(func(t *testing.T, status int, kind, after string, body []byte, held uint64) {
		held %= at.Size + 1
		sig, stands, err := readAnswer(witnessAnswer{status, kind, after, body}, key, held, at)
		if stands > at.Size {
			t.Fatalf("stands at %d", stands)
		}
		if errors.Is(err, errOtherHistory) && status != http.StatusConflict && status != http.StatusUnprocessableEntity {
			t.Fatalf("a fork out of status %d", status)
		}
		if err == nil && sig.line == "" && (status != http.StatusConflict || stands == held) {
			t.Fatal("neither a cosignature nor a new size")
		}
		if sig.line != "" && (err != nil || sig.line+"\n" != line || stands != at.Size) {
			t.Fatalf("a cosignature that was never made: %q", sig.line)
		}
	})
}

// FuzzWitnessKey: a key that parses is written in one way only.
func FuzzWitnessKey(f *testing.F) {
	f.Add(testWitnessKey(1, "witness.example/w1").vkey())
	f.Add("a+b+c")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseWitnessKey(text)
		if again := fmt.Sprintf("%s+%08x+%s", k.name, k.id, base64.StdEncoding.EncodeToString(append([]byte{cosignatureV1}, k.pub...))); err == nil && again != text {
			t.Fatalf("%q parses as %q", text, again)
		}
	})
}
