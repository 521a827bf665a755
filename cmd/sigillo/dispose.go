package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sigillo/ledger"
)

type archiveDisposeCommand struct {
	Config    string `short:"c" required:"" placeholder:"FILE" help:"Configuration file. With custody vault, VAULT_TOKEN is the archivist's."`
	Class     string `required:"" help:"Retention class."`
	Month     string `required:"" placeholder:"YYYY-MM" help:"Month of capture (UTC)."`
	Confirm   string `required:"" placeholder:"CLASS/YYYY-MM" help:"Class and month once more: what is disposed of never comes back."`
	Ground    string `enum:"retention,authority" default:"retention" placeholder:"retention|authority" help:"The duty to keep is over, or an authority ordered it."`
	Reference string `required:"" placeholder:"TEXT" help:"By which act (the approved disposal list), in words. It is kept sealed."`
	JSON      bool   `help:"Print JSON."`
}

// Help says what disposing means.
func (d *archiveDisposeCommand) Help() string {
	return `Makes the content of a whole class-month unreadable for good, in the ledger and in every backup of it, and gives its
room back. Its entries stay: what was exchanged, when and between whom remains provable. What an interruption left
unfinished, the next call ends.

Exit status: 0 disposed of, 1 refused (kept by law, not found), 2 usage, 3 could not be done or not ended.`
}

func (d *archiveDisposeCommand) Run(ctx context.Context, c console) error {
	month, err := time.Parse("2006-01", d.Month)
	if err != nil {
		return fmt.Errorf("--month %q: YYYY-MM", d.Month)
	}
	if d.Confirm != d.Class+"/"+d.Month {
		return fmt.Errorf("--confirm %q: to confirm, give %s/%s", d.Confirm, d.Class, d.Month)
	}
	k, err := openKeeper(ctx, d.Config)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.duty(d.Class, month.AddDate(0, 1, 0), d.Ground); err != nil {
		return err
	}
	by, err := localActor()
	if err != nil {
		return err
	}
	held, err := k.eraser.Log.HoldingsOfMonth(ctx, d.Class, d.Month)
	if err != nil {
		return undetermined(fmt.Errorf("looking for packages of the class-month: %w", err))
	}
	r, err := k.eraser.Dispose(ctx, ledger.DisposalRequest{By: by, Class: d.Class, Month: d.Month, Ground: d.Ground, Reference: d.Reference})
	if err != nil {
		return eraseError(err)
	}
	out := struct {
		ledger.DisposalReport
		copies
	}{r, k.copies(held, r.Destroyed)}
	if d.JSON {
		return writeJSON(c.out, out)
	}
	fmt.Fprintf(c.out, "class-month %s: %d exchanges are disposed of by entries %s, %d keys destroyed\n",
		d.Confirm, r.Exchanges, strings.Trim(fmt.Sprint(r.Entries), "[]"), len(r.Destroyed))
	out.copies.say(c.out)
	return nil
}
