package ledger

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
)

// proofTree is a tree of 700 entries with a signed checkpoint over all.
func proofTree(t testing.TB, k *seedKeys) (memoryView, string) {
	t.Helper()
	view, roots := memoryTree(700)
	signed, err := signCheckpoint(t.Context(), Checkpoint{testOrigin, 700, roots[700]}, k)
	if err != nil {
		t.Fatal(err)
	}
	view[string(headKey())], view[string(noteKey(700))] = []byte(`{"size":700}`), signed
	return view, VerifierKey(testOrigin, k.checkpoint.Public().(ed25519.PublicKey))
}

// TestTlogProofIsCheckedOffline: made, written, read, verified; every altered part is refused.
func TestTlogProofIsCheckedOffline(t *testing.T) {
	view, vkey := proofTree(t, newSeedKeys(51))
	for _, n := range []uint64{0, 1, 255, 256, 511, 512, 699} {
		made, err := NewTlogProof(t.Context(), view, n)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParseTlogProof(made.Marshal())
		if err != nil {
			t.Fatal(err)
		}
		entry := view[string(entryKey(n))]
		c, err := p.Verify(entry, vkey)
		if err != nil || c.Size != 700 {
			t.Fatalf("entry %d: %+v, %v", n, c, err)
		}
		if _, err := p.Verify(append(bytes.Clone(entry), ' '), vkey); err == nil {
			t.Errorf("entry %d: other bytes are proven", n)
		}
		other := p
		other.Index ^= 1
		if _, err := other.Verify(entry, vkey); err == nil {
			t.Errorf("entry %d is proven at another place", n)
		}
		for what, bad := range wrongPaths(p.Path) {
			other := p
			other.Path = bad
			if _, err := other.Verify(entry, vkey); err == nil {
				t.Errorf("entry %d is proven with %s", n, what)
			}
		}
	}
	p, err := NewTlogProof(t.Context(), view, 3)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newSeedKeys(52).checkpoint.Public().(ed25519.PublicKey)
	if _, err := p.Verify(view[string(entryKey(3))], VerifierKey(testOrigin, stranger)); !errors.Is(err, ErrNoteSignature) {
		t.Errorf("under another key: %v", err)
	}
	if _, err := p.Verify(view[string(entryKey(3))], VerifierKey("other.test/log", stranger)); !errors.Is(err, ErrOtherLog) {
		t.Errorf("under the key of another log: %v", err)
	}
	if _, err := NewTlogProof(t.Context(), view, 700); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("an entry that no checkpoint covers: %v", err)
	}
}

// TestTlogProofHasOneForm: what parses is written the same, everything else is refused.
func TestTlogProofHasOneForm(t *testing.T) {
	view, _ := proofTree(t, newSeedKeys(53))
	p, err := NewTlogProof(t.Context(), view, 5)
	if err != nil {
		t.Fatal(err)
	}
	good := string(p.Marshal())
	p.Extra = []byte("beside")
	for _, b := range []string{good, string(p.Marshal())} {
		again, err := ParseTlogProof([]byte(b))
		if err != nil || string(again.Marshal()) != b {
			t.Errorf("%q: %v", b, err)
		}
	}
	head, rest, _ := strings.Cut(good, "\nindex 5\n")
	hash, _, _ := strings.Cut(rest, "\n")
	for what, bad := range map[string]string{
		"empty":                 "",
		"other version":         strings.Replace(good, "@v1", "@v2", 1),
		"no index":              head + "\n" + rest,
		"leading zero":          head + "\nindex 05\n" + rest,
		"negative index":        head + "\nindex -5\n" + rest,
		"index above 63 bits":   head + "\nindex 9223372036854775808\n" + rest,
		"carriage returns":      strings.ReplaceAll(good, "\n", "\r\n"),
		"extra after the index": head + "\nindex 5\nextra AAAA\n" + rest,
		"extra no base64":       head + "\nextra !\nindex 5\n" + rest,
		"short hash":            head + "\nindex 5\nAAAA\n" + rest,
		"too many hashes":       head + "\nindex 5\n" + strings.Repeat(hash+"\n", 64) + rest,
		"no checkpoint":         head + "\nindex 5\n" + hash + "\n\n",
		"too long":              good + strings.Repeat("x", maxProof),
	} {
		if _, err := ParseTlogProof([]byte(bad)); err == nil {
			t.Errorf("%s: parsed", what)
		}
	}
}

func FuzzTlogProof(f *testing.F) {
	k := newSeedKeys(54)
	view, vkey := proofTree(f, k)
	entry := view[string(entryKey(300))]
	p, err := NewTlogProof(f.Context(), view, 300)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Marshal())
	p.Extra = []byte{1, 2, 3}
	f.Add(p.Marshal())
	f.Add([]byte(tlogProofHeader + "\nindex 0\n\n" + string(p.Checkpoint)))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseTlogProof(b)
		if err != nil {
			return
		}
		if !bytes.Equal(q.Marshal(), b) {
			t.Fatal("what parses is not written the same")
		}
		if _, err := q.Verify(entry, vkey); err == nil && (q.Index != 300 || len(q.Path) != len(p.Path)) {
			t.Fatalf("entry 300 is proven to be number %d", q.Index)
		}
	})
}
