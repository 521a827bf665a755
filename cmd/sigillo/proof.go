package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type proofCommand struct {
	Make        proofMakeCommand        `cmd:"" help:"Write a C2SP tlog-proof: one entry is in the log, checkable without the ledger and without a network."`
	Verify      proofVerifyCommand      `cmd:"" help:"Verify a C2SP tlog-proof with the log's key and the entry's bytes."`
	Consistency proofConsistencyCommand `cmd:"" help:"Verify that the log only grew since a signed checkpoint that you kept."`
	Key         proofKeyCommand         `cmd:"" help:"Print the log's verifier key (C2SP vkey). Give it to those who verify, by a way of its own."`
}

// logChoice says which log a proof is of: a configuration's, or one by URL.
type logChoice struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration file: its ledger, stopped or running."`
	URL    string `name:"url" placeholder:"URL" help:"Instead of --config: the log over HTTP, where its /log stands. Needs --key."`
	Key    string `placeholder:"VKEY" help:"The log's verifier key (C2SP vkey), as you know it from elsewhere. Default: the one that the ledger's genesis names."`
	CA     string `name:"ca" placeholder:"FILE" help:"With --url: PEM file of the authorities that its certificate may come from."`
}

// open gives the log, the key that it is held against, and what to call at the end.
func (l *logChoice) open(ctx context.Context) (log *ledger.Log, vkey string, end func(), err error) {
	switch {
	case (l.Config == "") == (l.URL == ""):
		return nil, "", nil, errors.New("give --config FILE or --url URL")
	case l.URL != "":
		if log, err = openURL(ctx, l.URL, l.Key, l.CA); err != nil {
			return nil, "", nil, err
		}
		return log, l.Key, func() { _ = log.Close() }, nil
	}
	r, err := openReader(ctx, l.Config)
	if err != nil {
		return nil, "", nil, err
	}
	if vkey = l.Key; vkey == "" {
		if vkey, err = r.log.VerifierKey(); err != nil {
			r.close()
			return nil, "", nil, undetermined(err)
		}
	}
	return r.log, vkey, r.close, nil
}

type proofMakeCommand struct {
	logChoice `embed:""`
	Entry     *uint64 `placeholder:"N" help:"Number of the entry."`
	Exchange  string  `placeholder:"ID" help:"Instead of --entry: the entry that closed this exchange (for its others: 'sigillo show', then --entry)."`
	Out       string  `placeholder:"FILE" help:"Write the proof there (usually *.tlog-proof). Default: standard output."`
	EntryOut  string  `placeholder:"FILE" help:"Write the exact bytes of the entry there: whoever verifies needs them."`
}

func (m *proofMakeCommand) Run(ctx context.Context, c console) error {
	if (m.Entry == nil) == (m.Exchange == "") {
		return errors.New("give --entry N or --exchange ID")
	}
	if m.Exchange != "" && m.URL != "" {
		return errors.New("--exchange needs the ledger's index, which is not served by URL: give --entry N")
	}
	log, vkey, end, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	entry, err := m.entry(ctx, log)
	if err != nil {
		return err
	}
	proof, err := ledger.NewTlogProof(ctx, log, entry.N)
	if err != nil {
		return undetermined(fmt.Errorf("proving entry %d: %w", entry.N, err))
	}
	if _, err := proof.Verify(entry.Bytes, vkey); err != nil { // what leaves here holds
		return negative("the log does not prove its own entry %d: %v", entry.N, err)
	}
	if m.EntryOut != "" {
		if err := os.WriteFile(m.EntryOut, entry.Bytes, 0o644); err != nil {
			return err
		}
	}
	if m.Out != "" {
		return os.WriteFile(m.Out, proof.Marshal(), 0o644)
	}
	_, err = c.out.Write(proof.Marshal())
	return err
}

// entry finds the entry that is to be proven.
func (m *proofMakeCommand) entry(ctx context.Context, log *ledger.Log) (ledger.Stored, error) {
	if m.Entry != nil {
		s, err := log.Entry(ctx, *m.Entry)
		if errors.Is(err, ledger.ErrUnreachable) {
			return s, undetermined(err)
		}
		return s, readError(err)
	}
	entries, err := log.Exchange(ctx, exchange.ID(m.Exchange))
	if err != nil {
		return ledger.Stored{}, readError(err)
	}
	closed := entries[len(entries)-1] // still open: its request
	for _, e := range entries {
		switch e.Kind {
		case exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure, ledger.KindRecovery:
			closed = e
		}
	}
	return closed, nil
}

