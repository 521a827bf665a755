package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigillo/internal/bench"
	"sigillo/internal/config"
	"sigillo/ledger"
	"sigillo/signing"
)

// benchCommand measures; what its verbs write are ledgers of their own, with keys in files.
type benchCommand struct {
	Ledger       benchLedgerCommand `cmd:"" help:"Measure durable appends: the limit of this machine, Sigillo, and Tessera POSIX where it is built."`
	LedgerWorker benchWorkerCommand `cmd:"" hidden:""`
	Fill         benchFillCommand   `cmd:"" help:"Make a large ledger."`
	Growth       benchGrowthCommand `cmd:"" help:"Measure what appending and opening cost when the ledger has grown."`
	Verify       benchVerifyCommand `cmd:"" help:"Measure verify against bare hashing and bare signature checks."`
}

// benchParts are the parts of a ledger in dir with keys in dir/keys, as a configuration would give them. In
// a missing or empty directory the keys are made; what is neither that nor the bench's own is left alone.
func benchParts(dir string) (*parts, error) {
	keys := filepath.Join(dir, "keys")
	cfg := &config.Config{Node: bench.Node, Origin: bench.Origin, Data: dir, Keys: config.Keys{Custody: "file", Dir: keys}}
	p := &parts{cfg: cfg, log: storeLog()}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	there, err := os.ReadDir(dir)
	if err == nil && len(there) == 0 {
		p.custody, err = signing.CreateKeyDir(keys, signing.SealP256)
	} else if err == nil {
		p.custody, err = signing.OpenKeyDir(keys)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is neither empty nor a ledger that the bench made: %w", dir, err)
	}
	return p, nil
}

// checkBenchLedger refuses a ledger that is not the bench's own, without touching it.
func checkBenchLedger(ctx context.Context, dir string) error {
	log, _, err := openLog(ctx, dir)
	if errors.Is(err, ledger.ErrNoLedger) {
		return nil
	}
	if err != nil {
		return err
	}
	if origin := log.Origin(); origin != bench.Origin {
		err = fmt.Errorf("the ledger in %s is of origin %s: the bench leaves it alone", dir, origin)
	}
	return errors.Join(err, log.Close())
}

// benchWorkerCommand is one run of one subject in a process of its own.
type benchWorkerCommand struct {
	Subject    string        `enum:"plain,limit,sigillo" required:""`
	Writers    int           `required:""`
	Size       int           `required:""`
	Warm       time.Duration `required:""`
	Duration   time.Duration `required:""`
	Dir        string        `required:""`
	Principals int           `default:"1"`
	Profile    string        `help:"Write a CPU profile there."`
}

func (w *benchWorkerCommand) Run(ctx context.Context, c console) error {
	load := bench.Load{Writers: w.Writers, Workload: bench.Workload{Size: w.Size, Principals: w.Principals}, Warm: w.Warm, Duration: w.Duration}
	began := time.Now()
	subject, end, err := w.open(ctx)
	if err != nil {
		return undetermined(err)
	}
	opened := time.Since(began)
	s, err := w.drive(ctx, subject, load)
	if l, ok := subject.(*ledger.Ledger); ok {
		s.Unsigned, _ = l.Unsigned()
	}
	began = time.Now()
	if err = errors.Join(err, end()); err != nil {
		return undetermined(err)
	}
	s.Open = float64(opened.Microseconds()) / 1e3
	s.Close = float64(time.Since(began).Milliseconds())
	return writeJSON(c.out, s)
}

func (w *benchWorkerCommand) drive(ctx context.Context, r bench.Recorder, load bench.Load) (s bench.Sample, err error) {
	if w.Profile == "" {
		return bench.Drive(ctx, r, load)
	}
	f, err := os.Create(w.Profile)
	if err != nil {
		return s, err
	}
	stop, err := bench.Profile(f)
	if err != nil {
		return s, err
	}
	s, err = bench.Drive(ctx, r, load)
	stop()
	return s, errors.Join(err, f.Close())
}

// open gives the subject, and what closes it.
func (w *benchWorkerCommand) open(ctx context.Context) (bench.Recorder, func() error, error) {
	switch w.Subject {
	case bench.SubjectPlain:
		p, err := bench.NewPlain(w.Dir)
		return p, func() error { return p.Close(ctx) }, err
	case bench.SubjectLimit:
		l, err := bench.NewLimit(w.Dir)
		return l, func() error { return l.Close(ctx) }, err
	}
	p, err := benchParts(w.Dir)
	if err != nil {
		return nil, nil, err
	}
	l, err := p.openLedger(ctx)
	if err != nil {
		p.close()
		return nil, nil, err
	}
	return l, func() error { defer p.close(); return l.Close(ctx) }, nil
}
