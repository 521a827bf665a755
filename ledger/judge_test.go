package ledger

import (
	"crypto/ed25519"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// TestThirdPartyAcceptsCheckpointAndProofs lets golang.org/x/mod/sumdb judge our note and our proofs.
func TestThirdPartyAcceptsCheckpointAndProofs(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(31)
	l := openTest(t, dir, k)
	fill(t, l, 140)
	size, signed, err := NewestNote(t.Context(), l.View())
	if err != nil {
		t.Fatal(err)
	}
	vkey := VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	var origin, root string
	var said int64
	if _, err := fmt.Sscanf(n.Text, "%s\n%d\n%s\n", &origin, &said, &root); err != nil || uint64(said) != size || origin != testOrigin {
		t.Fatalf("note %q, %v", n.Text, err)
	}
	c, err := OpenCheckpoint(signed, testOrigin, k.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		b, err := l.View().Get(t.Context(), entryKey(i))
		if err != nil {
			t.Fatal(err)
		}
		path, err := InclusionProof(t.Context(), l.View(), i, size)
		if err != nil {
			t.Fatal(err)
		}
		var proof tlog.RecordProof
		for _, h := range path {
			proof = append(proof, tlog.Hash(h))
		}
		if err := tlog.CheckRecord(proof, int64(size), tlog.Hash(c.Root), int64(i), tlog.RecordHash(b)); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if tlog.CheckRecord(proof, int64(size), tlog.Hash(c.Root), int64(i), tlog.RecordHash(append(b, 0))) == nil {
			t.Fatalf("entry %d: the judge accepts other bytes", i)
		}
	}
	if _, _, err := ParseVerifierKey(vkey); err != nil {
		t.Error(err)
	}
	if _, err := OpenCheckpoint(signed, testOrigin, newSeedKeys(32).Public().(ed25519.PublicKey)); err == nil {
		t.Error("a checkpoint opens under another key")
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	k := newSeedKeys(33)
	pub := k.Public().(ed25519.PublicKey)
	good, err := signCheckpoint(f.Context(), Checkpoint{Origin: testOrigin, Size: 42, Root: Hash{7}}, k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(append(good, "— witness.example+ab AAAAAAAA\n"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := OpenCheckpoint(b, testOrigin, pub)
		if err == nil && (c.Size != 42 || c.Root != Hash{7}) {
			t.Fatal("a note that was never signed opens")
		}
	})
}