type proofVerifyCommand struct {
	Key   string `required:"" placeholder:"VKEY" help:"The log's verifier key (C2SP vkey), as you know it from elsewhere."`
	Proof string `required:"" placeholder:"FILE" help:"The tlog-proof."`
	Entry string `required:"" placeholder:"FILE" help:"The exact bytes of the entry."`
	JSON  bool   `help:"Print JSON."`
}

func (v *proofVerifyCommand) Run(_ context.Context, c console) error {
	if _, _, err := ledger.ParseVerifierKey(v.Key); err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	text, err := os.ReadFile(v.Proof)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(v.Entry)
	if err != nil {
		return err
	}
	out := exchange.NewVerdict()
	proof, err := ledger.ParseTlogProof(text)
	if err != nil {
		out.Addf("proof", exchange.Broken, "%v", err)
		return sayVerdict(c, "proof "+v.Proof, out, v.JSON)
	}
	at, err := proof.Verify(entry, v.Key)
	switch {
	case errors.Is(err, ledger.ErrOtherLog):
		out.Addf("key", exchange.Indeterminate, "%v: give the key of that log", err)
	case errors.Is(err, ledger.ErrNoteSignature):
		out.Addf("checkpoint", exchange.Broken, "%v", err)
	case err != nil:
		out.Entryf("inclusion", exchange.Broken, proof.Index, "%v", err)
	default:
		out.Counts["entry"], out.Counts["signed_size"] = int64(proof.Index), int64(at.Size)
	}
	return sayVerdict(c, "proof "+v.Proof, out, v.JSON)
}

type proofConsistencyCommand struct {
	logChoice `embed:""`
	Old       string `required:"" placeholder:"FILE" help:"A signed checkpoint of before, as 'sigillo verify --save-checkpoint' writes it."`
	JSON      bool   `help:"Print JSON."`
}

func (p *proofConsistencyCommand) Run(ctx context.Context, c console) error {
	kept, err := os.ReadFile(p.Old)
	if err != nil {
		return err
	}
	log, vkey, end, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer end()
	origin, key, err := ledger.ParseVerifierKey(vkey)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	old, err := ledger.OpenCheckpoint(kept, origin, key)
	if err != nil {
		return fmt.Errorf("--old: %w", err)
	}
	_, note, err := ledger.NewestNote(ctx, log)
	if err != nil {
		return undetermined(err)
	}
	out := exchange.NewVerdict()
	now, err := ledger.OpenCheckpoint(note, origin, key)
	if err != nil {
		out.Addf("checkpoint", exchange.Broken, "%v", err)
		return sayVerdict(c, "log "+origin, out, p.JSON)
	}
	out.Counts["old_size"], out.Counts["signed_size"] = int64(old.Size), int64(now.Size)
	if old.Size > now.Size {
		out.Addf("rolled-back", exchange.Broken, "the checkpoint kept is of size %d, the log's newest of size %d", old.Size, now.Size)
		return sayVerdict(c, "log "+origin, out, p.JSON)
	}
	path, err := ledger.ConsistencyProof(ctx, log, old.Size, now.Size)
	switch {
	case errors.Is(err, ledger.ErrUnreachable):
		return undetermined(err)
	case err != nil:
		out.Addf("tile", exchange.Broken, "%v", err)
	default:
		if err := ledger.VerifyConsistency(old.Size, now.Size, path, old.Root, now.Root); err != nil {
			out.Addf("consistency", exchange.Broken, "%v", err)
		}
	}
	return sayVerdict(c, "log "+origin, out, p.JSON)
}

type proofKeyCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
}

func (k *proofKeyCommand) Run(ctx context.Context, c console) error {
	p, err := loadParts(ctx, k.Config, asUser)
	if err != nil {
		return err
	}
	defer p.close()
	vkey, err := p.vkey(ctx)
	if err != nil {
		return undetermined(err)
	}
	_, err = fmt.Fprintln(c.out, vkey)
	return err
}
