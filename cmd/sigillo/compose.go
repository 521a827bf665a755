package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"time"

	"sigillo/certs"
	"sigillo/gateway"
	"sigillo/internal/config"
	"sigillo/internal/exchange"
	"sigillo/internal/pagopa"
	"sigillo/ledger"
)

// gatewayOptions turns the configuration into the parts of a gateway.
func (p *parts) gatewayOptions(l *ledger.Ledger, decider gateway.Decider, jwks []byte) (gateway.Options, error) {
	o := gateway.Options{Recorder: l, Decider: decider, JWKS: jwks, SigningTimeout: p.cfg.Signing.Timeout, Logger: p.log,
		HeaderBytes: int(p.cfg.Server.HeaderBytes), Concurrent: p.cfg.Server.Concurrent, Idle: p.cfg.Server.Idle}
	var err error
	if o.Catalogue, err = pagopa.Load(); err != nil {
		return o, err
	}
	if o.Registry, err = registry(p.cfg.Participants); err != nil {
		return o, fmt.Errorf("participants: %w", err)
	}
	node := ""
	for _, x := range p.cfg.Participants {
		if len(x.ID) > 5 && x.ID[:5] == "node:" {
			node = x.ID
		}
	}
	for i, c := range p.cfg.Listeners {
		l := gateway.Listener{Name: c.Name, Address: c.Address, Principal: c.Principal, Class: c.Class}
		if l.Certificate, err = certs.LoadServerCertificate(c.Certificate, c.Key); err != nil {
			return o, fmt.Errorf("listeners[%d]: %w", i, err)
		}
		if l.Trust, err = certs.LoadTrust(c.ClientCA); err != nil {
			return o, fmt.Errorf("listeners[%d].client_ca: %w", i, err)
		}
		o.Listeners = append(o.Listeners, l)
	}
	for i, c := range p.cfg.Routes {
		r, err := route(c)
		if err != nil {
			return o, fmt.Errorf("routes[%d]: %w", i, err)
		}
		r.Node = node
		o.Routes = append(o.Routes, r)
	}
	return o, nil
}

// registry is the participants with their pins.
func registry(list []config.Participant) (*certs.Registry, error) {
	var out []certs.Participant
	for _, c := range list {
		p := certs.Participant{ID: c.ID, Name: c.Name, Roles: c.Roles, SpeaksFor: c.SpeaksFor, Stations: c.Stations, Channels: c.Channels, NotBefore: c.ValidFrom}
		if !c.ValidUntil.IsZero() {
			p.NotAfter = c.ValidUntil.Add(-time.Nanosecond) // the file's last instant is the first that is out
		}
		for _, pin := range c.Certificates {
			p.Pins = append(p.Pins, certs.Pin{SHA256: pin.SHA256, Subject: pin.Subject, SAN: pin.SAN, Issuer: pin.Issuer})
		}
		out = append(out, p)
	}
	return certs.NewRegistry(out)
}

func route(c config.Route) (gateway.Route, error) {
	r := gateway.Route{Name: c.Name, Listener: c.Listener, Path: c.Path, Direction: gateway.Direction(c.Direction), Principal: c.Principal,
		Serves: c.Serves, Class: c.Class, Classes: c.ClassesByOperation, RequestBarrier: exchange.Barrier(c.Barriers.Request),
		AnswerBarrier: exchange.Barrier(c.Barriers.Response), BodyTimeout: c.Timeouts.Body, UpstreamTimeout: c.Timeouts.Upstream,
		BodyLimit: int64(c.Limits.Body), ResponseLimit: int64(c.Limits.Response), Headers: map[string]gateway.Secret{}}
	for name, secret := range c.Upstream.Headers {
		r.Headers[name] = secret
	}
	var err error
	if r.Upstream, err = url.Parse(c.Upstream.URL); err != nil {
		return r, fmt.Errorf("upstream.url: %w", err)
	}
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Upstream.ServerName}
	if c.Upstream.CA != "" {
		roots, err := certs.LoadCertificates(c.Upstream.CA)
		if err != nil {
			return r, fmt.Errorf("upstream.ca: %w", err)
		}
		r.TLS.RootCAs = x509.NewCertPool()
		for _, root := range roots {
			r.TLS.RootCAs.AddCert(root)
		}
	}
	if c.Upstream.Certificate != "" {
		own, err := certs.LoadServerCertificate(c.Upstream.Certificate, c.Upstream.Key)
		if err != nil {
			return r, fmt.Errorf("upstream.certificate: %w", err)
		}
		r.TLS.Certificates = []tls.Certificate{*own}
	}
	return r, nil
}

// recordConfiguration leaves an entry when the gateway starts to obey another configuration or other
// policies than the last one that the ledger names.
func recordConfiguration(ctx context.Context, l *ledger.Ledger, digests ...string) error {
	before, err := l.LastConfigured(ctx)
	if err != nil {
		return err
	}
	by, err := localActor()
	if err != nil {
		return err
	}
	for i, subject := range []string{"configuration", "policies"} {
		raw, err := hex.DecodeString(digests[i])
		if err != nil || len(raw) != sha256.Size {
			return errors.New("a digest of the configuration is malformed")
		}
		after := ledger.Hash(raw)
		if before[subject] == after {
			continue
		}
		if err := l.Configured(ctx, by, ledger.Configuration{Subject: subject, Before: before[subject], After: after}); err != nil {
			return fmt.Errorf("recording the %s in force: %w", subject, err)
		}
	}
	return nil
}
