package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// backupOfTwo is a backup of two parts, and the ledger that it was made of.
func backupOfTwo(t *testing.T, k *seedKeys) (*Ledger, string) {
	t.Helper()
	l, to := openTest(t, t.TempDir(), k), filepath.Join(t.TempDir(), "backup")
	fill(t, l, 4)
	backupTest(t, liveLog(t, l), to)
	fill(t, l, 4)
	backupTest(t, liveLog(t, l), to)
	return l, to
}

func copyBackup(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func alter(t *testing.T, file string, with func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if b = with(b); b == nil {
		return
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// resign makes the manifest agree with the parts, as somebody would who wants an altered part to pass.
func resign(t *testing.T, dir string) {
	t.Helper()
	alter(t, filepath.Join(dir, manifestName), func(b []byte) []byte {
		var m BackupManifest
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		for i := range m.Parts {
			b, err := os.ReadFile(filepath.Join(dir, m.Parts[i].File))
			if err != nil {
				t.Fatal(err)
			}
			r, err := newPartReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			m.Parts[i].PartHeader, m.Parts[i].Bytes, m.Parts[i].SHA256 = r.Header, int64(len(b)), sha256.Sum256(b)
		}
		out, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
}

func flipped(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
}

// TestAlteredBackupIsRefused alters a backup in every way that a directory can be altered: verify names it,
// restore refuses it and leaves nothing behind.
func TestAlteredBackupIsRefused(t *testing.T) {
	k := newSeedKeys(37)
	_, whole := backupOfTwo(t, k)
	other := openTest(t, t.TempDir(), newSeedKeys(38))
	fill(t, other, 2)
	foreign := filepath.Join(t.TempDir(), "backup")
	backupTest(t, liveLog(t, other), foreign)
	put := func(from string) func([]byte) []byte {
		return func([]byte) []byte {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	gone := func([]byte) []byte { return nil }
	for name, c := range map[string]struct {
		file string
		with func([]byte) []byte
	}{
		"flipped byte in the first part": {partName(1), flipped(2000)},
		"flipped byte in its header":     {partName(1), flipped(len(partFormat) + 20)},
		"flipped byte in the last part":  {partName(2), flipped(-900)},
		"flipped byte in its end":        {partName(2), flipped(-5)},
		"part cut off":                   {partName(2), func(b []byte) []byte { return b[:len(b)-100] }},
		"trailing garbage":               {partName(2), func(b []byte) []byte { return append(b, 0) }},
		"missing part":                   {partName(1), gone},
		"a part of another log":          {partName(1), put(filepath.Join(foreign, partName(1)))},
		"one part in the other's place":  {partName(2), put(filepath.Join(whole, partName(1)))},
		"manifest with another digest":   {manifestName, func(b []byte) []byte { return bytes.Replace(b, []byte(`"sha256":"`), []byte(`"sha256":"0`), 1) }},
		"manifest without its last part": {manifestName, func(b []byte) []byte { return append(b[:bytes.LastIndexByte(b[:len(b)-5], '\n')], "\n]}\n"...) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyBackup(t, whole)
			alter(t, filepath.Join(dir, c.file), c.with)
			if v, err := VerifyBackup(t.Context(), dir, nil); err != nil || v.Verdict != exchange.Broken {
				t.Errorf("verify: %v, %v", v, err)
			}
			to := filepath.Join(t.TempDir(), "restored")
			if _, err := Restore(t.Context(), RestoreOptions{From: dir, To: to, Logger: quiet()}); !errors.Is(err, ErrPart) {
				t.Errorf("restore: %v", err)
			}
			if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a refused restore left something: %v", err)
			}
		})
	}
}

// TestAlteredRecordIsFound: where part and manifest agree about an altered entry, the log's own chain and
// checkpoint tell, and nothing opens the restored ledger.
func TestAlteredRecordIsFound(t *testing.T) {
	k := newSeedKeys(39)
	_, whole := backupOfTwo(t, k)
	alter(t, filepath.Join(whole, partName(1)), func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"operation":"paGetPaymentV2"`), []byte(`"operation":"paGetPaymentV3"`), 1)
	})
	resign(t, whole)
	if v, err := VerifyBackup(t.Context(), whole, nil); err != nil || v.Verdict != exchange.Intact {
		t.Fatalf("the manifest does not agree: %v, %v", v, err)
	}
	to := filepath.Join(t.TempDir(), "restored")
	r, err := Restore(t.Context(), RestoreOptions{From: whole, To: to, Logger: quiet()})
	if err != nil || r.Verdict.Verdict != exchange.Broken || r.Usable {
		t.Fatalf("restore: %+v, %v", r, err)
	}
	if _, err := Open(t.Context(), testOptions(to, k)); err == nil || !strings.Contains(err.Error(), "restore") {
		t.Errorf("a broken restored ledger opens: %v", err)
	}
}

// TestRestoreKnowsTheLog: the operator's own knowledge of origin and key, and of what is kept elsewhere.
func TestRestoreKnowsTheLog(t *testing.T) {
	k := newSeedKeys(40)
	_, whole := backupOfTwo(t, k)
	at := func(name string) string { return filepath.Join(t.TempDir(), name) }
	if _, err := Restore(t.Context(), RestoreOptions{From: whole, To: at("a"), Origin: "another.test/log", Logger: quiet()}); !errors.Is(err, ErrOtherHistory) {
		t.Errorf("another origin: %v", err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), RestoreOptions{From: whole, To: full, Logger: quiet()}); !errors.Is(err, ErrTargetNotEmpty) {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if _, err := Restore(t.Context(), RestoreOptions{From: t.TempDir(), To: at("b"), Logger: quiet()}); !errors.Is(err, ErrNoBackup) {
		t.Errorf("no backup: %v", err)
	}
	wrong := RestoreOptions{From: whole, To: at("c"), CheckpointKey: newSeedKeys(99).checkpoint.Public().(ed25519.PublicKey), Logger: quiet()}
	if r, err := Restore(t.Context(), wrong); err != nil || r.Verdict.Verdict != exchange.Broken || r.Usable {
		t.Errorf("another checkpoint key: %+v, %v", r, err)
	}
	behind := RestoreOptions{From: whole, To: at("d"), Logger: quiet(), Compare: func(_ context.Context, l *Log) ([]exchange.Finding, string) {
		return []exchange.Finding{{Check: "rolled-back", Severity: exchange.Broken, Detail: "behind the anchor"}}, "anchored(7)"
	}}
	r, err := Restore(t.Context(), behind)
	if err != nil || r.Verdict.Verdict != exchange.Broken || !r.Usable || r.Verdict.Assurance != "anchored(7)" {
		t.Errorf("behind an anchor: %+v, %v", r, err)
	}
	if StoppedCleanly(behind.To) {
		t.Error("a restored ledger has the sign of a clean stop: its open exchanges would stay open")
	}
}

// TestBackupSaysWhatItCannotRead damages a value and then a table.
func TestBackupSaysWhatItCannotRead(t *testing.T) {
	dir, k, to := t.TempDir(), newSeedKeys(42), filepath.Join(t.TempDir(), "backup")
	l := openTest(t, dir, k)
	fill(t, l, 20)
	closeTest(t, l)
	file := filepath.Join(dir, storeDirName, "000001.vlog")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(`"v":1,"n":9,`))
	if at < 0 {
		t.Fatal("entry 9 is not in the value log")
	}
	overwrite(t, file, int64(at)+6, []byte("!"))
	db, err := badger.Open(storeOptions(filepath.Join(dir, storeDirName), quiet()).WithReadOnly(true)) // as a live one reads
	if err != nil {
		t.Fatal(err)
	}
	log, err := newLog(t.Context(), badgerView{db}, db.Close)
	if err != nil {
		t.Fatal(err)
	}
	p, added, err := Backup(t.Context(), log, to, nil)
	if err != nil || !added || p.Damaged == 0 || !strings.Contains(strings.Join(p.Damage, " "), "where entry 9 comes next there is entry 10") {
		t.Errorf("added %v, damage %v, %v", added, p.Damage, err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := VerifyBackup(t.Context(), to, nil); err != nil || v.Verdict != exchange.Broken {
		t.Errorf("verify of a backup of a damaged ledger: %v, %v", v, err)
	}
	r, err := Restore(t.Context(), RestoreOptions{From: to, To: filepath.Join(t.TempDir(), "r"), Logger: quiet()})
	if err != nil || r.Verdict.Verdict != exchange.Broken || r.Usable {
		t.Errorf("restore without entry 9: %+v, %v", r, err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, storeDirName, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	overwrite(t, tables[0], 300, []byte("damage"))
	db, err = badger.Open(storeOptions(filepath.Join(dir, storeDirName), quiet()).WithReadOnly(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openPart(t.Context(), db, backupBase{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged table: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

func overwrite(t *testing.T, file string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(with, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// FuzzPart: no bytes make the reader of a part panic, run away, or take one part for another: what it reads
// whole is written again byte for byte.
func FuzzPart(f *testing.F) {
	var b bytes.Buffer
	h := PartHeader{Origin: testOrigin, Since: 3, Until: 9, Size: 2, At: 8, Whole: shrinking}
	w, err := newPartWriter(&b, h)
	if err == nil {
		err = errors.Join(w.set([]byte("e2345678"), 5, []byte("{}")), w.deleted([]byte("k"), 6), w.set([]byte("q"), 1, nil), w.end())
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-3])
	f.Add(append(b.Bytes(), 'S'))
	f.Add([]byte(partFormat + "\n{}\nE\xff\xff\xff\xff"))
	f.Add(bytes.Replace(b.Bytes(), []byte("\x00\x00\x00\x02{}"), []byte("\x7f\xff\xff\xff{}"), 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := newPartReader(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := newPartWriter(&again, r.Header)
		if err != nil {
			t.Fatal(err)
		}
		for {
			x, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				if !errors.Is(err, ErrPart) {
					t.Fatalf("an error of no kind: %v", err)
				}
				return
			}
			if x.deleted {
				err = w.deleted(x.key, x.version)
			} else {
				err = w.set(x.key, x.version, x.value)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.counts.Damaged, w.counts.Damage = r.Counts.Damaged, r.Counts.Damage
		if err := w.end(); err != nil || !bytes.Equal(again.Bytes(), in) {
			t.Errorf("%d bytes read whole are written as %d others, %v", len(in), again.Len(), err)
		}
	})
}

// FuzzBackupManifest: what is read is written again byte for byte.
func FuzzBackupManifest(f *testing.F) {
	m := BackupManifest{Format: manifestFormat, Origin: testOrigin, Parts: []PartInfo{
		{Part: 1, File: partName(1), PartHeader: PartHeader{Origin: testOrigin, Until: 9, Size: 2, At: 8, Whole: shrinking}},
		{Part: 2, File: partName(2), PartHeader: PartHeader{Origin: testOrigin, Since: 9, Until: 12, Size: 4, At: 8, Whole: shrinking}}}}
	b, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(bytes.Replace(b, []byte(`"since":9`), []byte(`"since":8`), 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := parseManifest(in)
		if err != nil {
			return
		}
		if again, err := m.encode(); err != nil || !bytes.Equal(again, in) {
			t.Errorf("written as %q, %v", again, err)
		}
	})
}
