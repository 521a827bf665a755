package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// place is where a stored value lies: a file of the store and an offset.
type place struct {
	file string
	at   int64
}

// locate finds value in the store's files; it must stand there exactly once.
func locate(t *testing.T, dir string, value []byte) place {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, storeDirName, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var found []place
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; ; {
			i := bytes.Index(b[at:], value)
			if i < 0 {
				break
			}
			found = append(found, place{filepath.Base(f), int64(at + i)})
			at += i + 1
		}
	}
	if len(found) != 1 {
		t.Fatalf("a value of %d bytes stands in %d places: %v", len(value), len(found), found)
	}
	return found[0]
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x01
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func names(v *exchange.Verdict, n uint64) bool {
	for _, f := range v.Findings {
		if f.Severity == exchange.Broken && f.Entry != nil && *f.Entry == n {
			return true
		}
	}
	return false
}

// TestEveryAlteredByteIsFoundAndNamed changes single bytes of entries, of sealed content and of wrapped
// keys in the files of a stopped ledger: verify must say broken and name the entry.
func TestEveryAlteredByteIsFoundAndNamed(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(11)
	l := openTest(t, dir, k)
	fill(t, l, 6)
	type target struct {
		what  string
		entry uint64
		bytes []byte
	}
	var targets []target
	view := l.View()
	for n := range l.Size() {
		b, err := view.Get(t.Context(), entryKey(n))
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target{fmt.Sprintf("entry %d", n), n, b})
		e, err := DecodeEntry(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range e.Messages {
			x := uuid.MustParse(string(e.Exchange))
			for what, key := range map[string][]byte{"content": chunkKey(x, headStream(m.I), packedChunk), "key": messageKeyKey(x, m.I)} {
				b, err := view.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				targets = append(targets, target{fmt.Sprintf("%s of message %d of entry %d", what, m.I, n), n, b})
			}
		}
	}
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
	for _, g := range targets {
		p := locate(t, dir, g.bytes)
		for _, off := range []int{0, len(g.bytes) / 2, len(g.bytes) - 1} {
			c := copyDir(t, dir)
			flip(t, filepath.Join(c, storeDirName, p.file), p.at+int64(off))
			v := verifyDir(t, c, k)
			if v.Verdict != exchange.Broken || !names(v, g.entry) {
				t.Errorf("byte %d of the %s (%s): verdict %s, findings %v", off, g.what, p.file, v.Verdict, v.Findings)
			}
		}
	}
}

func TestCutTailIsFoundWithAnEarlierCheckpoint(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(12)
	l := openTest(t, dir, k)
	fill(t, l, 5)
	closeTest(t, l)
	older := copyDir(t, dir)
	l = openTest(t, dir, k)
	fill(t, l, 5)
	_, note, err := NewestNote(t.Context(), l.View())
	if err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	given := func(o *VerifyOptions) { o.Checkpoint = note }
	wantIntact(t, verifyDir(t, dir, k, given))
	wantIntact(t, verifyDir(t, older, k)) // a ledger cannot vouch for its own tail
	v := verifyDir(t, older, k, given)
	if v.Verdict != exchange.Broken || !names(v, 11) {
		t.Errorf("verdict %s, findings %v", v.Verdict, v.Findings)
	}
	// The newest head with the older store is what a cut of the newest entries leaves.
	if err := copyFile(filepath.Join(older, headFileName), filepath.Join(dir, headFileName)); err != nil {
		t.Fatal(err)
	}
	if v := verifyDir(t, older, k); v.Verdict != exchange.Broken || !names(v, 11) {
		t.Errorf("verdict %s, findings %v", v.Verdict, v.Findings)
	}
	var behind *BehindError
	if _, err := Open(t.Context(), testOptions(older, k)); !errors.As(err, &behind) || behind.Acked != 21 || behind.Found != 11 {
		t.Errorf("error %v", err)
	}
}

func TestForeignCheckpointOfTheSameSizeIsAFork(t *testing.T) {
	k := newSeedKeys(13)
	var notes [2][]byte
	var dirs [2]string
	for i := range 2 {
		dirs[i] = t.TempDir()
		l := openTest(t, dirs[i], k)
		fill(t, l, 3)
		var err error
		if _, notes[i], err = NewestNote(t.Context(), l.View()); err != nil {
			t.Fatal(err)
		}
		closeTest(t, l)
	}
	v := verifyDir(t, dirs[0], k, func(o *VerifyOptions) { o.Checkpoint = notes[1] })
	if v.Verdict != exchange.Broken || v.Findings[len(v.Findings)-1].Check == "" {
		t.Errorf("verdict %s", v.Verdict)
	}
	found := false
	for _, f := range v.Findings {
		found = found || f.Check == "forked"
	}
	if !found {
		t.Errorf("no finding says forked: %v", v.Findings)
	}
}
