package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"sigillo/archive"
	"sigillo/internal/exchange"
	"sigillo/internal/testbed"
	"sigillo/ledger"
)

type demoCommand struct {
	Dir       string `placeholder:"DIR" help:"Where everything goes, and stays; without it a temporary directory, which stays too."`
	Exchanges int    `default:"200" help:"How many exchanges to run, beside the bad ones."`
	Keep      bool   `help:"Go on serving until interrupted, so that curl can be pointed at it."`
	JSON      bool   `help:"Print JSON."`
}

// demoReport is what a demo has to show.
type demoReport struct {
	Dir      string             `json:"dir"`
	Config   string             `json:"config"`
	Took     string             `json:"took"`
	Tally    testbed.Tally      `json:"tally"`
	Bad      []testbed.BadCase  `json:"bad"`
	Verify   *exchange.Verdict  `json:"verify"`
	Tampered tampering          `json:"tampered"`
	Packages []*archive.Package `json:"packages"`
	Checked  *exchange.Verdict  `json:"checked"`
	Package  string             `json:"package"`
	Reopened bool               `json:"serving"`
}

// tampering is what was done to a copy of the ledger, and what verify said of it.
type tampering struct {
	Entry    uint64             `json:"entry"`
	File     string             `json:"file"`
	Offset   int64              `json:"offset"`
	Verdict  string             `json:"verdict"`
	Findings []exchange.Finding `json:"findings"`
}

func (d *demoCommand) Run(ctx context.Context, c console) (err error) {
	if d.Exchanges < 1 {
		return errors.New("--exchanges: at least 1")
	}
	dir := d.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sigillo-demo-"); err != nil {
			return err
		}
		dir = filepath.Join(dir, "demo")
	}
	began := time.Now()
	r := &demoReport{}
	s, err := newDemoSite(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r.Dir, r.Config = s.dir, s.config
	if err := d.exchanges(ctx, c, s, r); err != nil {
		return undetermined(err)
	}
	if err := d.examine(ctx, c, s, r); err != nil {
		return undetermined(err)
	}
	var kept *runningGateway
	if d.Keep {
		if kept, err = startGateway(ctx, &runCommand{Config: s.config}, demoLog(s.dir)); err != nil {
			return undetermined(fmt.Errorf("starting the gateway again: %w", err))
		}
		s.node.CallEC(s.route("ec-in"), s.client("node"))
		r.Reopened = true
	}
	r.Took = time.Since(began).Round(10 * time.Millisecond).String()
	if err := s.writeFacts(r); err != nil {
		return err
	}
	if d.JSON {
		err = writeJSON(c.out, r)
	} else {
		r.print(c.out, s)
	}
	if kept != nil {
		if err == nil {
			<-ctx.Done()
		}
		err = errors.Join(err, kept.stop())
	}
	return errors.Join(err, r.failed())
}

// exchanges starts the gateway, lives payments and misbehaves through it, and stops it.
func (d *demoCommand) exchanges(ctx context.Context, c console, s *demoSite, r *demoReport) error {
	g, err := startGateway(ctx, &runCommand{Config: s.config}, demoLog(s.dir))
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	s.node.CallEC(s.route("ec-in"), s.client("node"))
	bar := newProgress(c.err, int64(d.Exchanges), "exchanges")
	life := testbed.Life{PSPOut: s.route("psp-out"), ECOut: s.route("ec-out"), ECIn: s.route("ec-in"), PSPIn: s.route("psp-in"), RequireEvidence: true,
		Clients: testbed.Clients{PSP: s.client("psp"), EC: s.client("ec"), Node: s.client("node")}}
	r.Tally, err = life.Run(ctx, d.Exchanges, func(done int) { bar.set(int64(done)) })
	bar.end()
	if err == nil {
		r.Bad, err = testbed.BadCases(ctx, testbed.Bad{PSPOut: life.PSPOut, ECOut: life.ECOut, Clients: life.Clients, Node: s.node,
			Unregistered: s.client("unregistered"), Unknown: s.client("unknown"), BodyLimit: demoBodyLimit})
	}
	return errors.Join(err, g.stop())
}

