package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// said is a worker that prints what it was told to.
func said(subject, script string) Worker { return Worker{subject, []string{"sh", "-c", script}} }

func plan(t *testing.T, verified uint64, workers ...Worker) *Plan {
	t.Helper()
	return &Plan{Writers: []int{1}, Sizes: []float64{2}, Rounds: 3, Duration: 10 * time.Millisecond, Dir: t.TempDir(), Workers: workers, Stderr: io.Discard,
		Verify: func(context.Context, string) (uint64, error) { return verified, nil }}
}

func TestTableTakesMediansOfRounds(t *testing.T) {
	// Each call of the limit's worker is slower than the one before; Sigillo always runs at half of 300.
	count := filepath.Join(t.TempDir(), "count")
	limit := said(SubjectLimit, `echo x >> `+count+`; n=$(wc -l < `+count+`); echo '{"rate":'$((n*100))',"p50_ms":1,"p99_ms":2,"cpu_s_per_1000":3,"rss_mb":'$n'}'`)
	sigillo := said(SubjectSigillo, `echo '{"rate":150,"p50_ms":4,"p99_ms":8,"cpu_s_per_1000":1,"rss_mb":9,"acknowledged":7}'`)
	p := plan(t, 7, limit, sigillo, Worker{Subject: SubjectTessera})
	steps := 0
	p.Step = func(done, total int) { steps, _ = done, total }
	got, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Results[0]; r.Subject != SubjectLimit || r.Rate != 200 || r.RSS != 3 || r.Writers != 1 || r.Size != 2 {
		t.Errorf("the limit's row is %+v", r)
	}
	if r := got.Results[2]; r.Subject != SubjectTessera || !strings.Contains(r.Skipped, "scripts/bench-peers") || r.Rate != 0 {
		t.Errorf("the row of the absent peer is %+v", r)
	}
	if r := got.Ratios[0]; r.SigilloLimit != 0.75 || r.P99 != 4 || r.SigilloTessera != 0 || r.Sync <= 0 {
		t.Errorf("ratios are %+v", r) // of rounds: 1.5, 0.75, 0.5
	}
	if got.Claimed != 21 || got.Verified != 21 || steps != 9 {
		t.Errorf("%d claimed, %d verified, %d steps", got.Claimed, got.Verified, steps)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("%d directories are left, %v", len(left), err)
	}
}

func TestTableRefusesAClaimThatVerifyDoesNotCount(t *testing.T) {
	_, err := plan(t, 6, said(SubjectSigillo, `echo '{"rate":1,"acknowledged":7}'`)).Run(t.Context())
	if !errors.Is(err, ErrClaim) || !strings.Contains(err.Error(), "7 messages acknowledged, verify counts 6") {
		t.Errorf("got %v", err)
	}
}

func TestWorkerThatFailsSaysWhy(t *testing.T) {
	for script, want := range map[string]string{"echo the disk is gone >&2; exit 3": "the disk is gone", "echo nonsense": "its answer"} {
		_, err := plan(t, 0, said(SubjectLimit, script)).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), SubjectLimit) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

func TestFindPeer(t *testing.T) {
	dir := t.TempDir()
	if _, err := FindPeer(dir); !errors.Is(err, ErrNoPeer) {
		t.Errorf("an empty directory: %v", err)
	}
	path := filepath.Join(dir, PeerBinary)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FindPeer(dir); err == nil || !strings.Contains(err.Error(), "no executable") {
		t.Errorf("a file that cannot run: %v", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if w, err := FindPeer(dir); err != nil || len(w.Command) != 1 || w.Command[0] != path {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestPlainWritesAsManyBytesAsTheLimit(t *testing.T) {
	p, err := NewPlain(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLimit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	load := Load{Writers: 8, Workload: Workload{Size: 512}, Duration: 50 * time.Millisecond}
	var per [2]float64
	for i, r := range []Recorder{p, l} {
		s, err := Drive(t.Context(), r, load)
		if err != nil {
			t.Fatal(err)
		}
		if s.Rate <= 0 || s.P50 <= 0 || s.P99 < s.P50 || s.CPU <= 0 || s.RSS <= 0 || s.Anonymous <= 0 || s.Acknowledged == 0 {
			t.Errorf("sample %+v", s)
		}
		per[i] = float64(s.Acknowledged)
	}
	for _, close := range []func(context.Context) error{p.Close, l.Close} {
		if err := close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	plain, limit := float64(p.commit.written)/per[0], float64(l.commit.written)/per[1]
	if plain < 0.9*limit || plain > 1.1*limit {
		t.Errorf("plain writes %.0f bytes a message, the limit %.0f", plain, limit)
	}
}

func TestBareWorkIsCounted(t *testing.T) {
	if n := BareHashing([][]byte{[]byte("entry")}, 10*time.Millisecond); n <= 0 {
		t.Errorf("%f hashes", n)
	}
	if n := BareHashing(nil, time.Hour); n != 0 {
		t.Errorf("%f hashes of nothing", n)
	}
	if n, err := BareSignatures(10 * time.Millisecond); err != nil || n <= 0 {
		t.Errorf("%f signatures, %v", n, err)
	}
}

func TestEvictAndTouchLeaveFilesAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("stays"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Evict(dir), TouchMemory(dir, 3<<20)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "stays" {
		t.Errorf("%q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

func TestTesseraPeerAnswersLikeAWorker(t *testing.T) {
	w, err := FindPeer("")
	if errors.Is(err, ErrNoPeer) {
		t.Skip("the peer is not built: scripts/bench-peers")
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Run(t.Context(), t.TempDir(), Load{Writers: 4, Workload: Workload{Size: 100}, Duration: 200 * time.Millisecond}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if s.Rate <= 0 || s.P50 <= 0 || s.P99 < s.P50 || s.CPU <= 0 || s.RSS <= 0 || s.Acknowledged == 0 {
		t.Errorf("sample %+v", s)
	}
}
