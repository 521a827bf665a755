package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"sigillo/internal/bench"
	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

// Bounds of what the bench is asked for: beyond them it measures nothing that anybody runs.
const (
	maxBenchWriters = 16384
	maxBenchSize    = 1024  // KiB: larger bodies go in chunks ahead of their entry
	touchedMemory   = 700e6 // bytes for each second of a run: what a subject may write in it
)

type benchLedgerCommand struct {
	Writers  []int         `default:"1,64,256,1024" help:"Writers that record at the same time."`
	Sizes    []float64     `default:"0.5,2,8,64" help:"Sizes of a body in KiB."`
	Duration time.Duration `default:"3s" help:"Time of one subject in one round."`
	Rounds   int           `default:"3" help:"Rounds: figures are medians, ratios medians of each round's own."`
	Dir      string        `placeholder:"DIR" help:"Existing directory to write in, on the disk to be measured (default: a temporary one)."`
	Peers    string        `placeholder:"DIR" help:"Directory of the peers' workers (default: where scripts/bench-peers puts them)."`
	Quick    bool          `help:"1 and 256 writers, 2 KiB, in under 40 seconds."`
	JSON     bool          `help:"Print JSON."`
}

func (b *benchLedgerCommand) Help() string {
	return "A message is one record: the request of a fresh exchange, with a head of half a KiB and a body of the given size,\n" +
		"sealed, chained, indexed and durable. Sigillo also signs checkpoints while it is measured.\n\n" +
		"Exit status: 0 measured; 1 verify does not count what the table claims; 2 usage; 3 could not measure."
}

func (b *benchLedgerCommand) Run(ctx context.Context, c console) error {
	t, err := b.measure(ctx, c)
	if err != nil {
		return err
	}
	if b.JSON {
		return writeJSON(c.out, t)
	}
	return sayTable(c.out, t)
}

