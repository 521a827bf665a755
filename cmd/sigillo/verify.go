package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

type verifyCommand struct {
	Config         string `short:"c" placeholder:"FILE" help:"Configuration file."`
	Dir            string `placeholder:"DIR" help:"Verify the ledger in this directory instead of the configuration's: a copy, a backup."`
	Checkpoint     string `placeholder:"FILE" help:"A signed checkpoint of before, kept outside: the ledger must contain its tree."`
	Key            string `placeholder:"VKEY" help:"The log's verifier key (C2SP vkey), as you know it from elsewhere."`
	SkipContent    bool   `help:"Leave sealed content out: no keys are needed, and commitments are not recomputed."`
	SaveCheckpoint string `placeholder:"FILE" help:"Write the newest signed checkpoint there when the verdict is intact: keep it outside."`
	JSON           bool   `help:"Print JSON."`
}

func (v *verifyCommand) Run(ctx context.Context, c console) error {
	if v.Config == "" && v.Dir == "" {
		return errors.New("give --config FILE or --dir DIR")
	}
	o, parts, err := v.options(ctx)
	if err != nil {
		return err
	}
	defer parts.close()
	dir := v.Dir
	if dir == "" {
		dir = parts.cfg.Data
	}
	compare, err := parts.compareAnchors(ctx, dir)
	if err != nil {
		return undetermined(err)
	}
	log, found, err := openLog(ctx, dir)
	if err != nil && len(found) == 0 {
		return undetermined(err)
	}
	out := exchange.NewVerdict()
	if err == nil {
		bar := newProgress(c.err, int64(log.Head.Size), "verifying")
		o.Progress = func(done, _ uint64) { bar.set(int64(done)) }
		out, err = ledger.Verify(ctx, log, o)
		bar.end()
		if err == nil {
			compare(log, out)
		}
		if err == nil && v.SaveCheckpoint != "" && out.Verdict == exchange.Intact && len(found) == 0 {
			err = saveCheckpoint(ctx, log, v.SaveCheckpoint)
		}
		err = errors.Join(err, log.Close())
	} else {
		err = nil // what opening found says it
	}
	if err != nil {
		return undetermined(err)
	}
	for _, f := range found {
		out.Add(f)
	}
	return sayVerdict(c, "ledger "+dir, out, v.JSON)
}

// options gathers what the verification has at hand.
func (v *verifyCommand) options(ctx context.Context) (o ledger.VerifyOptions, p *parts, err error) {
	p = &parts{}
	o.SkipContent = v.SkipContent
	if v.Checkpoint != "" {
		if o.Checkpoint, err = os.ReadFile(v.Checkpoint); err != nil {
			return o, p, err
		}
	}
	if v.Key != "" {
		if _, o.CheckpointKey, err = ledger.ParseVerifierKey(v.Key); err != nil {
			return o, p, fmt.Errorf("--key: %w", err)
		}
	}
	if v.Config == "" {
		return o, p, nil
	}
	if p, err = loadParts(ctx, v.Config, asUser); err != nil {
		return o, p, err
	}
	if !v.SkipContent {
		o.Keys = p.classKeys()
	}
	jwks, err := p.jwks(ctx)
	if err != nil {
		return o, p, undetermined(err)
	}
	o.CheckReceipt = func(compact string) ([]byte, error) {
		payload, _, err := signing.VerifyReceipt(compact, jwks)
		return payload, err
	}
	o.CheckStamp = p.checkStamp
	return o, p, nil
}

// openLog opens a ledger for reading: in place or in a copy when it is stopped, through its socket when
// an instance runs.
func openLog(ctx context.Context, dir string) (*ledger.Log, []exchange.Finding, error) {
	log, found, err := ledger.OpenLog(ctx, dir, storeLog())
	if errors.Is(err, ledger.ErrRunning) {
		log, _, err = ledger.Dial(ctx, dir)
	}
	return log, found, err
}

func saveCheckpoint(ctx context.Context, log *ledger.Log, path string) error {
	_, note, err := ledger.NewestNote(ctx, log)
	if err != nil {
		return err
	}
	return os.WriteFile(path, note, 0o644)
}
