package signing_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigillo/signing"
)

func keyKinds(t *testing.T) map[string]crypto.Signer {
	return map[string]crypto.Signer{"RSA-3072": rsaKey(), "P-256": ecKey(t)}
}

// A3: openssl accepts the seal with nothing but the file and the roots, at the time of a later archive stamp.
func TestSealJudgedByOpenSSL(t *testing.T) {
	content := bytes.Repeat([]byte("<PIndex>città\r\n</PIndex>"), 5000)
	for name, key := range keyKinds(t) {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, key)
			p7m := b.make(t, content)
			got, said, err := b.cmsVerify(t, p7m, time.Now(), "-cades", "-crl_check_all")
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("openssl: %v, content equal %t: %s", err, bytes.Equal(got, content), said)
			}
			report, findings := signing.VerifySeal(p7m, b.options(time.Now()))
			expectChecks(t, findings)
			if !bytes.Equal(report.Content, content) || !report.HasTimeStamp || !report.Signer.Equal(b.seal.Certificate) ||
				report.SigningTime.IsZero() || report.StampTime.IsZero() || len(report.CRLs) != 3 {
				t.Errorf("report: %+v", report)
			}
			if !report.RevocationFrom.Before(report.StampTime) || !report.RevocationUntil.After(report.StampTime) {
				t.Errorf("stamp at %s outside the lists' window %s to %s", report.StampTime, report.RevocationFrom, report.RevocationUntil)
			}
			printed, err := openssl(t, "cms", "-cmsout", "-noout", "-print", "-inform", "DER", "-in", b.file(t, "p.p7m", p7m))
			if err != nil || strings.Count(printed, "object: signingTime") != 1 || !strings.Contains(printed, "id-smime-aa-signingCertificateV2") {
				t.Errorf("attributes: %v %s", err, printed)
			}
			if name == "RSA-3072" && !regexp.MustCompile(`algorithm: sha256WithRSAEncryption[^\n]*\n\s*parameter: NULL`).MatchString(printed) {
				t.Error("RSA signature algorithm without NULL parameters")
			}
		})
	}
}

// extractStamp is extract_tst.sh: the token and the signature value as `openssl asn1parse` locates them.
func extractStamp(t *testing.T, b *bed, p7m []byte) (token, signature []byte) {
	t.Helper()
	listing, err := openssl(t, "asn1parse", "-inform", "DER", "-in", b.file(t, "parsed.p7m", p7m))
	if err != nil {
		t.Fatal(listing)
	}
	lines := strings.Split(listing, "\n")
	place := regexp.MustCompile(`^ *(\d+):d=(\d+) +hl=(\d+) +l= *(\d+)`)
	cut := func(line string, header bool) []byte {
		m := place.FindStringSubmatch(line)
		offset, _ := strconv.Atoi(m[1])
		hl, _ := strconv.Atoi(m[3])
		length, _ := strconv.Atoi(m[4])
		if header {
			return p7m[offset : offset+hl+length]
		}
		return p7m[offset+hl : offset+hl+length]
	}
	for i, line := range lines {
		if strings.Contains(line, "id-smime-aa-timeStampToken") {
			return cut(lines[i+2], true), signature
		}
		if strings.Contains(line, "OCTET STRING") && strings.Contains(line, ":d=5 ") {
			signature = cut(line, false)
		}
	}
	t.Fatal("no signature time-stamp found")
	return nil, nil
}

// A6: the signature time-stamp is over the signature value; a token of another seal is refused by both judges.
func TestSignatureTimeStamp(t *testing.T) {
	b := newBed(t, ecKey(t))
	one, two := b.make(t, []byte("one")), b.make(t, []byte("two"))
	token, signature := extractStamp(t, b, one)
	other, _ := extractStamp(t, b, two)
	judge := func(token []byte) (string, error) {
		return openssl(t, "ts", "-verify", "-token_in", "-in", b.file(t, "x.tst", token), "-data", b.file(t, "x.sig", signature), "-CAfile", b.pki.RootsFile())
	}
	if said, err := judge(token); err != nil {
		t.Errorf("openssl refuses the token: %s", said)
	}
	if said, err := judge(other); err == nil {
		t.Errorf("openssl accepts another seal's token: %s", said)
	}
	if len(token) != len(other) {
		t.Skip("tokens differ in length, the swap by bytes is not possible this time")
	}
	_, findings := signing.VerifySeal(bytes.Replace(one, token, other, 1), b.options(time.Now()))
	expectChecks(t, findings, signing.StampBroken)
	expectError(t, findings[0], signing.ErrStampImprint)
}

func TestTamperedContent(t *testing.T) {
	b := newBed(t, ecKey(t))
	p7m := b.make(t, []byte("importo 100,00"))
	changed := bytes.Replace(p7m, []byte("100,00"), []byte("900,00"), 1)
	if _, said, err := b.cmsVerify(t, changed, time.Now(), "-cades"); err == nil {
		t.Errorf("openssl accepts it: %s", said)
	}
	_, findings := signing.VerifySeal(changed, b.options(time.Now()))
	expectChecks(t, findings, signing.SealContent)
}

