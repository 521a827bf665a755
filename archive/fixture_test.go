package archive

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// authority is a small PKI on disk for openssl: root, intermediate, a seal and a time-stamp authority.
type authority struct {
	dir                  string
	roots, intermediates string // PEM files
	chain                []byte
	crls                 map[string][]byte
	list                 [][]byte // the same, DER
}

func tool(t testing.TB, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("%s is missing", n)
		}
	}
}

func run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

// newAuthority makes a PKI whose seal key is RSA or P-256.
func newAuthority(t testing.TB, rsaSeal bool) *authority {
	t.Helper()
	tool(t, "openssl")
	a := &authority{dir: t.TempDir(), crls: map[string][]byte{}}
	now := time.Now()
	serial := int64(0)
	make := func(name string, key crypto.Signer, template *x509.Certificate, parent *x509.Certificate, parentKey crypto.Signer) *x509.Certificate {
		serial++
		template.SerialNumber, template.Subject = big.NewInt(serial), pkix.Name{CommonName: name, Organization: []string{"Sigillo test"}}
		template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
		template.BasicConstraintsValid = true
		if parent == nil {
			parent, parentKey = template, key
		}
		der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey))
		a.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		a.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
		return must(x509.ParseCertificate(der))
	}
	ec := func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }
	ca := x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	rootKey, subKey, sealKey := ec(), ec(), ec()
	if rsaSeal {
		sealKey = must(rsa.GenerateKey(rand.Reader, 3072))
	}
	root := make("root", rootKey, &x509.Certificate{IsCA: true, KeyUsage: ca}, nil, nil)
	sub := make("sub", subKey, &x509.Certificate{IsCA: true, KeyUsage: ca}, root, rootKey)
	make("seal", sealKey, &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment}, sub, subKey)
	make("other", ec(), &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature}, nil, nil)
	stamping := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))
	make("tsa", ec(), &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: stamping}}}, root, rootKey)
	for name, by := range map[string]struct {
		cert *x509.Certificate
		key  crypto.Signer
	}{"root.crl.der": {root, rootKey}, "sub.crl.der": {sub, subKey}} {
		a.crls[name] = must(x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}, by.cert, by.key))
		a.list = append(a.list, a.crls[name])
	}
	a.chain = a.read("root.pem", "sub.pem", "tsa.pem")
	a.roots = filepath.Join(a.dir, "root.pem")
	a.intermediates = a.write("intermediates.pem", a.read("sub.pem", "tsa.pem"))
	a.write("tsa.cnf", []byte(`[tsa]
default_tsa = config
[config]
serial = `+filepath.Join(a.dir, "serial")+`
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`))
	a.write("serial", []byte("01\n"))
	return a
}

func (a *authority) write(name string, data []byte) string {
	p := filepath.Join(a.dir, name)
	if err := os.WriteFile(p, data, 0o600); err != nil {
		panic(err)
	}
	return p
}

func (a *authority) read(names ...string) (all []byte) {
	for _, n := range names {
		all = append(all, must(os.ReadFile(filepath.Join(a.dir, n)))...)
	}
	return all
}

func (a *authority) openssl(ctx context.Context, arguments ...string) error {
	c := exec.CommandContext(ctx, "openssl", arguments...)
	c.Dir = a.dir
	if out, err := c.CombinedOutput(); err != nil {
		return errors.New(err.Error() + ": " + string(out))
	}
	return nil
}

// query asks for a time-stamp and gives request and answer, both openssl's.
func (a *authority) query(ctx context.Context, data []byte) (query, reply []byte, err error) {
	a.write("stamp.data", data)
	if err := a.openssl(ctx, "ts", "-query", "-data", "stamp.data", "-sha256", "-cert", "-out", "stamp.tsq"); err != nil {
		return nil, nil, err
	}
	if err := a.openssl(ctx, "ts", "-reply", "-config", "tsa.cnf", "-section", "config", "-queryfile", "stamp.tsq", "-signer", "tsa.pem", "-inkey", "tsa.key", "-chain", "root.pem", "-out", "stamp.tsr"); err != nil {
		return nil, nil, err
	}
	return a.read("stamp.tsq"), a.read("stamp.tsr"), nil
}

// Stamp makes authority a Stamper.
func (a *authority) Stamp(ctx context.Context, data []byte) ([]byte, error) {
	_, reply, err := a.query(ctx, data)
	return reply, err
}

