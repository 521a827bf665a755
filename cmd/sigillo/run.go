package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"sigillo/gateway"
	"sigillo/ledger"
	"sigillo/policies"
)

type runCommand struct {
	Config         string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	AcceptRollback string `placeholder:"REASON" help:"Go on as a new log although entries are lost for good: see 'sigillo ledger accept-rollback --help'."`
	Request        string `placeholder:"FILE" help:"With --accept-rollback: the request; default: beside the data folder."`
	Confirmation   string `placeholder:"FILE" help:"With --accept-rollback: its confirmation; default: beside the data folder."`
}

func (r *runCommand) Run(ctx context.Context, c console) error {
	log := slog.New(slog.NewJSONHandler(c.err, nil))
	g, err := startGateway(ctx, r, log)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		log.Info("stopping: exchanges in progress end, then the ledger closes")
	case err = <-g.server.Failed():
		log.Error("a listener ended by itself", "error", err.Error())
	}
	return errors.Join(err, g.stop())
}

// runningGateway is a gateway with everything behind it; stop ends it in order.
type runningGateway struct {
	parts  *parts
	ledger *ledger.Ledger
	socket *ledger.Socket
	server *gateway.Server
	admin  *http.Server
	ended  chan struct{}
}

// demoLog is the log of a gateway that runs inside the demo: a file, so that the table stays readable.
func demoLog(dir string) *slog.Logger {
	f, err := os.OpenFile(filepath.Join(dir, "gateway.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return slog.New(slog.NewJSONHandler(io.Discard, nil))
	}
	return slog.New(slog.NewJSONHandler(f, nil))
}

// startGateway builds all parts of a configuration and serves.
func startGateway(ctx context.Context, r *runCommand, log *slog.Logger) (_ *runningGateway, err error) {
	p, err := loadParts(ctx, r.Config, asGateway)
	if err != nil {
		return nil, err
	}
	p.log = log
	g := &runningGateway{parts: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.stop())
		}
	}()
	if err := p.cfg.Check(ctx); err != nil {
		return nil, err
	}
	engine, err := policies.Load(p.cfg.Policies.Dir)
	if err != nil {
		return nil, err
	}
	if p.custody.Kind() == "file" {
		log.Warn("keys lie in files: a demonstration, not evidence", "dir", p.cfg.Keys.Dir)
	}
	if p.cfg.Timestamp.Test {
		log.Warn("time stamps come from the built-in test authority: they prove nothing to others")
	}
	if r.AcceptRollback != "" {
		if err := p.acceptRollback(ctx, r); err != nil {
			return nil, err
		}
	}
	if g.ledger, err = p.openLedger(ctx); err != nil {
		return nil, openError(err)
	}
	if err := recordConfiguration(ctx, g.ledger, p.cfg.Digest(), engine.Digest()); err != nil {
		return nil, openError(err)
	}
	if g.socket, err = g.ledger.ListenSocket(); err != nil {
		return nil, undetermined(err)
	}
	jwks, err := p.jwks(ctx)
	if err != nil {
		return nil, undetermined(err)
	}
	o, err := p.gatewayOptions(g.ledger, engine, jwks)
	if err != nil {
		return nil, err
	}
	server, err := gateway.New(o)
	if err != nil {
		return nil, err
	}
	if err := server.Start(ctx); err != nil {
		return nil, err
	}
	g.server = server
	if err := g.startAdmin(jwks); err != nil {
		return nil, err
	}
	log.Info("serving", "node", p.cfg.Node, "origin", g.ledger.Origin(), "routes", len(p.cfg.Routes), "entries", g.ledger.Size())
	return g, nil
}

// openError gives an error of opening the ledger its exit code: one that has lost what was acknowledged,
// that is damaged, that contradicts its own checkpoints, or that is not what its anchors vouch for, is a
// verdict, anything else could not be told.
func openError(err error) error {
	if refusedBy(err) {
		return &exitError{exitNegative, err}
	}
	return undetermined(err)
}

// startAdmin serves probes, public keys and the log's read API on the loopback.
func (g *runningGateway) startAdmin(jwks []byte) error {
	ln, err := net.Listen("tcp", g.parts.cfg.Admin.Address)
	if err != nil {
		return fmt.Errorf("admin listener: %w", err)
	}
	checks := map[string]func() error{
		"ledger":  g.ledger.Err,
		"anchors": g.anchored,
		"accepting": func() error {
			if g.server.Draining() {
				return errors.New("stopping")
			}
			return nil
		},
		"signing": func() error {
			if n, since := g.ledger.Unsigned(); !since.IsZero() {
				return fmt.Errorf("failing since %s, %d receipts pending", since.UTC().Format(time.RFC3339), n)
			}
			return nil
		},
	}
	g.admin = &http.Server{Handler: gateway.Admin{JWKS: jwks, Checks: checks, Log: ledger.NewLogHandler(g.ledger.View(), g.parts.log), Warnings: g.ledgerWarnings()}, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	g.ended = make(chan struct{})
	go func() {
		defer close(g.ended)
		_ = g.admin.Serve(ln) // ends with Shutdown
	}()
	return nil
}

// stop drains: exchanges in progress end, what is pending is signed as far as time allows, then the
// ledger closes. It works on a gateway that was started in part.
func (g *runningGateway) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), g.parts.cfg.Server.ShutdownGrace)
	defer cancel()
	var err error
	if g.server != nil {
		err = g.server.Drain(ctx)
	}
	if g.admin != nil {
		err = errors.Join(err, g.admin.Shutdown(ctx))
		<-g.ended
	}
	if g.socket != nil {
		err = errors.Join(err, g.socket.Close(ctx))
	}
	if g.ledger != nil {
		err = errors.Join(err, g.ledger.Close(ctx))
	}
	g.parts.close()
	return err
}
