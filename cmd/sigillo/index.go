package main

import (
	"context"
	"errors"
	"fmt"
)

type indexCommand struct {
	Rebuild indexRebuildCommand `cmd:"" help:"Delete the index and make it anew from the entries and the sealed business keys."`
}

type indexRebuildCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file. With custody vault, VAULT_TOKEN is an auditor's or an archivist's."`
	JSON   bool   `help:"Print JSON."`
}

// Help says when to use it.
func (i *indexRebuildCommand) Help() string {
	return `For a stopped ledger. The index is derived: searches use it, verification does not. When this is interrupted the index is
incomplete: run it again.

Exit status: 0 rebuilt, 2 usage, 3 could not be done.`
}

func (i *indexRebuildCommand) Run(ctx context.Context, c console) error {
	k, err := openKeeper(ctx, i.Config)
	if err != nil {
		return err
	}
	defer k.close()
	if k.held == nil {
		return undetermined(errors.New("a running instance holds the ledger: stop it, the index is rebuilt on a stopped ledger"))
	}
	bar := newProgress(c.err, int64(k.eraser.Log.Head.Size), "indexing")
	r, err := k.held.RebuildIndex(ctx, k.eraser.Keys, func(done, _ uint64) { bar.set(int64(done)) })
	bar.end()
	if err != nil {
		return undetermined(err)
	}
	if i.JSON {
		return writeJSON(c.out, r)
	}
	fmt.Fprintf(c.out, "%d entries, %d records of the index\n", r.Entries, r.Terms)
	if r.Closed > 0 {
		fmt.Fprintf(c.out, "the business keys of %d entries cannot be opened (disposed of, or not yours to read): they are not searchable\n", r.Closed)
	}
	return nil
}