// Every byte of a seal matters: whatever one changes is found, or changes nothing that the seal says.
func TestEveryByteFlipped(t *testing.T) {
	b := newBed(t, ecKey(t))
	p7m := b.make(t, []byte("content"))
	good, _ := signing.VerifySeal(p7m, b.options(time.Now()))
	silent := 0
	for i := range p7m {
		changed := bytes.Clone(p7m)
		changed[i] ^= 0x01
		report, findings := signing.VerifySeal(changed, b.options(time.Now()))
		if len(findings) > 0 {
			continue
		}
		silent++
		if !bytes.Equal(report.Content, good.Content) || !report.Signer.Equal(good.Signer) || !report.StampTime.Equal(good.StampTime) {
			t.Errorf("byte %d changed unseen", i)
		}
	}
	t.Logf("%d of %d bytes may change without effect (roots also inside, versions, redundant algorithm identifiers)", silent, len(p7m))
}

// A5: a second certificate for the same key, put in the place of the signer's: the signature still verifies,
// signing-certificate-v2 tells.
func TestSwappedCertificate(t *testing.T) {
	key := ecKey(t)
	b := newBed(t, key)
	p7m := b.make(t, []byte("content"))
	own := b.seal.Certificate
	other := own
	for other == own || len(other.Raw) != len(own.Raw) {
		var err error
		if other, err = b.pki.SealCertificate(key.Public(), "Comune di Prova", "VATIT-77777777777"); err != nil {
			t.Fatal(err)
		}
	}
	swapped := bytes.Replace(p7m, own.Raw, other.Raw, 1)
	// now the first place of the old serial number is the signer's identifier, which no signature covers
	swapped = bytes.Replace(swapped, own.SerialNumber.Bytes(), other.SerialNumber.Bytes(), 1)
	if _, said, err := b.cmsVerify(t, swapped, time.Now()); err != nil {
		t.Fatalf("the swap itself is broken: %s", said)
	}
	if _, said, err := b.cmsVerify(t, swapped, time.Now(), "-cades"); err == nil {
		t.Errorf("openssl -cades accepts it: %s", said)
	}
	_, findings := signing.VerifySeal(swapped, b.options(time.Now()))
	expectChecks(t, findings, signing.SealCertificate)
}

func TestRevocationInTheSeal(t *testing.T) {
	b := newBed(t, ecKey(t))
	p7m := b.make(t, []byte("content"))
	late := time.Now().Add(31 * 24 * time.Hour)
	_, findings := signing.VerifySeal(p7m, b.options(late))
	expectChecks(t, findings, signing.SealCRLStale, signing.SealCRLStale, signing.StampRevocation)
	if _, said, err := b.cmsVerify(t, p7m, late, "-cades", "-crl_check_all"); err == nil {
		t.Errorf("openssl accepts stale lists: %s", said)
	}
	_, findings = signing.VerifySeal(p7m, b.options(time.Now().Add(-10*time.Minute)))
	expectChecks(t, findings, signing.SealCRLStale, signing.SealCRLStale, signing.StampRevocation)
	expectError(t, findings[0], signing.ErrCRLNotYet)

	if err := b.pki.Revoke(b.seal.Certificate); err != nil {
		t.Fatal(err)
	}
	crls, err := b.pki.RefreshCRLs()
	if err != nil {
		t.Fatal(err)
	}
	b.seal.CRLs = ders(crls)
	if _, err := b.seal.SealAttached(t.Context(), []byte("content")); !errors.Is(err, signing.ErrCertRevoked) {
		t.Errorf("sealed with a revoked certificate: %v", err)
	}
}

func TestSealNeedsEveryList(t *testing.T) {
	b := newBed(t, ecKey(t))
	all := b.seal.CRLs
	for i, name := range []string{"seal root", "seal sub", "time-stamp root"} {
		b.seal.CRLs = append(append([][]byte{}, all[:i]...), all[i+1:]...)
		p7m, err := b.seal.SealAttached(t.Context(), []byte("content"))
		if !errors.Is(err, signing.ErrCRLMissing) || p7m != nil {
			t.Errorf("without the list of the %s: %v", name, err)
		}
	}
	stale, err := b.pki.IssueCRLs(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	b.seal.CRLs = ders(stale)
	_, err = b.seal.SealAttached(t.Context(), []byte("content"))
	expectError(t, err, signing.ErrCRLStale)
	b.seal.CRLs, b.seal.Chain = all, b.seal.Chain[:1] // the root may be left out
	_, findings := signing.VerifySeal(b.make(t, []byte("content")), b.options(time.Now()))
	expectChecks(t, findings)
}

// pssSigner signs as Vault does when nobody tells it the padding.
type pssSigner struct{ *rsa.PrivateKey }

func (s pssSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return rsa.SignPSS(random, s.PrivateKey, opts.HashFunc(), digest, nil)
}

// otherVersion announces one key and signs with another, as after a rotation between two calls.
type otherVersion struct{ crypto.Signer }

func (s otherVersion) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, err
	}
	return key.Sign(random, digest, opts)
}

