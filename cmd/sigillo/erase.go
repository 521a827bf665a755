package main

import (
	"context"
	"fmt"
	"strings"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type eraseCommand struct {
	Config    string `short:"c" required:"" placeholder:"FILE" help:"Configuration file. With custody vault, VAULT_TOKEN is the archivist's."`
	Exchange  string `required:"" placeholder:"ID" help:"Exchange id."`
	Message   []int  `placeholder:"I" help:"Only this message of it; may be given several times. Its receipt goes in any case."`
	Ground    string `required:"" enum:"authority,subject,retention" placeholder:"authority|subject|retention" help:"Who wants it: an authority, the data subject, or nobody any more because the duty to keep is over."`
	Reference string `required:"" placeholder:"TEXT" help:"By which act or request, in words. It is kept sealed."`
	JSON      bool   `help:"Print JSON."`
}

// Help says what erasing means.
func (e *eraseCommand) Help() string {
	return `Makes the content of an exchange unreadable for good, in the ledger and in every backup of it: the keys of its
class-month are wrapped anew without it, and the old keys are destroyed in Vault. No entry changes, and the ledger
verifies as before. It works on a stopped ledger and on a running one. What an interruption left unfinished, the next
call ends.

Exit status: 0 erased, 1 refused (kept by law, erased already, not found), 2 usage, 3 could not be done or not ended.`
}

func (e *eraseCommand) Run(ctx context.Context, c console) error {
	k, err := openKeeper(ctx, e.Config)
	if err != nil {
		return err
	}
	defer k.close()
	id := exchange.ID(e.Exchange)
	entries, err := k.eraser.Log.Exchange(ctx, id)
	if err != nil {
		return readError(err)
	}
	own := entries[0].Own.P
	if err := k.duty(own[strings.LastIndexByte(own, '/')+1:], entries[0].Time.Time, e.Ground); err != nil {
		return err
	}
	by, err := localActor()
	if err != nil {
		return err
	}
	bar := newProgress(c.err, -1, "wrapping keys anew")
	k.eraser.Progress = func(done, _ uint64) { bar.set(int64(done)) }
	reports, err := k.eraser.Erase(ctx, ledger.ErasureRequest{By: by, Exchange: id, Messages: e.Message, Ground: e.Ground, Reference: e.Reference})
	bar.end()
	out := make([]eraseReport, 0, len(reports))
	for _, r := range reports {
		held, herr := k.eraser.Log.HoldingsOf(ctx, r.Exchange)
		if herr != nil {
			return undetermined(fmt.Errorf("looking for packages that hold exchange %s: %w", r.Exchange, herr))
		}
		out = append(out, eraseReport{r, k.copies(held, r.Destroyed)})
	}
	if e.JSON {
		if werr := writeJSON(c.out, out); werr != nil {
			return werr
		}
	} else {
		for _, r := range out {
			r.say(c)
		}
	}
	if err != nil {
		return eraseError(err)
	}
	return nil
}

// eraseReport is what was erased, and where it can still be read.
type eraseReport struct {
	ledger.ErasureReport
	copies
}

func (r eraseReport) say(c console) {
	fmt.Fprintf(c.out, "exchange %s: messages %s and its receipt are erased by entry %d\n", r.Exchange, strings.Trim(fmt.Sprint(r.Messages), "[]"), r.Entry)
	fmt.Fprintf(c.out, "class-month %s/%s is at generation %d: %d records wrapped anew, %d keys destroyed\n", r.Class, r.Month, r.Generation, r.Rewrapped, len(r.Destroyed))
	r.copies.say(c.out)
}
