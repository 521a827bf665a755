package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigillo/ledger"
	"sigillo/signing"
)

type ledgerCommand struct {
	Salvage         salvageCommand         `cmd:"" help:"Recover every intact record from the files of a damaged ledger."`
	AcceptRollback  acceptRollbackCommand  `cmd:"" help:"After a disaster, first person: ask that a ledger which lost entries for good may go on, as a new log."`
	ConfirmRollback confirmRollbackCommand `cmd:"" help:"After a disaster, second person: confirm what the first asked for."`
}

// Where request and confirmation lie when nothing else is said: beside the ledger's directory.
const (
	requestSuffix      = ".rollback-request.json"
	confirmationSuffix = ".rollback-confirmation.json"
)

func (p *parts) besideData(path, suffix string) string {
	if path != "" {
		return path
	}
	return filepath.Clean(p.cfg.Data) + suffix
}

type acceptRollbackCommand struct {
	Config  string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Reason  string `required:"" placeholder:"TEXT" help:"Why: it stays with the new log. No personal data."`
	Request string `placeholder:"FILE" help:"Where the request goes; default: beside the data folder."`
}

// Help tells the whole procedure.
func (acceptRollbackCommand) Help() string {
	return `Use this only when 'sigillo run' refuses the ledger as rolled back or forked, and what is gone cannot be restored.

1. First person:  sigillo ledger accept-rollback -c FILE --reason TEXT   writes a request and prints its code.
2. Second person: sigillo ledger confirm-rollback REQUEST --code CODE    as another user of the machine, or with -c FILE and
   an auditor's token of their own in VAULT_TOKEN.
3. Then:          sigillo run -c FILE --accept-rollback TEXT             sets the old ledger aside, untouched, as DATA.e1, and goes
   on as a new log, ORIGIN/e2, whose first entry names what survived and what is lost. Start it without the flag afterwards.

The folder above DATA must be writable by the gateway's user, who also needs to read both files. Whoever is root on the machine can be every user of it: where that matters use Vault tokens.`
}

func (a *acceptRollbackCommand) Run(ctx context.Context, c console) error {
	p, err := loadParts(ctx, a.Config, asUser)
	if err != nil {
		return err
	}
	defer p.close()
	b, err := p.rollback(ctx)
	if err != nil {
		return undetermined(err)
	}
	by, err := p.person(ctx)
	if err != nil {
		return undetermined(err)
	}
	r, err := b.Ask(ctx, a.Reason, by, ledger.At(time.Now()))
	if errors.Is(err, ledger.ErrNothingLost) {
		return negative("%w", err)
	}
	if err != nil {
		return undetermined(err)
	}
	code, err := r.Code()
	if err != nil {
		return err
	}
	path := p.besideData(a.Request, requestSuffix)
	if err := ledger.WriteRollback(path, r); err != nil {
		return err
	}
	sayRequest(c, r)
	_, err = fmt.Fprintf(c.out, "\nThe request is in %s\nIts code is %s\nA second person confirms it: sigillo ledger confirm-rollback %s --code %s\n", path, code, path, code)
	return err
}

func sayRequest(c console, r ledger.RollbackRequest) {
	fmt.Fprintf(c.out, "log       %s\nsurvived  %d entries, root %s\nanchored  %d entries, root %s\n", r.Origin, r.Survived.Size, r.Survived.Root, r.Lost.Size, r.Lost.Root)
	if r.Lost.Size > r.Survived.Size {
		fmt.Fprintf(c.out, "lost      %d entries, %d to %d\n", r.Lost.Size-r.Survived.Size, r.Survived.Size, r.Lost.Size-1)
	}
	fmt.Fprintf(c.out, "reason    %q\nasked by  uid %d on %s, %s\n", r.Reason, r.By.UID, r.By.Host, r.Time.Format(time.RFC3339))
}

type confirmRollbackCommand struct {
	Request      string `arg:"" placeholder:"REQUEST" help:"The request's file."`
	Code         string `required:"" help:"The code, as the first person tells it."`
	Confirmation string `placeholder:"FILE" help:"Where the confirmation goes; default: beside the request."`
	Config       string `short:"c" placeholder:"FILE" help:"Configuration file: confirm in its Vault too, with your own token in VAULT_TOKEN."`
}

