package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// disaster is a ledger of which only an older copy survives.
func disaster(t *testing.T) (Rollback, *seedKeys, string) {
	t.Helper()
	k, path := newSeedKeys(1), anchorFile(t)
	dir := filepath.Join(t.TempDir(), "ledger")
	grow(t, dir, k, 2, FileAnchor(path, 1))
	old := copyDir(t, dir)
	grow(t, dir, k, 2, FileAnchor(path, 1))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(old, dir); err != nil {
		t.Fatal(err)
	}
	return Rollback{Dir: dir, Origin: testOrigin, Anchors: []Anchor{FileAnchor(path, 1)}, Key: k.Public().(ed25519.PublicKey), Logger: quiet()}, k, path
}

// words asks and confirms, and gives the two files. Their owners are set where the test is root.
func words(t *testing.T, b Rollback, reason string, first, second Person) (request, confirmation string) {
	t.Helper()
	now := At(time.Now())
	r, err := b.Ask(t.Context(), reason, first, now)
	if err != nil {
		t.Fatal(err)
	}
	code, err := r.Code()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ConfirmRollback(r, code, second, now)
	if err != nil {
		t.Fatal(err)
	}
	request, confirmation = filepath.Join(t.TempDir(), "request"), filepath.Join(t.TempDir(), "confirmation")
	if err := errors.Join(WriteRollback(request, r), WriteRollback(confirmation, c)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chown(request, first.UID, -1), os.Chown(confirmation, second.UID, -1)); err != nil {
			t.Fatal(err)
		}
	}
	return request, confirmation
}

var (
	me       = Person{UID: os.Getuid(), Host: "h", Accessor: Hash{1}}
	meAgain  = Person{UID: os.Getuid(), Host: "h", Accessor: Hash{2}}
	somebody = Person{UID: 65534, Host: "h"}
)

func inVaultIs(accessor Hash) func(context.Context, Hash) (Hash, error) {
	return func(context.Context, Hash) (Hash, error) { return accessor, nil }
}

