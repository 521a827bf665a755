package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // midnight is Rome's on every machine

	"sigillo/archive"
	"sigillo/ledger"
)

// Bounds of one package (formats.md 9).
const packageExchanges = 10000

type exportCommand struct {
	Config string  `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Chain  string  `placeholder:"OWN" help:"One own chain, e.g. ec:77777777777/audit-10y; without it, every principal's."`
	Day    string  `placeholder:"YYYY-MM-DD" help:"Up to and with this day (Europe/Rome)."`
	First  *uint64 `placeholder:"K" help:"With --chain and --last: this range of the chain. It begins where a package ended."`
	Last   *uint64 `placeholder:"K" help:"Last entry of the range."`
	Out    string  `placeholder:"DIR" help:"With --first and --last: a second copy of a range that is exported already goes there, without an entry."`
	Now    bool    `help:"Include the running day; without it, whole days that have passed."`
	JSON   bool    `help:"Print JSON."`
}

func (e *exportCommand) Run(ctx context.Context, c console) error {
	if (e.First == nil) != (e.Last == nil) || e.First != nil && (e.Chain == "" || e.Day != "" || *e.Last < *e.First) || e.Out != "" && e.First == nil {
		return errors.New("--first and --last go together with --chain, without --day, and first is not above last; --out goes with them")
	}
	w, err := openWriter(ctx, e.Config)
	if err != nil {
		return err
	}
	defer w.close()
	x, err := newExporter(ctx, w)
	if err != nil {
		return err
	}
	var made []*archive.Package
	if e.First != nil {
		p, err := x.exact(ctx, e.Chain, *e.First, *e.Last, e.Out)
		if err != nil {
			return exportError(err)
		}
		made = append(made, p)
	} else if made, err = x.due(ctx, e.Chain, e.Day, e.Now); err != nil {
		return exportError(err)
	}
	if e.JSON {
		return writeJSON(c.out, made)
	}
	if len(made) == 0 {
		_, err = fmt.Fprintln(c.out, "nothing to export (--now includes the running day)")
		return err
	}
	for _, p := range made {
		fmt.Fprintf(c.out, "%s  %d exchanges, %d files\n  %s\n", p.ID, p.Exchanges, p.Files, p.Path)
	}
	return nil
}

// exportError: content that was altered is a verdict; anything else could not be done.
func exportError(err error) error {
	if errors.Is(err, ledger.ErrCommitment) || errors.Is(err, ledger.ErrAbsent) {
		return &exitError{exitNegative, err}
	}
	return undetermined(err)
}

// exporter makes packages out of a ledger.
type exporter struct {
	w       *writer
	rome    *time.Location
	sealer  archive.Sealer
	stamper archive.Stamper
	base    archive.Options
}

func newExporter(ctx context.Context, w *writer) (*exporter, error) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		return nil, err
	}
	seal, err := w.seal(ctx)
	if err != nil {
		return nil, undetermined(fmt.Errorf("preparing the seal: %w", err))
	}
	base, err := w.archiveOptions(ctx, seal)
	if err != nil {
		return nil, err
	}
	return &exporter{w: w, rome: rome, sealer: seal, stamper: stampData{seal.Stamper}, base: base}, nil
}

// history is the export entries of an own chain: what the chain itself says about the packages made of it.
type history []ledger.Export

// next is k after the last exported entry.
func (h history) next() uint64 {
	if len(h) == 0 {
		return 0
	}
	return h[len(h)-1].Last + 1
}

// before is the package that ended just before k, and the sequence number of the one that begins there.
func (h history) before(k uint64) (previous *archive.PreviousPackage, sequence int, err error) {
	if k == 0 {
		return nil, 1, nil
	}
	for i, e := range h {
		if e.Last+1 == k {
			return &archive.PreviousPackage{ID: e.Package, LastK: e.Last, SHA256: e.Seal.String()}, i + 2, nil
		}
	}
	return nil, 0, fmt.Errorf("no package ends at k %d: ranges follow each other without a gap", k-1)
}

func (x *exporter) history(ctx context.Context, own string, size uint64) (history, error) {
	var h history
	err := x.w.log.Segment(ctx, own, 0, size-1, func(s ledger.Stored) error {
		if s.Export != nil {
			h = append(h, *s.Export)
		}
		return nil
	})
	return h, err
}

// due exports what is not exported yet: each day of each chain on its own, cut at the bounds.
func (x *exporter) due(ctx context.Context, chain, day string, now bool) ([]*archive.Package, error) {
	chains, err := x.w.log.Chains(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := chains[chain]; chain != "" && !ok {
		return nil, fmt.Errorf("own chain %s: not in this ledger", chain)
	}
	var made []*archive.Package
	for _, own := range sortedKeys(chains) {
		if own == ledger.LogChain || chain != "" && own != chain {
			continue
		}
		h, err := x.history(ctx, own, chains[own])
		if err != nil {
			return made, err
		}
		for {
			r, err := x.stretch(ctx, own, h.next(), chains[own], now)
			if err != nil || r == nil {
				if err != nil {
					return made, err
				}
				break
			}
			if day != "" && r.day.Format(time.DateOnly) > day {
				break
			}
			p, e, err := x.export(ctx, own, *r, h, x.base.Dir)
			if err != nil {
				return made, err
			}
			if err := x.record(ctx, own, e); err != nil {
				return made, err
			}
			made, h = append(made, p), append(h, e)
		}
	}
	return made, nil
}

// stretch is a range of one own chain that makes one package.
type stretch struct {
	first, last uint64 // k
	lastN       uint64
	day         time.Time // midnight in Rome
	exchanges   int
	messages    int
}

func (r *stretch) take(s ledger.Stored) {
	if s.Request == nil && len(s.Messages) > 0 {
		r.exchanges++
	}
	r.messages += len(s.Messages)
	r.last, r.lastN = s.Own.K, s.N
}

func dayIn(t time.Time, zone *time.Location) time.Time {
	at := t.In(zone)
	return time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, zone)
}

var errFull = errors.New("the package is full")

// stretch finds the next range from k on: entries of one day, at most packageExchanges exchanges. nil
// when there is none, or when the day still runs and now is false. A range of nothing but the archive's
// own entries makes no package: it goes with the next.
func (x *exporter) stretch(ctx context.Context, own string, k, size uint64, now bool) (*stretch, error) {
	if k >= size {
		return nil, nil
	}
	r := stretch{first: k}
	err := x.w.log.Segment(ctx, own, k, size-1, func(s ledger.Stored) error {
		day := dayIn(s.Time.Time, x.rome)
		if r.messages > 0 && (!day.Equal(r.day) || r.exchanges == packageExchanges && s.Request == nil) {
			return errFull
		}
		r.day = day
		r.take(s)
		return nil
	})
	if err != nil && !errors.Is(err, errFull) {
		return nil, err
	}
	if r.messages == 0 || err == nil && !now && r.day.AddDate(0, 0, 1).After(time.Now()) {
		return nil, nil
	}
	return &r, nil
}

// export makes the package of a range in dir, and the entry that says so.
func (x *exporter) export(ctx context.Context, own string, r stretch, h history, dir string) (*archive.Package, ledger.Export, error) {
	fail := func(err error) (*archive.Package, ledger.Export, error) {
		return nil, ledger.Export{}, fmt.Errorf("own chain %s, %d to %d: %w", own, r.first, r.last, err)
	}
	if _, err := x.w.ensureStamped(ctx, r.lastN); err != nil {
		return fail(fmt.Errorf("a signed and stamped checkpoint over entry %d: %w", r.lastN, err))
	}
	o := x.base
	cut := strings.LastIndexByte(own, '/')
	o.Principal, o.Class, o.Dir = own[:cut], own[cut+1:], dir
	o.First, o.Last, o.Day = r.first, r.last, r.day
	var err error
	if o.Previous, o.Sequence, err = h.before(r.first); err != nil {
		return fail(err)
	}
	if err := x.w.producer(&o); err != nil {
		return fail(err)
	}
	by, err := localActor()
	if err != nil {
		return fail(err)
	}
	if err := x.w.accessed(ctx, by, ledger.Access{Operation: "export", Exchanges: r.exchanges, Messages: r.messages}); err != nil {
		return fail(fmt.Errorf("recording the access: %w", err))
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return fail(err)
	}
	p, err := archive.Export(ctx, o, newSource(x.w), x.sealer, x.stamper)
	if err != nil {
		return fail(err)
	}
	index, err := os.ReadFile(filepath.Join(p.Path, "PIndex.xml"))
	if err != nil {
		return fail(err)
	}
	e := ledger.Export{Package: p.ID, First: p.First, Last: p.Last, Exchanges: p.Exchanges, Index: sha256.Sum256(index)}
	if err := e.Seal.UnmarshalText([]byte(p.SHA256)); err != nil {
		return fail(err)
	}
	return p, e, nil
}

// exact exports a range that the user names: the next one, with its entry, or, into another directory,
// a second copy of one that is exported already.
func (x *exporter) exact(ctx context.Context, own string, first, last uint64, out string) (*archive.Package, error) {
	chains, err := x.w.log.Chains(ctx)
	if err != nil {
		return nil, err
	}
	if last >= chains[own] {
		return nil, fmt.Errorf("own chain %s has %d entries", own, chains[own])
	}
	h, err := x.history(ctx, own, chains[own])
	if err != nil {
		return nil, err
	}
	if copied := first != h.next(); copied && out == "" {
		return nil, fmt.Errorf("own chain %s: the next range begins at k %d; a second copy of another goes to --out", own, h.next())
	} else if !copied {
		out = ""
	}
	r := stretch{first: first, last: last}
	err = x.w.log.Segment(ctx, own, first, last, func(s ledger.Stored) error {
		if r.lastN == 0 {
			r.day = dayIn(s.Time.Time, x.rome)
		}
		r.take(s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	dir := out
	if dir == "" {
		dir = x.base.Dir
	}
	p, e, err := x.export(ctx, own, r, h, dir)
	if err != nil || out != "" {
		return p, err
	}
	return p, x.record(ctx, own, e)
}

func (x *exporter) record(ctx context.Context, own string, e ledger.Export) error {
	by, err := localActor()
	if err != nil {
		return err
	}
	return x.w.exported(ctx, own, by, e)
}