func (f *confirmRollbackCommand) Run(ctx context.Context, c console) error {
	var r ledger.RollbackRequest
	owner, err := ledger.ReadRollback(f.Request, &r)
	if err != nil {
		return err
	}
	if owner != r.By.UID {
		return negative("%s belongs to uid %d, but says that uid %d asked", f.Request, owner, r.By.UID)
	}
	p := &parts{}
	if f.Config != "" {
		if p, err = loadParts(ctx, f.Config, asUser); err != nil {
			return err
		}
		defer p.close()
	}
	by, err := p.person(ctx)
	if err != nil {
		return undetermined(err)
	}
	word, err := ledger.ConfirmRollback(r, f.Code, by, ledger.At(time.Now()))
	if err != nil {
		return &exitError{exitNegative, err}
	}
	if err := p.confirmInVault(ctx, word); err != nil {
		return undetermined(fmt.Errorf("confirming in Vault: %w", err))
	}
	path := f.Confirmation
	if path == "" {
		base := filepath.Base(f.Request)
		if n := len(base) - len(requestSuffix); n > 0 && base[n:] == requestSuffix {
			base = base[:n]
		}
		path = filepath.Join(filepath.Dir(f.Request), base+confirmationSuffix)
	}
	if err := ledger.WriteRollback(path, word); err != nil {
		return err
	}
	sayRequest(c, r)
	_, err = fmt.Fprintf(c.out, "\nConfirmed by uid %d in %s\n", by.UID, path)
	return err
}

// person is who runs the verb: the user of this machine and, with a token of their own, of Vault.
func (p *parts) person(ctx context.Context) (ledger.Person, error) {
	host, err := os.Hostname()
	if err != nil {
		return ledger.Person{}, fmt.Errorf("naming this machine: %w", err)
	}
	who := ledger.Person{UID: os.Getuid(), Host: host}
	if v, ok := p.custody.(*signing.Vault); ok && os.Getenv("VAULT_TOKEN") != "" {
		who.Accessor, err = v.AccessorDigest(ctx)
	}
	return who, err
}

func (p *parts) confirmInVault(ctx context.Context, word ledger.RollbackConfirmation) error {
	v, ok := p.custody.(*signing.Vault)
	if !ok || word.By.Accessor == (ledger.Hash{}) {
		return nil
	}
	kv, err := p.confirmation(v, word.Request)
	if err != nil {
		return err
	}
	return kv.Put(ctx, map[string]string{"request": word.Request.String(), "accessor": word.By.Accessor.String()}, 0)
}

// rollback is the configuration's ledger beside its anchors.
func (p *parts) rollback(ctx context.Context) (ledger.Rollback, error) {
	b := ledger.Rollback{Dir: p.cfg.Data, Logger: p.log}
	k, err := p.custody.Key(ctx, signing.UseCheckpoint)
	if err != nil {
		return b, fmt.Errorf("checkpoint key: %w", err)
	}
	var ok bool
	if b.Key, ok = k.Public().(ed25519.PublicKey); !ok {
		return b, errors.New("the checkpoint key is not Ed25519")
	}
	epoch, err := ledger.Epoch(p.cfg.Data)
	if err != nil {
		return b, err
	}
	b.Origin = p.origin(epoch)
	b.Anchors, err = p.anchors(epoch)
	return b, err
}

// acceptRollback lets the configuration's ledger go on as a new log, when two persons say so.
func (p *parts) acceptRollback(ctx context.Context, r *runCommand) error {
	b, err := p.rollback(ctx)
	if err != nil {
		return undetermined(err)
	}
	if err := p.keysOutside(); err != nil {
		return err
	}
	past, err := b.Accept(ctx, r.AcceptRollback, p.besideData(r.Request, requestSuffix), p.besideData(r.Confirmation, confirmationSuffix), p.confirmedInVault())
	if err != nil {
		return &exitError{exitNegative, fmt.Errorf("the rollback is not accepted: %w", err)}
	}
	p.log.Warn("a rollback was accepted: the old ledger was set aside, and goes on as a new log", "before", past)
	return nil
}

// keysOutside refuses to set aside a folder in which a demonstration keeps its keys.
func (p *parts) keysOutside() error {
	for field, dir := range map[string]string{"keys.dir": p.cfg.Keys.Dir, "timestamp.test_dir": p.cfg.Timestamp.TestDir} {
		if rel, err := filepath.Rel(p.cfg.Data, dir); dir != "" && err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s lies in the data folder, which is about to be set aside: move it out and name its new place in the configuration", field)
		}
	}
	return nil
}
