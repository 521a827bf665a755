package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"sigillo/internal/config"
	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type backupCommand struct {
	Add    backupAddCommand    `cmd:"" default:"withargs" help:"Back the ledger up, running or stopped: add a part with what changed since the last one (everything, into an empty directory)."`
	Verify backupVerifyCommand `cmd:"" help:"Check that every part of a backup is whole."`
}

type backupAddCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	To     string `required:"" placeholder:"DIR" help:"Directory of the backup; it is created when missing."`
	JSON   bool   `help:"Print JSON."`
}

// backupReport is what the verb prints as JSON.
type backupReport struct {
	Added      bool             `json:"added"` // false: nothing has changed since the last part
	Part       *ledger.PartInfo `json:"part,omitempty"`
	NewEntries uint64           `json:"new_entries"`
	Seconds    float64          `json:"seconds"`
}

func (b *backupAddCommand) Run(ctx context.Context, c console) error {
	cfg, err := config.Load(b.Config) // no keys are needed: content stays sealed
	if err != nil {
		return err
	}
	if err := outside(cfg.Data, b.To); err != nil {
		return err
	}
	log, found, err := openLog(ctx, cfg.Data)
	for _, f := range found {
		fmt.Fprintln(c.err, f) // what opening showed must not go unsaid
		if f.Severity == exchange.Broken {
			err = errors.Join(err, negative("the ledger is damaged: a backup of it would stand for less than was recorded; see 'sigillo verify'"))
			break
		}
	}
	if err != nil {
		if log != nil {
			err = errors.Join(err, log.Close())
		}
		return backupError(err)
	}
	before := uint64(0)
	if m, merr := ledger.ReadBackup(b.To); merr == nil {
		before = m.Parts[len(m.Parts)-1].Size
	}
	bar, began := newProgress(c.err, -1, "backing up, MiB"), time.Now()
	p, added, err := ledger.Backup(ctx, log, b.To, func(bytes int64) { bar.set(bytes >> 20) })
	bar.end()
	if err == nil {
		err = ledger.CarryRollback(cfg.Data, b.To)
	}
	if err = errors.Join(err, log.Close()); err != nil {
		return backupError(err)
	}
	return b.say(c, p, added, before, time.Since(began))
}

// say prints the one line, and what the ledger could not give.
func (b *backupAddCommand) say(c console, p ledger.PartInfo, added bool, before uint64, took time.Duration) error {
	r := backupReport{Added: added, Seconds: took.Seconds()}
	if added {
		r.Part, r.NewEntries = &p, p.Size-before
	}
	switch {
	case b.JSON:
		if err := writeJSON(c.out, r); err != nil {
			return err
		}
	case added:
		fmt.Fprintf(c.out, "part %d of %s: %d entries (%d new), %d bytes, %s\n", p.Part, b.To, p.Size, r.NewEntries, p.Bytes, took.Round(time.Millisecond))
	default:
		fmt.Fprintf(c.out, "%s: nothing has changed since its last part\n", b.To)
	}
	if p.Damaged == 0 {
		return nil
	}
	for _, d := range p.Damage {
		fmt.Fprintln(c.err, "damaged:", d)
	}
	return negative("%d records of the ledger could not be backed up as they should be: see 'sigillo verify', and keep the earlier parts", p.Damaged)
}

// backupError gives errors of backup and restore their exit code: what is wrong with a backup or a ledger is
// a verdict, a directory that is not the right one is usage, anything else could not be told.
func backupError(err error) error {
	var coded *exitError
	switch {
	case errors.As(err, &coded):
		return err
	case errors.Is(err, ledger.ErrPart), errors.Is(err, ledger.ErrOtherHistory):
		return &exitError{exitNegative, err}
	case errors.Is(err, ledger.ErrNoBackup), errors.Is(err, ledger.ErrTargetNotEmpty):
		return &exitError{exitUsage, err}
	}
	return undetermined(err)
}

type backupVerifyCommand struct {
	Dir  string `arg:"" help:"Directory of the backup."`
	JSON bool   `help:"Print JSON."`
}

func (b *backupVerifyCommand) Run(ctx context.Context, c console) error {
	bar := newProgress(c.err, 100, "verifying, %")
	v, err := ledger.VerifyBackup(ctx, b.Dir, bar.share)
	bar.end()
	if err != nil {
		return backupError(err)
	}
	return sayVerdict(c, "backup "+b.Dir, v, b.JSON)
}

// share shows done of total on a bar of one hundred.
func (p *progress) share(done, total int64) {
	if total > 0 {
		p.set(done * 100 / total)
	}
}

// outside refuses a place in the ledger's own directory: what lies there is lost with it.
func outside(data, to string) error {
	data, err1 := filepath.Abs(data)
	target, err2 := filepath.Abs(to)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	rel, err := filepath.Rel(data, target)
	if err == nil && (rel == "." || rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))) {
		return fmt.Errorf("--to: %s lies in the ledger's own directory and would be lost with it: name one on another disk", to)
	}
	return nil
}
