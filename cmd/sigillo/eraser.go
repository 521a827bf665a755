package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigillo/ledger"
)

// keeper is a ledger from which an archivist erases. Two sets of credentials are at work: the gateway's,
// which write and sign, and the user's own (VAULT_TOKEN), which decrypt and destroy keys.
type keeper struct {
	*parts // with the user's credentials
	eraser ledger.Eraser
	held   *ledger.Ledger // nil: a running instance holds it
	end    func() error
}

// openKeeper reaches the running instance of the configuration's ledger, or opens a cleanly stopped one.
func openKeeper(ctx context.Context, config string) (_ *keeper, err error) {
	p, err := loadParts(ctx, config, asUser)
	if err != nil {
		return nil, err
	}
	k := &keeper{parts: p, end: func() error { return nil }}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	k.eraser.Keys = classKeys{p.custody}
	log, remote, err := ledger.Dial(ctx, p.cfg.Data)
	if err == nil {
		k.eraser.Log, k.eraser.Holder, k.end = log, remote, log.Close
		return k, nil
	}
	if !errors.Is(err, ledger.ErrNotRunning) {
		return nil, undetermined(err)
	}
	return k, k.open(ctx)
}

// open opens the stopped ledger with the gateway's own credentials.
func (k *keeper) open(ctx context.Context) error {
	if !ledger.StoppedCleanly(k.cfg.Data) {
		return undetermined(fmt.Errorf("the ledger in %s was not stopped cleanly: start 'sigillo run' (it recovers), then try again", k.cfg.Data))
	}
	g, err := k.withGatewayCustody(ctx)
	if err != nil {
		return err
	}
	l, err := g.openLedger(ctx)
	if err != nil {
		g.close()
		return openError(err)
	}
	k.held, k.eraser.Holder = l, l
	k.end = func() error { defer g.close(); return g.closeLedger(ctx, l) }
	if k.eraser.Log, err = l.Log(ctx); err != nil {
		return undetermined(errors.Join(err, k.end()))
	}
	return nil
}

func (k *keeper) close() {
	if err := k.end(); err != nil {
		fmt.Fprintln(os.Stderr, "sigillo: closing the ledger:", err)
	}
	k.parts.close()
}

// years is how long a retention class is kept.
func (p *parts) years(class string) (int, error) {
	for _, c := range p.cfg.Classes {
		if c.Name == class {
			return c.Years, nil
		}
	}
	return 0, fmt.Errorf("classes: %s is not among them: its years are not known", class)
}

// duty says until when a class is kept, counted from a day, and refuses while that is not over: only an
// authority's order goes before it.
func (p *parts) duty(class string, from time.Time, ground string) error {
	years, err := p.years(class)
	if err != nil {
		return err
	}
	until := from.UTC().AddDate(years, 0, 0)
	if !time.Now().Before(until) || ground == ledger.GroundAuthority {
		return nil
	}
	return negative("class %s is kept for %d years, here until %s: only an authority's order goes before it (--ground authority --reference TEXT)",
		class, years, until.Format(time.DateOnly))
}

// copies is what a report says of readable copies elsewhere.
type copies struct {
	Packages []heldPackage `json:"packages"`
	// Backups names the class keys that backups of Vault itself may still hold.
	Backups []string `json:"vault_backups_may_hold"`
}

type heldPackage struct {
	ledger.Holding
	Path string `json:"path,omitempty"` // where this configuration keeps it, if it is there
}

func (p *parts) copies(held []ledger.Holding, destroyed []string) copies {
	c := copies{Packages: []heldPackage{}, Backups: []string{}}
	for _, h := range held {
		x := heldPackage{Holding: h}
		if path := filepath.Join(p.cfg.Archive.Dir, h.Package); p.cfg.Archive.Dir != "" {
			if _, err := os.Stat(path); err == nil {
				x.Path = path
			}
		}
		c.Packages = append(c.Packages, x)
	}
	if p.custody.Kind() == "vault" {
		c.Backups = append(c.Backups, destroyed...)
	}
	return c
}

func (c copies) say(w io.Writer) {
	if len(c.Packages) == 0 {
		fmt.Fprintln(w, "no package holds it")
	}
	for _, p := range c.Packages {
		line := fmt.Sprintf("still readable in package %s (entry %d)", p.Package, p.Export)
		if p.Path != "" {
			line += " in " + p.Path
		}
		if len(p.Handed) > 0 {
			line += fmt.Sprintf(", handed off: %s (entries %s)", p.Outcome, strings.Trim(fmt.Sprint(p.Handed), "[]"))
		}
		fmt.Fprintln(w, line)
	}
	if len(c.Backups) > 0 {
		fmt.Fprintf(w, "backups of Vault itself made before now may still hold the keys: let them expire, or destroy them\n  %s\n", strings.Join(c.Backups, "\n  "))
	}
}

// eraseError gives an error of erasing its exit code.
func eraseError(err error) error {
	for _, verdict := range []error{ledger.ErrErased, ledger.ErrDisposed, ledger.ErrNotFound, ledger.ErrOpenExchange} {
		if errors.Is(err, verdict) {
			return &exitError{exitNegative, err}
		}
	}
	return undetermined(err)
}