// SealAttached makes it a Sealer: openssl seals, then token and revocation lists are put in.
func (a *authority) SealAttached(ctx context.Context, content []byte) ([]byte, error) {
	return a.sealBy(ctx, "seal", content)
}

func (a *authority) sealBy(ctx context.Context, name string, content []byte) ([]byte, error) {
	a.write("seal.data", content)
	a.write("seal.chain", a.read("sub.pem", "root.pem", "tsa.pem"))
	if err := a.openssl(ctx, "cms", "-sign", "-cades", "-binary", "-nodetach", "-in", "seal.data", "-outform", "DER", "-md", "sha256",
		"-signer", name+".pem", "-inkey", name+".key", "-certfile", "seal.chain", "-out", "seal.p7m"); err != nil {
		return nil, err
	}
	return a.augment(ctx, a.read("seal.p7m"))
}

// children splits a constructed DER value.
func children(der []byte) (all []asn1.RawValue) {
	var outer asn1.RawValue
	must(asn1.Unmarshal(der, &outer))
	for rest := outer.Bytes; len(rest) > 0; {
		var v asn1.RawValue
		rest = must(asn1.Unmarshal(rest, &v))
		all = append(all, v)
	}
	return all
}

func der(class, tag int, parts ...[]byte) []byte {
	return must(asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: bytes.Join(parts, nil)}))
}

// augment adds a signature time-stamp and the revocation lists to a CMS of one signer (CAdES-B-LT).
func (a *authority) augment(ctx context.Context, p7m []byte) ([]byte, error) {
	info := children(p7m)
	fields := children(info[1].Bytes)
	signer := children(children(fields[len(fields)-1].FullBytes)[0].FullBytes)
	signature := signer[len(signer)-1]
	reply, err := a.Stamp(ctx, signature.Bytes)
	if err != nil {
		return nil, err
	}
	oid := must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}))
	token := children(reply)[1].FullBytes
	var parts [][]byte
	for _, f := range signer {
		parts = append(parts, f.FullBytes)
	}
	parts = append(parts, der(2, 1, der(0, 16, oid, der(0, 17, token))))
	var outer [][]byte
	for _, f := range fields[:len(fields)-1] {
		outer = append(outer, f.FullBytes)
	}
	outer = append(outer, der(2, 1, a.list...), der(0, 17, der(0, 16, parts...)))
	return der(0, 16, info[0].FullBytes, der(2, 0, der(0, 16, outer...))), nil
}

// VerifyStamp makes it a StampVerifier with openssl as the judge.
func (a *authority) VerifyStamp(ctx context.Context, data, reply []byte, _ time.Time) (time.Time, error) {
	a.write("judge.data", data)
	a.write("judge.tsr", reply)
	if err := a.openssl(ctx, "ts", "-verify", "-in", "judge.tsr", "-data", "judge.data", "-CAfile", a.roots, "-untrusted", a.intermediates); err != nil {
		return time.Time{}, err
	}
	out, err := exec.CommandContext(ctx, "openssl", "ts", "-reply", "-in", filepath.Join(a.dir, "judge.tsr"), "-text").Output()
	if err != nil {
		return time.Time{}, err
	}
	_, after, _ := strings.Cut(string(out), "Time stamp: ")
	line, _, _ := strings.Cut(after, "\n")
	return time.Parse("Jan _2 15:04:05 2006 MST", line)
}

// VerifySeal makes it a SealVerifier with openssl as the judge.
func (a *authority) VerifySeal(ctx context.Context, p7m []byte, at time.Time) SealReport {
	a.write("judge.p7m", p7m)
	var report SealReport
	if err := a.openssl(ctx, "cms", "-verify", "-noverify", "-nosigs", "-binary", "-inform", "DER", "-in", "judge.p7m", "-out", "judge.content"); err == nil {
		report.Content = a.read("judge.content")
	}
	if at.IsZero() {
		at = time.Now()
	}
	err := a.openssl(ctx, "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", "judge.p7m", "-CAfile", a.roots, "-purpose", "any",
		"-attime", big.NewInt(at.Unix()).String(), "-crl_check_all", "-out", "judge.verified")
	if err != nil {
		report.Findings = []exchange.Finding{{Check: CheckSeal, Severity: exchange.Broken, Detail: err.Error()}}
	}
	return report
}
