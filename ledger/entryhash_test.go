package ledger

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestEntryHashesAreSHA256 holds both digests against crypto/sha256 at every size up to many blocks.
func TestEntryHashesAreSHA256(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, 1+MaxEntry)
	_, _ = r.Read(b[1:]) // never fails
	sizes := []int{MaxEntry - 1, MaxEntry}
	for n := range 1200 {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		at := bytes.Clone(b[: 1+n : 1+n]) // nothing behind may be read into the digest
		entry, leaf := entryHashes(at)
		if entry != EntryHash(at[1:]) || leaf != leafHash(at[1:]) {
			t.Fatalf("an entry of %d bytes: %s and %s", n, entry, leaf)
		}
	}
}

func TestTileOfPairsIsTheTree(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	var leaves [tileWidth]Hash
	for i := range leaves {
		_, _ = r.Read(leaves[i][:]) // never fails
	}
	got := foldTile(leaves[:])
	if want := foldHashes(leaves[:]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// FuzzEntryHashes: both digests are those of crypto/sha256, whatever the bytes.
func FuzzEntryHashes(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x80}, 55))
	f.Fuzz(func(t *testing.T, b []byte) {
		entry, leaf := entryHashes(append([]byte{0}, b...))
		if entry != EntryHash(b) || leaf != leafHash(b) {
			t.Fatalf("%x", b)
		}
	})
}

func BenchmarkEntryHashes(b *testing.B) {
	buf := make([]byte, 867)
	b.Run("pair", func(b *testing.B) {
		for range b.N {
			entryHashes(buf)
		}
	})
	b.Run("single", func(b *testing.B) {
		for range b.N {
			EntryHash(buf[1:])
			EntryHash(buf)
		}
	})
}