// examine verifies the ledger, tampers with a copy, exports packages and checks them.
func (d *demoCommand) examine(ctx context.Context, c console, s *demoSite, r *demoReport) error {
	v := &verifyCommand{Config: s.config}
	o, p, err := v.options(ctx)
	if err != nil {
		return err
	}
	defer p.close()
	if r.Verify, err = verdictOf(ctx, p.cfg.Data, o); err != nil {
		return err
	}
	if r.Tampered, err = tamper(ctx, p.cfg.Data, filepath.Join(s.dir, "tampered"), o); err != nil {
		return fmt.Errorf("tampering with a copy: %w", err)
	}
	w, err := p.openWriter(ctx)
	if err != nil {
		return err
	}
	x, err := newExporter(ctx, w)
	if err == nil {
		r.Packages, err = x.due(ctx, "", "", true)
	}
	if err == nil {
		_, note, nerr := ledger.NewestNote(ctx, w.log)
		err = errors.Join(nerr, os.WriteFile(filepath.Join(s.dir, "checkpoint"), note, 0o600))
	}
	if err = errors.Join(err, w.end()); err != nil {
		return err
	}
	if len(r.Packages) == 0 {
		return errors.New("nothing was exported")
	}
	r.Package = r.Packages[0].Path
	r.Checked, err = checkPackage(ctx, r.Package, s.pki.RootsFile(), s.pki.IntermediatesFile())
	return err
}

// verdictOf verifies the ledger in dir.
func verdictOf(ctx context.Context, dir string, o ledger.VerifyOptions) (*exchange.Verdict, error) {
	log, found, err := openLog(ctx, dir)
	out := exchange.NewVerdict()
	if err == nil {
		out, err = ledger.Verify(ctx, log, o)
		err = errors.Join(err, log.Close())
	}
	if err != nil && len(found) == 0 {
		return nil, err
	}
	for _, f := range found {
		out.Add(f)
	}
	return out, nil
}

// tamper copies a stopped ledger, changes one byte of an entry in the copy, and verifies it.
func tamper(ctx context.Context, dir, to string, o ledger.VerifyOptions) (tampering, error) {
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return tampering{}, err
	}
	log, _, err := ledger.OpenLog(ctx, dir, storeLog())
	if err != nil {
		return tampering{}, err
	}
	n := log.Head.Size / 2
	e, err := log.Entry(ctx, n)
	if err = errors.Join(err, log.Close()); err != nil {
		return tampering{}, err
	}
	t := tampering{Entry: n}
	if t.File, t.Offset, err = flipByte(to, e.Bytes); err != nil {
		return t, err
	}
	v, err := verdictOf(ctx, to, o)
	if err != nil {
		return t, err
	}
	t.Verdict, t.Findings = v.Verdict, v.Findings
	return t, nil
}

// writeFacts leaves DIR/demo.json, last and by rename: whoever waits for it finds everything in place.
func (s *demoSite) writeFacts(r *demoReport) error {
	routes := map[string]string{}
	for _, name := range []string{"ec-in", "psp-in", "ec-out", "psp-out"} {
		routes[name] = s.route(name)
	}
	clients := map[string]map[string]string{}
	for _, name := range []string{"node", "ec", "psp", "unregistered", "unknown"} {
		clients[name] = map[string]string{"cert": s.pairs[name].CertFile, "key": s.pairs[name].KeyFile}
	}
	b, err := json.MarshalIndent(map[string]any{"gateway_url": routes, "admin_url": "http://" + s.admin, "ca": s.pki.RootsFile(),
		"intermediates": s.pki.IntermediatesFile(), "clients": clients, "config": s.config, "ledger_dir": filepath.Join(s.dir, "ledger"),
		"package": r.Package, "checkpoint": filepath.Join(s.dir, "checkpoint")}, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(s.dir, "demo.json"), append(b, '\n'), 0o600)
}

func sha256sum(b []byte) [32]byte { return sha256.Sum256(b) }
