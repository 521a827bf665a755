package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

type verifyCommand struct {
	Config         string `short:"c" placeholder:"FILE" help:"Configuration file."`
	Dir            string `placeholder:"DIR" help:"Verify the ledger in this directory instead of the configuration's: a copy, a backup."`
	URL            string `name:"url" placeholder:"URL" help:"Verify a remote log through its tile API (https://HOST/log); needs --key. Content is out of its scope."`
	CA             string `name:"ca" placeholder:"FILE" help:"With --url: certificate authorities to trust instead of the system's (PEM)."`
	Checkpoint     string `placeholder:"FILE" help:"A signed checkpoint of before, kept outside: the ledger must contain its tree."`
	Since          string `placeholder:"FILE" help:"A signed checkpoint of before whose tree is trusted: only what came after it is verified."`
	Key            string `placeholder:"VKEY" help:"The log's verifier key (C2SP vkey), as you know it from elsewhere."`
	SkipContent    bool   `help:"Leave sealed content out: no keys are needed, and commitments are not recomputed."`
	Resume         string `placeholder:"FILE" help:"Keep the progress in FILE, and go on from it when it is there; removed at the end."`
	Record         bool   `help:"Leave the result as an entry in the configuration's ledger, running or cleanly stopped."`
	SaveCheckpoint string `placeholder:"FILE" help:"Write the newest signed checkpoint there when the verdict is intact: keep it outside."`
	JSON           bool   `help:"Print JSON."`
}

func (v *verifyCommand) Run(ctx context.Context, c console) error {
	if err := v.usage(); err != nil {
		return err
	}
	o, parts, err := v.options(ctx)
	if err != nil {
		return err
	}
	defer parts.close()
	began := time.Now()
	dir := v.dir(parts)
	if dir != "" {
		// Asked before the log is opened: anchors move on while it is read.
		if o.Anchored, err = parts.compareAnchors(ctx, dir); err != nil {
			return undetermined(err)
		}
	}
	log, found, where, err := v.open(ctx, parts)
	if err != nil && len(found) == 0 {
		return err
	}
	out, result := exchange.NewVerdict(), ledger.Verification{}
	if err == nil { // else what opening found says it
		bar := newProgress(c.err, int64(log.Head.Size), "verifying")
		o.Progress = func(done, _ uint64) { bar.set(int64(done)) }
		out, err = ledger.Verify(ctx, log, o)
		bar.end()
		if err == nil {
			for _, f := range found {
				out.Add(f)
			}
			out.Counts["findings"] += int64(len(found))
			result = ledger.VerificationOf(log, o, out)
		}
		if err == nil && v.SaveCheckpoint != "" && out.Verdict == exchange.Intact {
			err = saveCheckpoint(ctx, log, v.SaveCheckpoint)
		}
		if err = errors.Join(err, log.Close()); err != nil {
			return v.interrupted(err)
		}
	} else {
		for _, f := range found {
			out.Add(f)
		}
	}
	v.dropPreserved(c, dir, out, began)
	said := sayVerdict(c, where, out, v.JSON)
	if !v.JSON {
		sayAssurance(c.out, out)
	}
	if !v.Record || result.Size == 0 {
		return said
	}
	err = parts.recordVerification(ctx, result)
	if err != nil && said != nil {
		fmt.Fprintln(c.err, "sigillo:", err) // the verdict's exit code stands
		return said
	}
	return err
}

// usage refuses what does not go together.
func (v *verifyCommand) usage() error {
	switch {
	case v.Config == "" && v.Dir == "" && v.URL == "":
		return errors.New("give --config FILE, --dir DIR or --url URL")
	case v.URL != "" && v.Dir != "":
		return errors.New("--url and --dir name two logs")
	case v.URL != "" && v.Key == "":
		return errors.New("--url needs --key VKEY: the log's verifier key, as you know it from elsewhere")
	case v.URL == "" && v.CA != "":
		return errors.New("--ca goes with --url")
	case v.Since != "" && (v.Resume != "" || v.Checkpoint != ""):
		return errors.New("--since goes neither with --resume nor with --checkpoint")
	case v.Record && (v.Config == "" || v.Dir != "" || v.URL != ""):
		return errors.New("--record needs --config, and neither --dir nor --url: the result becomes an entry of that ledger")
	}
	return nil
}

// open opens the log that is to be verified, and says where it is.
func (v *verifyCommand) open(ctx context.Context, p *parts) (log *ledger.Log, found []exchange.Finding, where string, err error) {
	if v.URL != "" {
		log, err = openURL(ctx, v.URL, v.Key, v.CA)
		return log, nil, "log " + v.URL, err // with its exit code
	}
	log, found, err = openLog(ctx, v.dir(p))
	return log, found, "ledger " + v.dir(p), undetermined(err)
}

// dir is the local directory that is verified; "" where the log is read by URL.
func (v *verifyCommand) dir(p *parts) string {
	switch {
	case v.URL != "":
		return ""
	case v.Dir != "":
		return v.Dir
	}
	return p.cfg.Data
}

// dropPreserved removes the copies of unclean stops that a full verification has made needless.
func (v *verifyCommand) dropPreserved(c console, dir string, out *exchange.Verdict, began time.Time) {
	if dir == "" || v.SkipContent || v.Since != "" || out.Verdict != exchange.Intact {
		return
	}
	n, err := ledger.DropPreserved(dir, began)
	switch {
	case err != nil:
		fmt.Fprintln(c.err, "sigillo: copies in preserved/ could not be removed:", err)
	case n > 0:
		fmt.Fprintf(c.err, "sigillo: %d copies of unclean stops in preserved/ were removed: the ledger is whole\n", n)
	}
}

// interrupted says how an interrupted verification is gone on with.
func (v *verifyCommand) interrupted(err error) error {
	var stop *ledger.InterruptedError
	switch {
	case !errors.As(err, &stop):
	case stop.Kept:
		err = fmt.Errorf("%w\nthe progress is kept: the same command with --resume %s goes on from there", err, v.Resume)
	case v.Since == "":
		err = fmt.Errorf("%w\nnothing was kept (--resume FILE keeps the progress)", err)
	}
	return undetermined(err)
}

// options gathers what the verification has at hand.
func (v *verifyCommand) options(ctx context.Context) (o ledger.VerifyOptions, p *parts, err error) {
	p = &parts{}
	o.SkipContent, o.Resume = v.SkipContent, v.Resume
	for path, to := range map[string]*[]byte{v.Checkpoint: &o.Checkpoint, v.Since: &o.Since} {
		if path == "" {
			continue
		}
		if *to, err = os.ReadFile(path); err != nil {
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
	receipts, err := signing.NewReceiptVerifier(jwks)
	if err != nil {
		return o, p, undetermined(err)
	}
	o.CheckReceipt = func(compact string) ([]byte, error) {
		payload, _, err := receipts.Verify(compact)
		return payload, err
	}
	o.CheckStamp, o.Cosigned = p.checkStamp, witnessPolicy(p.cfg).Cosigned()
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
