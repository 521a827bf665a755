package main

import (
	"context"
	"fmt"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type restoreCommand struct {
	From   string `required:"" placeholder:"DIR" help:"Directory of the backup."`
	To     string `required:"" placeholder:"DIR" help:"An empty directory, or one that is not there yet."`
	Config string `short:"c" placeholder:"FILE" help:"Configuration file: the log's origin and key, and the anchors that the restored ledger is compared with."`
	JSON   bool   `help:"Print JSON."`
}

func (r *restoreCommand) Run(ctx context.Context, c console) error {
	o := ledger.RestoreOptions{From: r.From, To: r.To, Logger: storeLog()}
	if r.Config != "" {
		p, err := loadParts(ctx, r.Config, asUser)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.restoreOptions(ctx, &o); err != nil {
			return err
		}
	}
	loading, checking := newProgress(c.err, 100, "restoring, %"), &progress{}
	o.Loaded = loading.share
	o.Checked = func(done, total int64) {
		if done == 0 {
			loading.end()
			checking = newProgress(c.err, total, "checking")
		}
		checking.set(done)
	}
	restored, err := ledger.Restore(ctx, o)
	loading.end()
	checking.end()
	if err != nil {
		return backupError(err)
	}
	err = sayVerdict(c, "restored ledger "+r.To, restored.Verdict, r.JSON)
	switch {
	case !restored.Usable:
		fmt.Fprintln(c.err, "sigillo: the restored log is broken: its files stay, and nothing will open them")
	case restored.Verdict.Verdict == exchange.Broken:
		fmt.Fprintln(c.err, "sigillo: the restored log is whole, but it is not all that there was: read the findings before you go on with it")
	}
	return err
}

// restoreOptions are what the configuration knows of the log that is restored.
func (p *parts) restoreOptions(ctx context.Context, o *ledger.RestoreOptions) error {
	o.Origin = p.cfg.Origin
	vkey, err := p.vkey(ctx)
	if err != nil {
		return undetermined(err)
	}
	if _, o.CheckpointKey, err = ledger.ParseVerifierKey(vkey); err != nil {
		return undetermined(err)
	}
	// The epoch, and with it the anchors' names, is known when the log is there.
	o.Compare = func(ctx context.Context, l *ledger.Log) ([]exchange.Finding, string) {
		compare, err := p.compareAnchors(ctx, o.To)
		if err != nil {
			return []exchange.Finding{{Check: "anchor", Severity: exchange.Indeterminate, Detail: err.Error()}}, ""
		}
		return compare(ctx, l)
	}
	return nil
}
