package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"sigillo/internal/config"
	"sigillo/ledger"
)

type salvageCommand struct {
	Config    string   `short:"c" placeholder:"FILE" help:"Configuration file: its ledger is salvaged."`
	Dir       string   `placeholder:"DIR" help:"Salvage the ledger in this directory instead."`
	Preserved []string `placeholder:"DIR" help:"Further directories with files of its store, oldest first. Default: all in the ledger's preserved/."`
	Out       string   `required:"" placeholder:"DIR" help:"Where to write what is recovered: a new directory, with room for all of it twice."`
	Key       string   `placeholder:"VKEY" help:"The log's verifier key (C2SP vkey), as you know it from elsewhere."`
	JSON      bool     `help:"Print JSON."`
}

// Help is what --help prints below the flags.
func (s *salvageCommand) Help() string {
	return "Nothing in the damaged ledger is changed. DIR gets records.salvage, report.json and, when nothing up to the last " +
		"acknowledgement is missing, a rebuilt ledger. Exit status: 0 everything was recovered, 1 gaps remain, 2 usage, 3 could not be read."
}

func (s *salvageCommand) Run(ctx context.Context, c console) error {
	dir := s.Dir
	if dir == "" {
		if s.Config == "" {
			return errors.New("give --config FILE or --dir DIR")
		}
		cfg, err := config.Load(s.Config)
		if err != nil {
			return err
		}
		dir = cfg.Data
	}
	o := ledger.SalvageOptions{Dir: dir, Preserved: s.Preserved, Out: s.Out, Logger: storeLog()}
	if s.Key != "" {
		var err error
		if _, o.CheckpointKey, err = ledger.ParseVerifierKey(s.Key); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	}
	bar, read := newProgress(c.err, -1, "reading"), int64(0)
	o.Progress = func(bytes int64) { read += bytes; bar.set(read) }
	r, err := ledger.Salvage(ctx, o)
	bar.end()
	switch {
	case errors.Is(err, ledger.ErrNotEmpty):
		return fmt.Errorf("--out: %w: name a new one", err)
	case err != nil:
		return undetermined(err)
	}
	if s.JSON {
		err = writeJSON(c.out, r)
	} else {
		saySalvage(c.out, r, s.Out)
	}
	if err == nil && r.Ledger == "" {
		err = &exitError{exitNegative, errSaid}
	}
	return err
}

// saySalvage prints a report for people; report.json holds all of it.
func saySalvage(w io.Writer, r *ledger.SalvageReport, out string) {
	for _, f := range r.Files {
		for _, d := range f.Damaged {
			fmt.Fprintf(w, "damaged        %s: %s\n", f.File, d)
		}
	}
	for _, m := range r.Ranges {
		fmt.Fprintf(w, "missing        entries %d to %d\n", m.First, m.Last)
	}
	for _, n := range r.Broken {
		fmt.Fprintf(w, "chain          interrupted before entry %d\n", n)
	}
	for _, l := range r.Lost {
		fmt.Fprintf(w, "lost           of entry %d: %s\n", l.Entry, l.What)
	}
	if r.HeadMissing {
		fmt.Fprintln(w, "head           no HEAD file is intact: what was acknowledged is the store's own word")
	}
	fmt.Fprintf(w, "entries        %d of %d acknowledged are intact, %d from the first on in one chain\n", r.Intact, r.Acknowledged, r.Whole)
	fmt.Fprintf(w, "checkpoint     they lead to the root of the signed checkpoint of size %d\n", r.Signed)
	fmt.Fprintf(w, "records        %d in %s\n", r.Records, filepath.Join(out, "records.salvage"))
	if r.Ledger != "" {
		fmt.Fprintf(w, "ledger         rebuilt in %s\n", r.Ledger)
	}
	fmt.Fprintf(w, "what to do     %s\n", r.Todo)
}
