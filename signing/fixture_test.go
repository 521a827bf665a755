package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"sigillo/internal/testbed"
	"sigillo/signing"
)

// bed is a development PKI, a test authority in the process, and a seal of the asked key kind.
type bed struct {
	pki  *testbed.PKI
	tsa  *signing.TestTSA
	seal *signing.Seal
	dir  string
}

var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newBed(t testing.TB, key crypto.Signer) *bed {
	t.Helper()
	b := &bed{dir: t.TempDir()}
	var err error
	if b.pki, err = testbed.OpenPKI(b.dir, nil); err != nil {
		t.Fatal(err)
	}
	if b.tsa, err = signing.NewTestTSA(b.pki.TSAKey, b.pki.TSACertificate, b.pki.TSAChain()); err != nil {
		t.Fatal(err)
	}
	certificate, err := b.pki.SealCertificate(key.Public(), "Comune di Prova", "VATIT-77777777777")
	if err != nil {
		t.Fatal(err)
	}
	crls, err := b.pki.RefreshCRLs()
	if err != nil {
		t.Fatal(err)
	}
	b.seal = &signing.Seal{Signer: key, Certificate: certificate, Chain: b.pki.SealChain(), CRLs: ders(crls),
		TSACertificates: b.pki.TSAChain(), Stamper: b.tsa}
	return b
}

func ders(crls []testbed.CRL) (out [][]byte) {
	for _, c := range crls {
		out = append(out, c.DER)
	}
	return out
}

func (b *bed) make(t testing.TB, content []byte) []byte {
	t.Helper()
	p7m, err := b.seal.SealAttached(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	return p7m
}

func (b *bed) file(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (b *bed) options(at time.Time) signing.SealOptions {
	return signing.SealOptions{Roots: b.pki.Roots(), At: at}
}

// openssl runs the judge; its exit status is the verdict.
func openssl(t testing.TB, arguments ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	var out bytes.Buffer
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Stdout, command.Stderr = &out, &out
	err = command.Run()
	return out.String(), err
}

// cmsVerify is step 9 of the stock-tool check: only the file and the roots.
func (b *bed) cmsVerify(t testing.TB, p7m []byte, at time.Time, more ...string) (content []byte, said string, err error) {
	t.Helper()
	in, out := b.file(t, "judged.p7m", p7m), filepath.Join(b.dir, "judged.out")
	said, err = openssl(t, append([]string{"cms", "-verify", "-binary", "-inform", "DER", "-in", in, "-CAfile", b.pki.RootsFile(),
		"-purpose", "any", "-attime", strconv.FormatInt(at.Unix(), 10), "-out", out}, more...)...)
	if err == nil {
		if content, err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	return content, said, err
}

// checks lists what was found, sorted, for comparison.
func checks(findings []*signing.SealFinding) []signing.SealCheck {
	out := make([]signing.SealCheck, 0, len(findings))
	for _, f := range findings {
		out = append(out, f.Check)
	}
	slices.Sort(out)
	return out
}

func expectChecks(t testing.TB, findings []*signing.SealFinding, want ...signing.SealCheck) {
	t.Helper()
	slices.Sort(want)
	if got := checks(findings); !slices.Equal(got, want) {
		t.Errorf("findings %v, want %v", got, want)
		for _, f := range findings {
			t.Log(f)
		}
	}
}

func expectError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

var _ signing.Stamper = (*signing.TestTSA)(nil)

var oneRoot = func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c} }

func parsePEM(t testing.TB, raw []byte) []*x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(raw)
	if block == nil {
		t.Fatal("no PEM block")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return oneRoot(c)
}
