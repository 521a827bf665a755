package testbed_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/testbed"
)

func openPKI(t *testing.T, dir string) *testbed.PKI {
	t.Helper()
	pki, err := testbed.OpenPKI(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pki
}

func pair(t *testing.T, make func(string, string) (*testbed.Pair, error), name string) *testbed.Pair {
	t.Helper()
	p, err := make(name, "Ente di prova")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func openssl(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	out, err := exec.CommandContext(t.Context(), path, arguments...).CombinedOutput()
	return string(out), err
}

// Real handshakes: a known client passes, none and one of an unknown authority do not.
func TestMutualTLS(t *testing.T) {
	pki := openPKI(t, t.TempDir())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	var err error
	if server.TLS, err = pki.ServerTLS(); err != nil {
		t.Fatal(err)
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point
	server.StartTLS()
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	get := func(client *testbed.Pair) (string, error) {
		transport := &http.Transport{TLSClientConfig: pki.ClientTLS(client)}
		defer transport.CloseIdleConnections()
		answer, err := (&http.Client{Transport: transport}).Get("https://localhost:" + port)
		if err != nil {
			return "", err
		}
		defer func() { _ = answer.Body.Close() }()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	if name, err := get(pair(t, pki.Client, "node")); err != nil || name != "node" {
		t.Errorf("known client: %q, %v", name, err)
	}
	for name, client := range map[string]*testbed.Pair{"unknown authority": pair(t, pki.UnknownClient, "unknown"), "no certificate": nil} {
		if _, err := get(client); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := pki.Client("../x", "X"); err == nil {
		t.Error("a name that leaves the directory is accepted")
	}
}

// openssl's view of all three trees, with their lists.
func TestTreesJudgedByOpenSSL(t *testing.T) {
	dir := t.TempDir()
	pki := openPKI(t, dir)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := pki.SealCertificate(key.Public(), "Comune di Prova", "VATIT-77777777777")
	if err != nil {
		t.Fatal(err)
	}
	server, err := pki.Server()
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	lists := file("lists.pem")
	var pem bytes.Buffer
	for _, name := range []string{"seal-root", "seal-sub", "tsa-root", "tls-root", "tls-intermediate"} {
		out, err := openssl(t, "crl", "-inform", "DER", "-in", file(name+".crl.der"))
		if err != nil {
			t.Fatal(out)
		}
		pem.WriteString(out)
	}
	if err := os.WriteFile(lists, pem.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for purpose, certificate := range map[string]string{"any": file("seal.pem"), "sslserver": server.CertFile, "timestampsign": file("tsa.pem"), "sslclient": pair(t, pki.Client, "ec").CertFile} {
		said, err := openssl(t, "verify", "-x509_strict", "-CAfile", pki.RootsFile(), "-untrusted", pki.IntermediatesFile(), "-CRLfile", lists, "-crl_check_all", "-purpose", purpose, certificate)
		if err != nil {
			t.Errorf("%s: %s", certificate, said)
		}
	}
	if said, err := openssl(t, "verify", "-CAfile", pki.RootsFile(), pair(t, pki.UnknownClient, "unknown").CertFile); err == nil {
		t.Errorf("unknown authority: %s", said)
	}
	if text, err := openssl(t, "x509", "-in", file("seal.pem"), "-noout", "-subject"); err != nil || !strings.Contains(text, "organizationIdentifier = VATIT-77777777777") {
		t.Errorf("subject: %s", text)
	}
	if seal.IsCA || seal.KeyUsage&x509.KeyUsageContentCommitment == 0 || len(seal.AuthorityKeyId) == 0 || len(seal.SubjectKeyId) == 0 {
		t.Errorf("seal certificate: %+v", seal)
	}
}

// A kept directory opens again with the same keys and certificates, and issues its lists anew.
func TestKeptDirectory(t *testing.T) {
	dir := t.TempDir()
	first := openPKI(t, dir)
	client := pair(t, first.Client, "psp")
	if err := first.Revoke(client.Certificate); err != nil {
		t.Fatal(err)
	}
	if err := first.Revoke(pair(t, first.UnknownClient, "x").Certificate); err == nil {
		t.Error("revoked a certificate of another authority")
	}
	again := openPKI(t, dir)
	if !again.SealSub.Certificate.Equal(first.SealSub.Certificate) || !again.TSACertificate.Equal(first.TSACertificate) ||
		!pair(t, again.Client, "psp").Certificate.Equal(client.Certificate) {
		t.Error("certificates changed")
	}
	der, err := os.ReadFile(filepath.Join(dir, "tls-intermediate.crl.der"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(client.Certificate.SerialNumber) != 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if now := time.Now(); !list.ThisUpdate.Before(now) || list.NextUpdate.Sub(now) < 29*24*time.Hour {
		t.Errorf("window %s to %s", list.ThisUpdate, list.NextUpdate)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(keys) < 8 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", key, info.Mode(), err)
		}
	}
	if _, err := tls.LoadX509KeyPair(client.CertFile, client.KeyFile); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "seal-root.key"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := testbed.OpenPKI(dir, nil); err == nil || !strings.Contains(err.Error(), "seal-root") {
		t.Errorf("a broken key: %v", err)
	}
}
