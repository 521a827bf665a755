package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"sigillo/ledger"
)

// reader is a ledger that a verb reads, with the class keys of its user.
type reader struct {
	*parts
	log  *ledger.Log
	keys ledger.ClassKeys
}

// openReader opens the configuration's ledger for a verb that reads entries only: nothing is written.
func openReader(ctx context.Context, config string) (*reader, error) {
	return openReaderIn(ctx, config, "")
}

// openReaderIn reads the ledger in dir instead; "" is the configuration's.
func openReaderIn(ctx context.Context, config, dir string) (*reader, error) {
	p, err := loadParts(ctx, config, asUser)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = p.cfg.Data
	}
	log, found, err := openLog(ctx, dir)
	if err != nil {
		p.close()
		return nil, undetermined(err)
	}
	for _, f := range found {
		fmt.Fprintln(os.Stderr, f) // what opening showed must not go unsaid
	}
	return &reader{parts: p, log: log, keys: p.classKeys()}, nil
}

func (r *reader) close() {
	_ = r.log.Close() // a reading store has nothing to lose
	r.parts.close()
}

// writer is a ledger in which a verb must leave an entry: a running instance through its socket, or a
// cleanly stopped store that this process opens itself.
type writer struct {
	*parts
	log           *ledger.Log
	keys          ledger.ClassKeys
	accessed      func(context.Context, ledger.Actor, ledger.Access) error
	exported      func(context.Context, string, ledger.Actor, ledger.Export) error
	verified      func(context.Context, ledger.Actor, ledger.Verification) error
	ensureStamped func(context.Context, uint64) (*ledger.StampedCheckpoint, error)
	end           func() error
}

// openWriter opens the configuration's ledger for a verb that must leave an entry. On a store that was
// not stopped cleanly it gives exit code 3: recovery belongs to run.
func openWriter(ctx context.Context, config string) (*writer, error) {
	p, err := loadParts(ctx, config, asUser)
	if err != nil {
		return nil, err
	}
	w, err := p.openWriter(ctx)
	if err != nil {
		p.close()
		return nil, err
	}
	return w, nil
}

func (p *parts) openWriter(ctx context.Context) (*writer, error) {
	w := &writer{parts: p, keys: p.classKeys()}
	log, remote, err := ledger.Dial(ctx, p.cfg.Data)
	if err == nil {
		w.log, w.accessed, w.exported, w.ensureStamped, w.end = log, remote.Accessed, remote.Exported, remote.EnsureStamped, log.Close
		w.verified = remote.Verified
		return w, nil
	}
	if !errors.Is(err, ledger.ErrNotRunning) {
		return nil, undetermined(err)
	}
	if !ledger.StoppedCleanly(p.cfg.Data) {
		return nil, undetermined(fmt.Errorf("the ledger in %s was not stopped cleanly: start 'sigillo run' (it recovers), then try again", p.cfg.Data))
	}
	g, err := p.withGatewayCustody(ctx)
	if err != nil {
		return nil, err
	}
	l, err := g.openLedger(ctx)
	if err != nil {
		g.close()
		return nil, openError(err)
	}
	if err := w.use(ctx, l); err != nil {
		g.close()
		return nil, err
	}
	end := w.end
	w.end = func() error { defer g.close(); return end() }
	return w, nil
}

// withGatewayCustody is the same configuration with the gateway's own credentials, which write and sign: a user's
// may read, or destroy keys, and would leave signatures pending for ever.
func (p *parts) withGatewayCustody(ctx context.Context) (*parts, error) {
	g := &parts{cfg: p.cfg, log: p.log}
	var err error
	if g.custody, err = openCustody(ctx, p.cfg, asGateway, p.log); err != nil {
		return nil, undetermined(fmt.Errorf("opening the custody of keys: %w", err))
	}
	return g, nil
}

// closeLedger closes a ledger that a verb held; what cannot be signed in time is signed after the next start.
func (p *parts) closeLedger(ctx context.Context, l *ledger.Ledger) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Server.ShutdownGrace)
	defer cancel()
	return l.Close(ctx)
}

// use lets the verb work on a ledger that this process holds.
func (w *writer) use(ctx context.Context, l *ledger.Ledger) error {
	log, err := l.Log(ctx)
	if err != nil {
		return undetermined(errors.Join(err, l.Close(ctx)))
	}
	w.log, w.accessed, w.exported, w.ensureStamped = log, l.Accessed, l.Exported, l.EnsureStamped
	w.verified = l.Verified
	w.end = func() error { return w.closeLedger(ctx, l) }
	return nil
}

func (w *writer) close() {
	if err := w.end(); err != nil {
		fmt.Fprintln(os.Stderr, "sigillo: closing the ledger:", err)
	}
	w.parts.close()
}

// localActor is the user of this machine who runs a verb.
func localActor() (ledger.Actor, error) {
	host, err := os.Hostname()
	if err != nil {
		return ledger.Actor{}, fmt.Errorf("naming this machine: %w", err)
	}
	return ledger.Actor{Role: "local", ID: sha256.Sum256(fmt.Appendf(nil, "uid:%d@%s", os.Getuid(), host))}, nil
}
