package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sigillo/internal/config"
	"sigillo/ledger"
	"sigillo/signing"
)

// parts are what the configuration is turned into. Verbs take from them what they need.
type parts struct {
	cfg     *config.Config
	log     *slog.Logger
	custody signing.Custody
}

// whose credentials a verb uses towards Vault.
type credentials int

const (
	asGateway credentials = iota // the configuration's
	asUser                       // VAULT_TOKEN of the user who runs the verb, where it is set
)

// storeLog is where the store's own messages go when a verb reads: warnings only, to standard error.
func storeLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// loadParts reads the configuration and opens the custody of its keys.
func loadParts(ctx context.Context, path string, who credentials) (*parts, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	p := &parts{cfg: cfg, log: storeLog()}
	if p.custody, err = openCustody(ctx, cfg, who, p.log); err != nil {
		return nil, undetermined(fmt.Errorf("opening the custody of keys: %w", err))
	}
	return p, nil
}

func openCustody(ctx context.Context, cfg *config.Config, who credentials, log *slog.Logger) (signing.Custody, error) {
	if cfg.Keys.Custody == "file" {
		return signing.OpenKeyDir(cfg.Keys.Dir)
	}
	v := cfg.Keys.Vault
	o := signing.VaultOptions{Address: v.Address, CAFile: v.CA, Namespace: v.Namespace, Mount: v.Mount, ClassMount: v.ClassMount,
		KeyNames: signing.KeyNames{Checkpoint: v.Names.Checkpoint, Receipt: v.Names.Receipt, Seal: v.Names.Seal},
		Timeout:  v.Timeout, Logger: log}
	switch token := os.Getenv("VAULT_TOKEN"); {
	case who == asUser && token != "":
		o.Auth = signing.VaultAuth{Token: signing.SecretText(token)}
	case v.Auth.Method == "approle":
		o.Auth = signing.VaultAuth{RoleID: v.Auth.RoleID, SecretID: v.Auth.SecretID.Reveal}
	default:
		o.Auth = signing.VaultAuth{Token: v.Auth.Token.Reveal}
	}
	return signing.DialVault(ctx, o)
}

func (p *parts) close() {
	if p.custody != nil {
		_ = p.custody.Close() // a token that could not be revoked runs out by itself
	}
}

// classKeys adapts the custody to what the ledger asks of it.
func (p *parts) classKeys() ledger.ClassKeys { return classKeys{p.custody} }

type classKeys struct{ signing.Custody }

func (k classKeys) DataKey(ctx context.Context, name string) ([32]byte, []byte, error) {
	d, err := k.Custody.DataKey(ctx, name)
	return d.Plain, d.Wrapped, err
}

func (k classKeys) Destroyed(err error) bool { return errors.Is(err, signing.ErrNoClassKey) }

// receiptSigner adapts the batch signer.
type receiptSigner struct{ r *signing.Receipts }

func (s receiptSigner) SignReceipts(ctx context.Context, payloads [][]byte) ([]ledger.SignedReceipt, error) {
	signed, err := s.r.SignReceipts(ctx, payloads)
	if err != nil {
		return nil, err
	}
	out := make([]ledger.SignedReceipt, len(signed))
	for i, x := range signed {
		out[i] = ledger.SignedReceipt{Compact: x.Compact, Err: x.Err}
	}
	return out, nil
}

// stamper adapts a time-stamp client.
type stamper struct{ s signing.Stamper }

func (s stamper) Stamp(ctx context.Context, digest [32]byte) (ledger.Stamp, error) {
	t, err := s.s.Stamp(ctx, digest)
	if err != nil {
		return ledger.Stamp{}, err
	}
	return ledger.Stamp{Query: t.Request, Reply: t.Response, Authority: t.Authority, Time: t.Time}, nil
}

// openLedger opens the configuration's ledger for writing.
func (p *parts) openLedger(ctx context.Context) (*ledger.Ledger, error) {
	checkpoint, err := p.custody.Key(ctx, signing.UseCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("checkpoint key: %w", err)
	}
	receipt, err := p.custody.Key(ctx, signing.UseReceipt)
	if err != nil {
		return nil, fmt.Errorf("receipt key: %w", err)
	}
	receipts, err := signing.NewReceipts(ctx, receipt)
	if err != nil {
		return nil, fmt.Errorf("receipt key: %w", err)
	}
	var public []ledger.PublicKey
	for _, k := range []struct {
		use string
		key signing.Key
	}{{"checkpoint", checkpoint}, {"receipt", receipt}} {
		pk, err := publicKey(k.use, k.key)
		if err != nil {
			return nil, err
		}
		public = append(public, pk)
	}
	o := ledger.Options{Dir: p.cfg.Data, Node: p.cfg.Node, Software: software, Custody: p.custody.Kind(),
		Checkpoints: checkpoint, Receipts: receiptSigner{receipts}, Keys: p.classKeys(), PublicKeys: public,
		DiskStop: uint64(p.cfg.Disk.Stop), DiskWarn: uint64(p.cfg.Disk.Warn), Logger: p.log, Witnesses: witnessPolicy(p.cfg)}
	for _, c := range p.cfg.Classes {
		o.Classes = append(o.Classes, c.Name)
	}
	if err := p.anchorOptions(&o); err != nil {
		return nil, err
	}
	s, err := p.stampers()
	if err != nil {
		return nil, err
	}
	if s != nil {
		o.Stamper, o.StampEvery = stamper{s}, p.cfg.Timestamp.Interval
	}
	return ledger.Open(ctx, o)
}

func publicKey(use string, k signing.Key) (ledger.PublicKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		return ledger.PublicKey{}, fmt.Errorf("%s key: %w", use, err)
	}
	alg := "ES256"
	if _, ok := k.Public().(ed25519.PublicKey); ok {
		alg = "Ed25519"
	} else if _, ok := k.Public().(*ecdsa.PublicKey); !ok {
		return ledger.PublicKey{}, fmt.Errorf("%s key: neither Ed25519 nor P-256", use)
	}
	kid, err := signing.Thumbprint(k.Public())
	if err != nil {
		return ledger.PublicKey{}, fmt.Errorf("%s key: %w", use, err)
	}
	return ledger.PublicKey{Use: use, Alg: alg, KID: kid, SPKI: spki}, nil
}

// jwks is the set of public receipt keys, as published.
func (p *parts) jwks(ctx context.Context) ([]byte, error) {
	k, err := p.custody.Key(ctx, signing.UseReceipt)
	if err != nil {
		return nil, fmt.Errorf("receipt key: %w", err)
	}
	return signing.PublicJWKS(ctx, k)
}

// vkey is the log's verifier key.
func (p *parts) vkey(ctx context.Context) (string, error) {
	k, err := p.custody.Key(ctx, signing.UseCheckpoint)
	if err != nil {
		return "", fmt.Errorf("checkpoint key: %w", err)
	}
	ed, ok := k.Public().(ed25519.PublicKey)
	if !ok {
		return "", errors.New("the checkpoint key is not Ed25519")
	}
	epoch, err := ledger.Epoch(p.cfg.Data)
	if err != nil {
		return "", err
	}
	return ledger.VerifierKey(p.origin(epoch), ed), nil
}

// checkStamp checks a stored time-stamp answer over data against the configured roots.
func (p *parts) checkStamp(reply, data []byte) error {
	roots, err := p.stampRoots()
	if err != nil {
		return err
	}
	_, err = signing.VerifyStamp(reply, sha256.Sum256(data), roots, time.Time{})
	return err
}
