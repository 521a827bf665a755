package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"sigillo/archive"
	"sigillo/certs"
	"sigillo/internal/config"
	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

type archiveCommand struct {
	Dispose archiveDisposeCommand `cmd:"" help:"Dispose of a class-month whose retention is over."`

	Verify archiveVerifyCommand `cmd:"" help:"Verify a conservation package, a directory or a .zip, from its own material and your trust anchors."`
}

type archiveVerifyCommand struct {
	Path          string `arg:"" help:"Package: a directory or a .zip."`
	Config        string `short:"c" placeholder:"FILE" help:"Configuration file: its archive.trust and schemas serve where none are given here."`
	Trust         string `placeholder:"ROOTS.pem" help:"Trust anchors of seal and time-stamps, obtained independently. Without them the seal's origin cannot be told (exit 3)."`
	Intermediates string `placeholder:"FILE" help:"Further intermediate certificates (PEM)."`
	Key           string `placeholder:"VKEY" help:"The log's verifier key, as you know it from elsewhere."`
	Schemas       string `placeholder:"DIR" help:"Official schemas to use in the place of ours."`
	JSON          bool   `help:"Print JSON."`
}

func (v *archiveVerifyCommand) Run(ctx context.Context, c console) error {
	o := archive.VerifyOptions{VKey: v.Key, Schemas: v.Schemas}
	trust := v.Trust
	if v.Config != "" {
		cfg, err := config.Load(v.Config)
		if err != nil {
			return err
		}
		trust, o.Schemas = cmp.Or(trust, cfg.Archive.Trust), cmp.Or(o.Schemas, cfg.Archive.Schemas)
	}
	verdict, err := checkPackageWith(ctx, v.Path, trust, v.Intermediates, o)
	if err != nil {
		return undetermined(err)
	}
	return sayVerdict(c, "package "+v.Path, verdict, v.JSON)
}

// checkPackage verifies a package against trust anchors and intermediates in files; "" is none.
func checkPackage(ctx context.Context, path, trust, intermediates string) (*exchange.Verdict, error) {
	return checkPackageWith(ctx, path, trust, intermediates, archive.VerifyOptions{})
}

func checkPackageWith(ctx context.Context, path, trust, intermediates string, o archive.VerifyOptions) (*exchange.Verdict, error) {
	var t sealTrust
	var err error
	if trust != "" {
		if t.roots, err = certs.LoadCertificates(trust); err != nil {
			return nil, fmt.Errorf("trust anchors: %w", err)
		}
	}
	if intermediates != "" {
		if t.intermediates, err = certs.LoadCertificates(intermediates); err != nil {
			return nil, fmt.Errorf("intermediates: %w", err)
		}
	}
	o.Seal, o.Stamp = t, t
	o.Entry = func(line []byte) error { _, err := ledger.DecodeEntry(line); return err }
	return archive.Verify(ctx, path, o)
}

// sealTrust judges seals and tokens against trust anchors.
type sealTrust struct{ roots, intermediates []*x509.Certificate }

// untrusted are the findings that say nothing against a seal when there is no anchor to hold it to.
var untrusted = map[signing.SealCheck]bool{signing.SealTrust: true, signing.StampUntrusted: true}

func (t sealTrust) VerifySeal(_ context.Context, p7m []byte, at time.Time) archive.SealReport {
	report, found := signing.VerifySeal(p7m, signing.SealOptions{Roots: t.roots, Intermediates: t.intermediates, At: at})
	out := archive.SealReport{Content: report.Content}
	if report.Signer != nil {
		out.Signer = report.Signer.Subject.String()
	}
	for _, f := range found {
		severity := exchange.Broken
		if len(t.roots) == 0 && untrusted[f.Check] {
			severity = exchange.Indeterminate
		}
		out.Findings = append(out.Findings, exchange.Finding{Check: string(f.Check), Severity: severity, Detail: f.Err.Error()})
	}
	return out
}

func (t sealTrust) VerifyStamp(_ context.Context, data, reply []byte, at time.Time) (time.Time, error) {
	s, err := signing.VerifyStamp(reply, sha256.Sum256(data), t.roots, at)
	switch {
	case errors.Is(err, signing.ErrStampChain) && len(t.roots) == 0:
		if s != nil {
			return s.Time, fmt.Errorf("%w: %w", archive.ErrNoAnchor, err)
		}
		return time.Time{}, fmt.Errorf("%w: %w", archive.ErrNoAnchor, err)
	case err != nil:
		return time.Time{}, err
	}
	return s.Time, nil
}

// archiveOptions are what every package of the configuration's ledger has in common.
func (p *parts) archiveOptions(ctx context.Context, seal *signing.Seal) (archive.Options, error) {
	var o archive.Options
	if p.cfg.Archive.Dir == "" {
		return o, errors.New("the configuration has no archive section: it says where packages go, whose they are and who seals them")
	}
	keys, err := p.jwks(ctx)
	if err != nil {
		return o, undetermined(err)
	}
	vkey, err := p.vkey(ctx)
	if err != nil {
		return o, undetermined(err)
	}
	var chain bytes.Buffer
	for _, c := range append(append([]*x509.Certificate{seal.Certificate}, seal.Chain...), seal.TSACertificates...) {
		if err := pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return o, err
		}
	}
	revocation := map[string][]byte{}
	for i, file := range p.cfg.Archive.Seal.CRLs {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".der"), ".crl")
		revocation[name+".crl.der"] = seal.CRLs[i]
	}
	return archive.Options{Dir: p.cfg.Archive.Dir, Schemas: p.cfg.Archive.Schemas, Keys: keys, VKey: vkey,
		Software: archive.Software{Name: "sigillo", Version: version, Producer: "Sigillo"},
		Evidence: archive.Evidence{TrustChain: chain.Bytes(), Revocation: revocation}}, nil
}

// producer completes the options of one principal and class.
func (p *parts) producer(o *archive.Options) error {
	for _, c := range p.cfg.Classes {
		if c.Name == o.Class {
			o.Years = c.Years
		}
	}
	if o.Years == 0 {
		return fmt.Errorf("classes: %s is not among them: the ledger holds exchanges of this class", o.Class)
	}
	for _, x := range p.cfg.Archive.Producers {
		if x.Principal == o.Principal {
			o.Producer = archive.Producer{Name: x.Name, FiscalCode: x.FiscalCode, IPACode: x.IPACode, OfficeName: x.AOOName, OfficeCode: x.AOO,
				Address: x.Email, ClassificationIndex: x.Classification.Index, ClassificationName: x.Classification.Name}
			return nil
		}
	}
	return fmt.Errorf("archive.producers: none for principal %s", o.Principal)
}
