package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigillo/internal/bench"
)

const (
	growthSmall   = 10_000 // entries of the ledger that the large one is compared with
	growthWriters = 256
	growthBody    = 64 // bytes
)

type benchGrowthCommand struct {
	Entries  uint64        `default:"1000000" help:"Entries of the large ledger."`
	Rounds   int           `default:"5" help:"Rounds: figures are medians, ratios medians of each round's own."`
	Duration time.Duration `default:"1s" help:"Time of appending to one ledger in one round."`
	Dir      string        `placeholder:"DIR" help:"Existing directory to write in, on the disk to be measured (default: a temporary one)."`
	JSON     bool          `help:"Print JSON."`
}

func (b *benchGrowthCommand) Help() string {
	return "Makes a ledger of so many entries. Each round appends to a fresh one of 10,000 entries and to the large one, 256 writers with\n" +
		"bodies of 64 bytes, each in a process of its own that first opens the ledger, whose files the system was asked to forget."
}

// grownLedger is what was measured at one size.
type grownLedger struct {
	Entries uint64  `json:"entries"`
	Rate    float64 `json:"rate"`
	P99     float64 `json:"p99_ms"`
	CPU     float64 `json:"cpu_s_per_1000"`
	Open    float64 `json:"open_ms"`
}

// benchGrown is what the verb prints.
type benchGrown struct {
	Small     grownLedger    `json:"small"`
	Large     grownLedger    `json:"large"`
	CPURatio  float64        `json:"cpu_ratio"`  // of an append at the large size to one at the small; at most 1.1
	RateRatio float64        `json:"rate_ratio"` // at least 0.9
	Verify    *benchVerified `json:"verify"`
}

func (b *benchGrowthCommand) Run(ctx context.Context, c console) error {
	if b.Entries < growthSmall || b.Rounds < 1 || b.Duration < 20*time.Millisecond {
		return fmt.Errorf("--entries from %d, --rounds from 1, --duration from 20ms", growthSmall)
	}
	dir, err := os.MkdirTemp(b.Dir, "sigillo-growth-")
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	defer os.RemoveAll(dir)
	large := filepath.Join(dir, "large")
	bar := newProgress(c.err, int64(b.Entries), "filling")
	_, err = fillLedger(ctx, large, b.Entries, b.load(), func(size uint64) { bar.set(int64(size)) })
	bar.end()
	if err != nil {
		return undetermined(err)
	}
	out := benchGrown{}
	if out.Verify, err = measureVerify(ctx, c, large, b.Duration); err != nil {
		return err
	}
	if err := b.rounds(ctx, c, dir, large, &out); err != nil {
		return undetermined(err)
	}
	if b.JSON {
		return writeJSON(c.out, out)
	}
	for _, g := range []grownLedger{out.Small, out.Large} {
		fmt.Fprintf(c.out, "at %d entries: %.0f messages/s, p99 %.2f ms, CPU %.4f s/1000, opened in %.0f ms\n", g.Entries, g.Rate, g.P99, g.CPU, g.Open)
	}
	fmt.Fprintf(c.out, "an append costs %.2f × the CPU, at %.2f × the rate\n", out.CPURatio, out.RateRatio)
	return out.Verify.say(c.out)
}

// load is what both ledgers are made of.
func (*benchGrowthCommand) load() bench.Workload {
	return bench.Workload{Size: growthBody, Principals: 3, Exchanges: true}
}

// rounds appends to both in turn.
func (b *benchGrowthCommand) rounds(ctx context.Context, c console, dir, large string, out *benchGrown) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	w := bench.Worker{Subject: bench.SubjectSigillo, Command: []string{self, "bench", "ledger-worker", "--subject", "sigillo", "--principals", "3"}}
	load := bench.Load{Writers: growthWriters, Workload: b.load(), Warm: b.Duration / 4, Duration: b.Duration}
	var at [2][]bench.Sample
	for round := range b.Rounds {
		small := filepath.Join(dir, fmt.Sprintf("small-%d", round))
		if _, err := fillLedger(ctx, small, growthSmall, b.load(), func(uint64) {}); err != nil {
			return err
		}
		for i := range at {
			i := (i + round) % 2
			where := []string{small, large}[i]
			if err := bench.Evict(where); err != nil {
				return err
			}
			s, err := w.Run(ctx, where, load, c.err)
			if err != nil {
				return err
			}
			at[i] = append(at[i], s)
		}
		if err := os.RemoveAll(small); err != nil {
			return err
		}
	}
	out.Small, out.Large = grown(growthSmall, at[0]), grown(b.Entries, at[1])
	out.CPURatio = bench.Compare(at[1], at[0], func(s bench.Sample) float64 { return s.CPU })
	out.RateRatio = bench.Compare(at[1], at[0], func(s bench.Sample) float64 { return s.Rate })
	if out.Small.Rate == 0 || out.Large.Rate == 0 {
		return errors.New("nothing was appended")
	}
	return nil
}

func grown(entries uint64, s []bench.Sample) grownLedger {
	return grownLedger{Entries: entries, Rate: bench.Middle(s, func(s bench.Sample) float64 { return s.Rate }),
		P99: bench.Middle(s, func(s bench.Sample) float64 { return s.P99 }), CPU: bench.Middle(s, func(s bench.Sample) float64 { return s.CPU }),
		Open: bench.Middle(s, func(s bench.Sample) float64 { return s.Open })}
}
