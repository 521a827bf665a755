package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // midnight is Rome's on every machine

	"sigillo/archive"
	"sigillo/ledger"
)

// Bounds of one package (formats.md 9).
const packageExchanges = 10000

type exportCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Chain  string `placeholder:"OWN" help:"One own chain, e.g. ec:77777777777/audit-10y; without it, every principal's."`
	Day    string `placeholder:"YYYY-MM-DD" help:"Only entries of this day (Europe/Rome)."`
	First  *int64 `placeholder:"K" help:"With --chain and --last: this range of the chain again, without an export entry."`
	Last   *int64 `placeholder:"K"`
	Now    bool   `help:"Include the running day; without it, whole days that have passed."`
	JSON   bool   `help:"Print JSON."`
}

func (e *exportCommand) Run(ctx context.Context, c console) error {
	if (e.First == nil) != (e.Last == nil) || e.First != nil && (e.Chain == "" || e.Day != "" || *e.First < 0 || *e.Last < *e.First) {
		return errors.New("--first and --last go together with --chain, without --day, and first is not above last")
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
		p, err := x.again(ctx, e.Chain, uint64(*e.First), uint64(*e.Last))
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

// exported is what the chain itself says about the packages made of it so far.
type exported struct {
	next     uint64 // k after the last exported entry
	sequence int
	previous *archive.PreviousPackage
}

// history reads the export entries of an own chain, newest first.
func (x *exporter) history(ctx context.Context, own string, size uint64) (exported, error) {
	var h exported
	err := x.w.log.Segment(ctx, own, 0, size-1, func(s ledger.Stored) error {
		if e := s.Export; e != nil {
			h.next, h.previous = e.Last+1, &archive.PreviousPackage{ID: e.Package, LastK: e.Last, Seal: e.Seal}
			h.sequence++
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
			r, err := x.stretch(ctx, own, h.next, chains[own], now)
			if err != nil || r == nil {
				if err != nil {
					return made, err
				}
				break
			}
			if day != "" && r.day.Format(time.DateOnly) != day {
				if r.day.Format(time.DateOnly) < day {
					return made, fmt.Errorf("own chain %s: entries of %s are not exported yet; packages follow each other without a gap", own, r.day.Format(time.DateOnly))
				}
				break
			}
			p, err := x.export(ctx, own, *r, h)
			if err != nil {
				return made, fmt.Errorf("own chain %s, %d to %d: %w", own, r.first, r.last, err)
			}
			if err := x.record(ctx, own, p, *r); err != nil {
				return made, err
			}
			made = append(made, p)
			h = exported{next: r.last + 1, sequence: h.sequence + 1, previous: &archive.PreviousPackage{ID: p.ID, LastK: r.last, Seal: p.Seal}}
		}
	}
	return made, nil
}

// stretch is a range of one own chain that makes one package.
type stretch struct {
	first, last uint64 // k
	lastN       uint64
	day         time.Time // midnight in Rome
}

// stretch finds the next range from k on: entries of one day, at most packageExchanges exchanges. nil
// when there is none, or when the day still runs and now is false. A range of nothing but export
// entries makes no package: it goes with the next.
func (x *exporter) stretch(ctx context.Context, own string, k, size uint64, now bool) (*stretch, error) {
	if k >= size {
		return nil, nil
	}
	var r *stretch
	exchanges, content := 0, false
	full := errors.New("full")
	err := x.w.log.Segment(ctx, own, k, size-1, func(s ledger.Stored) error {
		at := s.Time.In(x.rome)
		day := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, x.rome)
		if r != nil && !day.Equal(r.day) {
			if content {
				return full
			}
			r.day = day
		}
		if r == nil {
			r = &stretch{first: s.Own.K, day: day}
		}
		if s.Request == nil && len(s.Messages) > 0 {
			if exchanges++; exchanges > packageExchanges {
				return full
			}
		}
		content = content || len(s.Messages) > 0
		r.last, r.lastN = s.Own.K, s.N
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	if !content || err == nil && !now && r.day.AddDate(0, 0, 1).After(time.Now()) {
		return nil, nil
	}
	return r, nil
}

func (x *exporter) export(ctx context.Context, own string, r stretch, h exported) (*archive.Package, error) {
	if _, err := x.w.ensureStamped(ctx, r.lastN); err != nil {
		return nil, fmt.Errorf("a signed and stamped checkpoint over entry %d: %w", r.lastN, err)
	}
	cut := strings.LastIndexByte(own, '/')
	o := x.base
	o.Principal, o.Class = own[:cut], own[cut+1:]
	o.First, o.Last, o.Day, o.Sequence, o.Previous = r.first, r.last, r.day, h.sequence+1, h.previous
	if err := x.w.producer(&o); err != nil {
		return nil, err
	}
	by, err := localActor()
	if err != nil {
		return nil, err
	}
	if err := x.w.accessed(ctx, by, ledger.Access{Operation: "export", Exchanges: int(r.last - r.first + 1), Messages: 0}); err != nil {
		return nil, fmt.Errorf("recording the access: %w", err)
	}
	return archive.Export(ctx, o, newSource(x.w), x.sealer, x.stamper)
}

// again makes the package of a range without recording it: a second copy.
func (x *exporter) again(ctx context.Context, own string, first, last uint64) (*archive.Package, error) {
	r := stretch{first: first, last: last}
	err := x.w.log.Segment(ctx, own, last, last, func(s ledger.Stored) error {
		r.lastN, r.day = s.N, s.Time.In(x.rome)
		return nil
	})
	if err != nil {
		return nil, err
	}
	h, err := x.history(ctx, own, first+1)
	if err != nil {
		return nil, err
	}
	return x.export(ctx, own, r, h)
}

func (x *exporter) record(ctx context.Context, own string, p *archive.Package, r stretch) error {
	by, err := localActor()
	if err != nil {
		return err
	}
	return x.w.exported(ctx, own, by, ledger.Export{Package: p.ID, First: r.first, Last: r.last, Exchanges: p.Exchanges, Index: p.Index, Seal: p.Seal})
}
