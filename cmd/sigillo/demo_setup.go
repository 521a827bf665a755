package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"sigillo/internal/testbed"
	"sigillo/signing"
)

// demoSite is everything that the demo puts on this machine: a development PKI, keys in files, three
// fake systems, and a configuration in which DIR works afterwards with every verb.
type demoSite struct {
	dir    string
	config string
	pki    *testbed.PKI
	ec     *testbed.Peer
	psp    *testbed.Peer
	node   *testbed.Peer

	gateway, admin string // addresses
	pairs          map[string]*testbed.Pair
}

// demoBodyLimit is small, so that a body over the limit is quickly made.
const demoBodyLimit = 1 << 20

// newDemoSite builds the site in dir, which must be empty or absent.
func newDemoSite(dir string) (s *demoSite, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return nil, fmt.Errorf("%s is not empty: give a new directory", dir)
	}
	s = &demoSite{dir: dir, config: filepath.Join(dir, "sigillo.yaml"), pairs: map[string]*testbed.Pair{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if s.pki, err = testbed.OpenPKI(filepath.Join(dir, "pki"), nil); err != nil {
		return nil, fmt.Errorf("making the development PKI: %w", err)
	}
	keys, err := signing.CreateKeyDir(filepath.Join(dir, "keys"), signing.SealP256)
	if err != nil {
		return nil, fmt.Errorf("making the demo's keys: %w", err)
	}
	if err := s.certificates(keys); err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	if err := keys.Close(); err != nil {
		return nil, err
	}
	if err := s.peers(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.configure(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *demoSite) certificates(keys *signing.KeyDir) error {
	for name, organisation := range map[string]string{"node": "pagoPA (fake)", "ec": "Comune di Prova", "psp": "Banca di Prova",
		"unregistered": "Ente mai registrato", "gateway": "Sigillo demo"} {
		pair, err := s.pki.Client(name, organisation)
		if err != nil {
			return err
		}
		s.pairs[name] = pair
	}
	unknown, err := s.pki.UnknownClient("unknown", "Sconosciuto")
	if err != nil {
		return err
	}
	s.pairs["unknown"] = unknown
	if s.pairs["server"], err = s.pki.Server(); err != nil {
		return err
	}
	seal, err := keys.CryptoSigner(context.Background(), signing.UseSeal)
	if err != nil {
		return err
	}
	own, err := s.pki.SealCertificate(seal.Public(), "Comune di Prova", "VATIT-"+testbed.ECFiscalCode)
	if err != nil {
		return err
	}
	return errors.Join(writeCertificates(filepath.Join(s.dir, "seal.pem"), own), writeCertificates(filepath.Join(s.dir, "seal-chain.pem"), s.pki.SealChain()...))
}

func writeCertificates(path string, list ...*x509.Certificate) error {
	var b bytes.Buffer
	for _, c := range list {
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return err
		}
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// peers starts the fake systems behind the gateway.
func (s *demoSite) peers() error {
	start := func(role testbed.Role) (*testbed.Peer, error) {
		server, err := s.pki.ServerTLS()
		if err != nil {
			return nil, err
		}
		return testbed.NewPeer(testbed.PeerOptions{Role: role, TLS: server, Log: filepath.Join(s.dir, "upstream-"+string(role)+".jsonl"), BigAnswer: 4 * demoBodyLimit})
	}
	var err error
	if s.ec, err = start(testbed.RoleEC); err != nil {
		return err
	}
	if s.psp, err = start(testbed.RolePSP); err != nil {
		return err
	}
	s.node, err = start(testbed.RoleNode)
	return err
}

func (s *demoSite) close() error {
	var err error
	for _, p := range []*testbed.Peer{s.ec, s.psp, s.node} {
		if p != nil {
			err = errors.Join(err, p.Close())
		}
	}
	return err
}

// client is an HTTP client with the certificate of that name.
func (s *demoSite) client(name string) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: s.pki.ClientTLS(s.pairs[name]),
		MaxIdleConnsPerHost: 32, ForceAttemptHTTP2: true}}
}

// route is the base URL of a route as callers use it.
func (s *demoSite) route(name string) string { return "https://" + s.gateway + "/" + name }

// freeAddress is a loopback address that nobody listened on a moment ago: the demo's configuration must
// name its ports, so that a later run finds the callers' URLs unchanged.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// configure writes the demo's configuration: the same file that a user would write.
func (s *demoSite) configure() error {
	var err error
	if s.gateway, err = freeAddress(); err != nil {
		return err
	}
	if s.admin, err = freeAddress(); err != nil {
		return err
	}
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "subscription.key"), []byte(hex.EncodeToString(key)), 0o600); err != nil {
		return err
	}
	crls, err := s.pki.RefreshCRLs()
	if err != nil {
		return err
	}
	data := map[string]any{"Gateway": s.gateway, "Admin": s.admin, "EC": s.ec.URL(), "PSP": s.psp.URL(), "Node": s.node.URL(), "CRLs": crls,
		"Pins": map[string]string{}}
	for name, p := range s.pairs {
		data["Pins"].(map[string]string)[name] = fingerprint(p.TLS)
	}
	t, err := template.New("demo").Parse(demoConfig)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return err
	}
	return os.WriteFile(s.config, out.Bytes(), 0o600)
}

func fingerprint(c tls.Certificate) string { return fmt.Sprintf("%x", sha256sum(c.Certificate[0])) }
