package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigillo/internal/bench"
)

// fillWriters is how many writers make a large ledger: enough for full batches.
const fillWriters = 512

type benchFillCommand struct {
	Entries    uint64 `required:"" help:"Entries that the ledger is to hold, genesis among them."`
	Dir        string `required:"" placeholder:"DIR" help:"Directory of the ledger: a new one, or one that this verb made and that is to grow."`
	Principals int    `default:"3" help:"Principals, each with an own chain in each class."`
	Classes    int    `default:"1" help:"Retention classes (at most 9)."`
	Body       int    `default:"64" help:"Size of a body in bytes."`
	JSON       bool   `help:"Print JSON."`
}

func (b *benchFillCommand) Help() string {
	return "The entries are whole exchanges, recorded like any other and really signed, by keys in DIR/keys: a bench, not evidence.\n" +
		"'sigillo verify --dir DIR --skip-content' verifies the result."
}

// benchFilled is what the verb prints.
type benchFilled struct {
	Dir     string  `json:"dir"`
	Entries uint64  `json:"entries"`
	Added   uint64  `json:"added"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"` // entries a second, the signing of the last receipts included
}

func (b *benchFillCommand) Run(ctx context.Context, c console) error {
	if b.Entries < 1 || b.Principals < 1 || b.Principals > 10000 || b.Classes < 1 || b.Classes > 9 || b.Body < 0 || b.Body > maxBenchSize<<10 {
		return fmt.Errorf("--entries from 1, --principals from 1 to 10000, --classes from 1 to 9, --body from 0 to %d", maxBenchSize<<10)
	}
	bar := newProgress(c.err, int64(b.Entries), "filling")
	began := time.Now()
	added, err := fillLedger(ctx, b.Dir, b.Entries, bench.Workload{Size: b.Body, Principals: b.Principals, Classes: b.Classes, Exchanges: true},
		func(size uint64) { bar.set(int64(size)) })
	bar.end()
	if err != nil {
		return undetermined(err)
	}
	out := benchFilled{Dir: b.Dir, Entries: b.Entries, Added: added, Seconds: time.Since(began).Seconds()}
	out.Rate = float64(added) / out.Seconds
	if b.JSON {
		return writeJSON(c.out, out)
	}
	_, err = fmt.Fprintf(c.out, "%s holds %d entries: %d added in %.1f s (%.0f a second), every receipt signed\n", b.Dir, b.Entries, added, out.Seconds, out.Rate)
	return err
}

// fillLedger brings the ledger in dir to so many entries and stops it cleanly.
func fillLedger(ctx context.Context, dir string, entries uint64, of bench.Workload, progress func(size uint64)) (added uint64, err error) {
	if err := checkBenchLedger(ctx, dir); err != nil {
		return 0, err
	}
	p, err := benchParts(dir)
	if err != nil {
		return 0, err
	}
	defer p.close()
	l, err := p.openLedger(ctx)
	if err != nil {
		return 0, err
	}
	size := l.Size()
	if size > entries {
		return 0, errors.Join(fmt.Errorf("%s holds %d entries already", dir, size), l.Close(ctx))
	}
	err = bench.Fill(ctx, l, entries-size, fillWriters, of, func(done uint64) { progress(size + done) })
	if err == nil && l.Size() != entries {
		err = fmt.Errorf("the ledger holds %d entries instead of %d", l.Size(), entries)
	}
	return entries - size, errors.Join(err, l.Close(context.WithoutCancel(ctx)))
}