// TestAcceptedRollbackGoesOnAsANewLog: the old directory stays as it is, the new log's genesis names what
// survived and what is lost, anchors start anew, and every older directory is refused for ever.
func TestAcceptedRollbackGoesOnAsANewLog(t *testing.T) {
	b, k, path := disaster(t)
	lost, err := b.Anchors[0].Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request, confirmation := words(t, b, "disk array lost", me, meAgain)
	past, err := b.Accept(t.Context(), "disk array lost", request, confirmation, inVaultIs(meAgain.Accessor))
	if err != nil || past != PastDir(b.Dir, 1) {
		t.Fatal(past, err)
	}
	open := func(dir string) (*Ledger, error) {
		epoch, err := Epoch(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := testOptions(dir, k)
		o.Origin, o.LaterOrigin = EpochOrigin(testOrigin, epoch), EpochOrigin(testOrigin, epoch+1)
		o.Anchors, o.LaterAnchors, o.AnchorsRequired = []Anchor{FileAnchor(path, epoch)}, []Anchor{FileAnchor(path, epoch+1)}, true
		if o.Previous, err = PreviousOf(dir, epoch); err != nil {
			t.Fatal(err)
		}
		return Open(t.Context(), o)
	}
	l, err := open(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 2)
	closeTest(t, l)
	g, found, err := OpenLog(t.Context(), b.Dir, quiet())
	if err != nil || len(found) > 0 {
		t.Fatal(err, found)
	}
	p := g.Genesis.Genesis.Previous
	if g.Origin() != testOrigin+"/e2" || p == nil || p.Origin != testOrigin || p.Lost != (LogHead{lost.Size, lost.Root}) || p.Survived.Size >= lost.Size || p.Acceptance == (Hash{}) {
		t.Errorf("genesis of %s goes on for %+v", g.Origin(), p)
	}
	notice, err := readEntry(t.Context(), g, 1)
	if err != nil || notice.Notice == nil || notice.Notice.Code != "rollback-accepted" || notice.Notice.Value != int64(lost.Size-p.Survived.Size) {
		t.Errorf("entry 1: %+v, %v", notice, err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	wantIntact(t, verifyDir(t, b.Dir, k))
	wantIntact(t, verifyDir(t, past, k))
	if m, err := b.Anchors[0].Read(t.Context()); err != nil || m.Size != lost.Size {
		t.Errorf("the old anchor is at %d, %v", m.Size, err)
	}
	checkPrevious(t, b)
	if found, assurance := againstAnchors(t, b.Dir, FileAnchor(path, 2)); len(found) > 0 || assurance == "self" {
		t.Errorf("the new log: %s, %v", assurance, found)
	}
	_, err = open(past)
	var rolled *RolledBackError
	if !errors.As(err, &rolled) || !rolled.Later {
		t.Errorf("the old directory put back: %v", err)
	}
	// The new log's directory without its EPOCH file is the old origin's, beside an anchor of the new one.
	if err := os.Remove(filepath.Join(b.Dir, epochFileName)); err != nil {
		t.Fatal(err)
	}
	if _, err = open(b.Dir); !errors.As(err, &rolled) || !rolled.Later {
		t.Errorf("without the EPOCH file: %v", err)
	}
	if _, err := (Rollback{Dir: past, Origin: testOrigin, Anchors: b.Anchors, Key: b.Key, Logger: quiet()}).Ask(t.Context(), "again", me, At(time.Now())); err != nil {
		t.Errorf("asking about the directory that was set aside: %v", err)
	}
	l2, err := laterFindings(t, past, path)
	if err != nil || len(l2) == 0 || l2[0].Check != "rolled-back" || l2[0].Severity != exchange.Broken {
		t.Errorf("verify of the old directory: %v, %v", l2, err)
	}
}

// laterFindings is what verify says of a past directory beside the anchors of the log that followed.
func laterFindings(t *testing.T, dir, path string) ([]exchange.Finding, error) {
	t.Helper()
	l, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		return nil, err
	}
	return CompareLater(t.Context(), l, EpochOrigin(testOrigin, 2), []Anchor{FileAnchor(path, 2)}), l.Close()
}

// checkPrevious: what genesis says of the log before is held against its anchors and the record.
func checkPrevious(t *testing.T, b Rollback) {
	t.Helper()
	l, _, err := OpenLog(t.Context(), b.Dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	worst := func(dir string) string {
		v := exchange.NewVerdict()
		for _, f := range ComparePrevious(t.Context(), l, dir, b.Anchors) {
			v.Add(f)
		}
		return v.Verdict
	}
	if got := worst(b.Dir); got != exchange.Intact {
		t.Errorf("the log before: %s", got)
	}
	if got := worst(t.TempDir()); got != exchange.Indeterminate {
		t.Errorf("without the record: %s", got)
	}
	tampered := t.TempDir()
	if err := os.WriteFile(filepath.Join(tampered, rollbackFileName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := worst(tampered); got != exchange.Broken {
		t.Errorf("with another record: %s", got)
	}
	l.Genesis.Genesis.Previous.Lost.Size--
	if got := worst(b.Dir); got != exchange.Broken {
		t.Errorf("with less lost than the old anchor vouches for: %s", got)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestRollbackWantsTwoPersonsAndOneState(t *testing.T) {
	b, k, path := disaster(t)
	const reason = "disk array lost"
	now := At(time.Now())
	r, err := b.Ask(t.Context(), reason, me, now)
	if err != nil {
		t.Fatal(err)
	}
	code, err := r.Code()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ConfirmRollback(r, code, Person{UID: me.UID, Host: "h"}, now); !errors.Is(err, ErrSamePerson) {
		t.Errorf("the same uid without a token of its own: %v", err)
	}
	if _, err := ConfirmRollback(r, code, me, now); !errors.Is(err, ErrSamePerson) {
		t.Errorf("the same token: %v", err)
	}
	if _, err := ConfirmRollback(r, "0000-0000-0000-0000-0000", meAgain, now); err == nil {
		t.Error("confirmed with another code")
	}
	request, confirmation := words(t, b, reason, me, meAgain)
	other, _ := words(t, b, reason, me, meAgain)
	for name, try := range map[string]func() (string, error){
		"no Vault": func() (string, error) { return b.Accept(t.Context(), reason, request, confirmation, nil) },
		"not in Vault": func() (string, error) {
			return b.Accept(t.Context(), reason, request, confirmation, inVaultIs(Hash{9}))
		},
		"another reason":    func() (string, error) { return b.Accept(t.Context(), "x", request, confirmation, inVaultIs(Hash{2})) },
		"another request":   func() (string, error) { return b.Accept(t.Context(), reason, other, confirmation, inVaultIs(Hash{2})) },
		"no confirmation":   func() (string, error) { return b.Accept(t.Context(), reason, request, request, inVaultIs(Hash{2})) },
		"a written-in word": func() (string, error) { return b.Accept(t.Context(), reason, request, forgedWord(t, request), nil) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := os.Lstat(PastDir(b.Dir, 1)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a refused acceptance moved the ledger")
	}
	// A confirmation serves for the state that it names only.
	grow(t, b.Dir, k, 1)
	if _, err := b.Accept(t.Context(), reason, request, confirmation, inVaultIs(meAgain.Accessor)); err == nil {
		t.Error("accepted after the ledger had grown")
	}
	healthy := filepath.Join(t.TempDir(), "ledger")
	clean := anchorFile(t)
	grow(t, healthy, k, 1, FileAnchor(clean, 1))
	h := Rollback{Dir: healthy, Origin: testOrigin, Anchors: []Anchor{FileAnchor(clean, 1)}, Key: b.Key, Logger: quiet()}
	if _, err := h.Ask(t.Context(), reason, me, now); !errors.Is(err, ErrNothingLost) {
		t.Errorf("a healthy ledger: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Ask(t.Context(), reason, me, now); err == nil || errors.Is(err, ErrNothingLost) {
		t.Errorf("with an anchor out of reach: %v", err)
	}
}

// forgedWord is a confirmation that names another uid, written by the asker.
func forgedWord(t *testing.T, request string) string {
	t.Helper()
	var r RollbackRequest
	if _, err := ReadRollback(request, &r); err != nil {
		t.Fatal(err)
	}
	h, err := r.Digest()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "confirmation")
	if err := WriteRollback(path, RollbackConfirmation{V: 1, Request: h, By: somebody, Time: At(time.Now())}); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAcceptanceSurvivesACrashBetweenItsSteps leaves what each step leaves, and accepts again.
func TestAcceptanceSurvivesACrashBetweenItsSteps(t *testing.T) {
	for name, crash := range map[string]func(dir string) error{
		"before the first rename": func(dir string) error {
			return errors.Join(os.Rename(dir, nextDir(dir)), os.Rename(PastDir(dir, 1), dir))
		},
		"between the renames": func(dir string) error { return os.Rename(dir, nextDir(dir)) },
	} {
		b, _, _ := disaster(t)
		request, confirmation := words(t, b, "why", me, meAgain)
		accept := func() error {
			_, err := b.Accept(t.Context(), "why", request, confirmation, inVaultIs(meAgain.Accessor))
			return err
		}
		if err := errors.Join(accept(), crash(b.Dir), accept()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := Epoch(b.Dir); err != nil || n != 2 {
			t.Errorf("%s: epoch %d, %v", name, n, err)
		}
		if ok, err := hasStore(filepath.Join(PastDir(b.Dir, 1), storeDirName)); err != nil || !ok {
			t.Errorf("%s: the old ledger is not where it should be: %v", name, err)
		}
	}
}

// FuzzReadRollback: what two files say is hostile.
func FuzzReadRollback(f *testing.F) {
	f.Add([]byte(`{"v":1,"request":"` + (Hash{1}).String() + `","by":{"uid":1,"host":"h","accessor":"` + (Hash{}).String() + `"},"time":"2026-11-24T10:00:00.000000Z"}`))
	f.Add([]byte(`{"v":1,"origin":"o","epoch":1,"survived":{"size":1},"salt":null}`))
	f.Add([]byte("sigillo.test/ec\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— sigillo.test/ec AAAA\n"))
	path := filepath.Join(f.TempDir(), "file")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var r RollbackRequest
		if _, err := ReadRollback(path, &r); err == nil {
			if _, err := r.Code(); err != nil {
				t.Error(err)
			}
		}
		var c RollbackConfirmation
		_, _ = ReadRollback(path, &c) // refusing is enough
		if m, err := FileAnchor(path, 1).Read(t.Context()); err == nil && (m.Version == 0 || m.Origin == "") {
			t.Errorf("a mark %+v", m)
		}
	})
}