// measure runs the whole plan in a directory that it removes.
func (b *benchLedgerCommand) measure(ctx context.Context, c console) (*bench.Table, error) {
	plan, err := b.plan()
	if err != nil {
		return nil, err
	}
	if plan.Dir, err = os.MkdirTemp(b.Dir, "sigillo-bench-"); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(plan.Dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(plan.Dir, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC {
		fmt.Fprintf(c.err, "sigillo: %s lies in memory: a sync costs nothing there (--dir on a disk measures something)\n", plan.Dir)
	}
	if plan.Workers, err = b.workers(c); err != nil {
		return nil, err
	}
	if err := bench.TouchMemory(plan.Dir, int64(min(plan.Duration.Seconds(), 3)*touchedMemory)); err != nil {
		return nil, undetermined(err)
	}
	bar := newProgress(c.err, int64(len(plan.Writers)*len(plan.Sizes)*plan.Rounds*len(plan.Workers)), "measuring")
	plan.Stderr, plan.Verify, plan.Step = c.err, countMessages, func(done, _ int) { bar.set(int64(done)) }
	t, err := plan.Run(ctx)
	bar.end()
	if errors.Is(err, bench.ErrClaim) {
		return nil, &exitError{exitNegative, err}
	}
	return t, undetermined(err)
}

// workers are the subjects' commands; an absent peer has none, which is said.
func (b *benchLedgerCommand) workers(c console) ([]bench.Worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, undetermined(err)
	}
	var all []bench.Worker
	for _, s := range []string{bench.SubjectPlain, bench.SubjectLimit, bench.SubjectSigillo} {
		all = append(all, bench.Worker{Subject: s, Command: []string{self, "bench", "ledger-worker", "--subject", s}})
	}
	peer, err := bench.FindPeer(b.Peers)
	if errors.Is(err, bench.ErrNoPeer) {
		fmt.Fprintf(c.err, "sigillo: %s is skipped: %v\n", peer.Subject, err)
	} else if err != nil {
		return nil, fmt.Errorf("--peers: %w", err)
	}
	return append(all, peer), nil
}

// plan checks what was asked for.
func (b *benchLedgerCommand) plan() (*bench.Plan, error) {
	p := &bench.Plan{Writers: b.Writers, Sizes: b.Sizes, Rounds: b.Rounds, Duration: b.Duration}
	if b.Quick {
		p.Writers, p.Sizes = []int{1, 256}, []float64{2}
		p.Rounds, p.Duration = min(b.Rounds, 2), min(b.Duration, time.Second)
	}
	for _, w := range p.Writers {
		if w < 1 || w > maxBenchWriters {
			return nil, fmt.Errorf("--writers: %d is not between 1 and %d", w, maxBenchWriters)
		}
	}
	for _, s := range p.Sizes {
		if s < 0 || s > maxBenchSize {
			return nil, fmt.Errorf("--sizes: %v KiB is not between 0 and %d", s, maxBenchSize)
		}
	}
	if p.Rounds < 1 || p.Duration < 20*time.Millisecond || len(p.Writers) == 0 || len(p.Sizes) == 0 {
		return nil, errors.New("give at least one round, one number of writers, one size and a duration of 20ms")
	}
	p.Warm = min(p.Duration/4, 500*time.Millisecond)
	return p, nil
}

// countMessages verifies the ledger that a worker left and gives the number of its messages.
func countMessages(ctx context.Context, dir string) (uint64, error) {
	p, err := benchParts(dir)
	if err != nil {
		return 0, err
	}
	defer p.close()
	log, found, err := openLog(ctx, p.cfg.Data)
	if err != nil {
		return 0, err
	}
	jwks, err := p.jwks(ctx)
	if err != nil {
		return 0, errors.Join(err, log.Close())
	}
	receipts, err := signing.NewReceiptVerifier(jwks)
	if err != nil {
		return 0, errors.Join(err, log.Close())
	}
	v, err := ledger.Verify(ctx, log, ledger.VerifyOptions{Keys: p.classKeys(), CheckReceipt: func(compact string) ([]byte, error) {
		payload, _, err := receipts.Verify(compact)
		return payload, err
	}})
	if err = errors.Join(err, log.Close()); err != nil {
		return 0, err
	}
	for _, f := range found {
		v.Add(f)
	}
	if v.Verdict != exchange.Intact {
		return 0, fmt.Errorf("%w: verdict %s: %v", bench.ErrClaim, v.Verdict, v.Findings)
	}
	return uint64(v.Counts["entries"]) - 1, nil // genesis is no message
}

// sayTable prints the table as a reader wants it.
func sayTable(w io.Writer, t *bench.Table) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "writers\tKiB\tsubject\tmessages/s\tp50 ms\tp99 ms\tCPU s/1000\tRSS MB\t")
	for i, r := range t.Ratios {
		rows := []bench.Row{t.Plain[i]}
		for _, row := range t.Results {
			if row.Writers == r.Writers && row.Size == r.Size {
				rows = append(rows, row)
			}
		}
		for _, row := range rows {
			if row.Skipped != "" {
				fmt.Fprintf(out, "%d\t%v\t%s\t%s\t\t\t\t\t\n", row.Writers, row.Size, row.Subject, row.Skipped)
				continue
			}
			fmt.Fprintf(out, "%d\t%v\t%s\t%.0f\t%.2f\t%.2f\t%.4f\t%.0f\t\n", row.Writers, row.Size, row.Subject, row.Rate, row.P50, row.P99, row.CPU, row.RSS)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, r := range t.Ratios {
		line := fmt.Sprintf("%d writers × %v KiB: Sigillo %s × the limit, p99 %s × the limit's; the limit %s × plain", r.Writers, r.Size,
			figure(r.SigilloLimit), figure(r.P99), figure(r.LimitPlain))
		if r.SigilloTessera > 0 {
			line += "; Sigillo " + figure(r.SigilloTessera) + " × Tessera"
		}
		if r.Sync > 0 {
			line += "; p50 " + figure(r.Sync) + " × one fdatasync"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "one fdatasync of 4 KiB: %.2f ms; verify counts %d of %d acknowledged messages; medians of %d rounds\n",
		t.Fdatasync, t.Verified, t.Claimed, t.Rounds)
	return err
}

func figure(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }
