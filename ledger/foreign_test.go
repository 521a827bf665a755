package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/testbed"
)

// The judges of this file are programs of other people, built in a module of their own
// (internal/testbed/judges): nothing of them is linked into the product.

// foreignJudge runs a foreign program; ok is exit status 0 before the time is over.
func foreignJudge(t *testing.T, limit time.Duration, program string, args ...string) (ok bool, said string) {
	t.Helper()
	bin, err := testbed.Built(t.Context(), "internal/testbed/judges", program)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", program, err)
	}
	return err == nil, string(out)
}

func judgedFile(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTesseraFsckJudgesTheLog: tessera's fsck reads the whole log over HTTP, accepts it, and refuses it
// with one bit of an entry, a tile or the checkpoint changed. It marks a bad bundle or tile as invalid and
// then never ends; over a checkpoint that does not open it ends with status 0 all the same. So it has
// accepted only when it says so, with the size.
func TestTesseraFsckJudgesTheLog(t *testing.T) {
	k := newSeedKeys(71)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 700)
	key := judgedFile(t, "vkey", []byte(VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))+"\n"))
	flip := func(w http.ResponseWriter, b []byte) {
		b = bytes.Clone(b)
		b[100] ^= 1
		_, _ = w.Write(b)
	}
	for _, c := range []struct {
		what, path string
		good       bool
	}{{"as it is", "", true}, {"an entry changed", "/log/tile/entries/001", false}, {"a tile changed", "/log/tile/0/000", false}, {"another checkpoint", "/log/checkpoint", false}} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			url := tamperingServer(t, l.View(), map[string]func(http.ResponseWriter, []byte){c.path: flip})
			ok, said := foreignJudge(t, 20*time.Second, "github.com/transparency-dev/tessera/cmd/fsck", "--storage_url="+url+"/", "--public_key="+key, "--ui=false")
			if ok = ok && strings.Contains(said, fmt.Sprintf("Successfully fsck'd log with size %d", l.Size())); ok != c.good {
				t.Errorf("accepted %v: %s", ok, said)
			}
		})
	}
}

// TestTransparencyDevJudgesATlogProof: the parser of transparency-dev/formats and the proofs of
// transparency-dev/merkle accept our tlog-proof files, and refuse altered ones.
func TestTransparencyDevJudgesATlogProof(t *testing.T) {
	k := newSeedKeys(72)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 300)
	vkey := VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))
	for _, n := range []uint64{0, 255, 256, 299} {
		p, err := NewTlogProof(t.Context(), l.View(), n)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := l.View().Get(t.Context(), entryKey(n))
		if err != nil {
			t.Fatal(err)
		}
		file := judgedFile(t, "entry", entry)
		accepted := func(p TlogProof, vkey, file string) bool {
			ok, _ := foreignJudge(t, 20*time.Second, "./tlogproof", vkey, judgedFile(t, "entry.tlog-proof", p.Marshal()), file)
			return ok
		}
		if !accepted(p, vkey, file) {
			t.Errorf("entry %d: the judge refuses our proof", n)
		}
		withExtra, moved, changed := p, p, p
		withExtra.Extra = []byte("beside the proof")
		if !accepted(withExtra, vkey, file) {
			t.Errorf("entry %d: the judge refuses our proof with an extra line", n)
		}
		moved.Index ^= 1
		changed.Path = wrongPaths(p.Path)["the last hash changed"]
		for what, bad := range map[string]TlogProof{"moved": moved, "changed": changed} {
			if accepted(bad, vkey, file) {
				t.Errorf("entry %d: the judge accepts a proof that was %s", n, what)
			}
		}
		if accepted(p, vkey, judgedFile(t, "other", append(bytes.Clone(entry), ' '))) {
			t.Errorf("entry %d: the judge accepts other bytes", n)
		}
		if accepted(p, VerifierKey(testOrigin, newSeedKeys(73).Public().(ed25519.PublicKey)), file) {
			t.Errorf("entry %d: the judge accepts another key", n)
		}
	}
}