type refusingStamper struct{ calls int }

func (r *refusingStamper) Stamp(context.Context, [32]byte) (*signing.Stamp, error) {
	r.calls++
	return nil, signing.ErrStampTransport
}

func TestSealRefusesKeys(t *testing.T) {
	b := newBed(t, ecKey(t))
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, key := range map[string]crypto.Signer{"Ed25519": edwards, "RSA-2048": short, "P-384": p384} {
		seal := *b.seal
		seal.Signer = key
		if seal.Certificate, err = b.pki.SealCertificate(key.Public(), "X", "VATIT-1"); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.SealAttached(t.Context(), []byte("x")); !errors.Is(err, signing.ErrKeyUnfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	seal := *b.seal
	seal.Signer = ecKey(t)
	_, err = seal.SealAttached(t.Context(), []byte("x"))
	expectError(t, err, signing.ErrKeyMismatch)

	stamper := new(refusingStamper)
	seal.Signer, seal.Stamper = otherVersion{b.seal.Signer}, stamper
	if _, err := seal.SealAttached(t.Context(), []byte("x")); err == nil || !strings.Contains(err.Error(), "key version or padding") {
		t.Errorf("signature of another key version: %v", err)
	}
	rsaBed := newBed(t, rsaKey())
	pss := *rsaBed.seal
	pss.Signer, pss.Stamper = pssSigner{rsaKey().(*rsa.PrivateKey)}, stamper
	if _, err := pss.SealAttached(t.Context(), []byte("x")); err == nil || !strings.Contains(err.Error(), "key version or padding") {
		t.Errorf("PSS signature: %v", err)
	}
	if stamper.calls != 0 {
		t.Error("a time-stamp was asked for over a signature that does not verify")
	}
	seal.Signer = b.seal.Signer
	p7m, err := seal.SealAttached(t.Context(), []byte("x"))
	if expectError(t, err, signing.ErrStampTransport); p7m != nil {
		t.Error("a seal without its time-stamp was returned")
	}
}

// Seals of other makers: openssl's own, by issuer and by key identifier, in DER and in BER.
func TestForeignSeals(t *testing.T) {
	key := ecKey(t)
	b := newBed(t, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	in, out := b.file(t, "in.txt", []byte("foreign")), filepath.Join(b.dir, "foreign.p7m")
	sign := func(more ...string) []byte {
		said, err := openssl(t, append([]string{"cms", "-sign", "-nodetach", "-binary", "-in", in, "-outform", "DER", "-out", out, "-md", "sha256", "-keyform", "DER",
			"-inkey", b.file(t, "key.der", der), "-signer", filepath.Join(b.dir, "seal.pem"), "-certfile", filepath.Join(b.dir, "seal-sub.pem")}, more...)...)
		if err != nil {
			t.Fatal(said)
		}
		p7m, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return p7m
	}
	basic := []signing.SealCheck{signing.SealCRLMissing, signing.SealCRLMissing, signing.StampMissing}
	for _, more := range [][]string{{"-cades"}, {"-cades", "-keyid"}} {
		report, findings := signing.VerifySeal(sign(more...), b.options(time.Now()))
		expectChecks(t, findings, basic...)
		if string(report.Content) != "foreign" || !report.Signer.Equal(b.seal.Certificate) {
			t.Errorf("%v: content %q", more, report.Content)
		}
	}
	_, findings := signing.VerifySeal(sign(), b.options(time.Now()))
	expectChecks(t, findings, append(basic, signing.SealAttributes)...) // a CMS, but no CAdES
	_, findings = signing.VerifySeal(sign("-cades", "-stream"), b.options(time.Now()))
	expectChecks(t, findings, signing.SealFormat)
	_, findings = signing.VerifySeal(sign("-cades"), signing.SealOptions{Roots: oneRoot(b.pki.TLSRoot.Certificate)})
	expectChecks(t, findings, signing.SealTrust, signing.StampMissing)
}

// A4: judges of other makes, where they are installed.
func TestSealJudgedByCerttool(t *testing.T) {
	path, err := exec.LookPath("certtool")
	if err != nil {
		t.Skip("certtool (gnutls-bin) is not installed")
	}
	b := newBed(t, rsaKey())
	in := b.file(t, "g.p7m", b.make(t, []byte("content")))
	out, err := exec.CommandContext(t.Context(), path, "--p7-verify", "--inder", "--infile", in, "--load-ca-certificate", filepath.Join(b.dir, "seal-root.pem")).CombinedOutput()
	if err != nil {
		t.Errorf("certtool: %s", out)
	}
}
