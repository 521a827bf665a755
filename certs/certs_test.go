package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

type issuer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// issue signs a certificate with parent, or with itself.
func issue(t testing.TB, parent *issuer, name string, change ...func(*x509.Certificate)) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.Unix()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	for _, f := range change {
		f(template)
	}
	by := parent
	if by == nil {
		by = &issuer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.Certificate, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{c, key}
}

func ca(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	c.NotBefore, c.NotAfter = now.Add(-48*time.Hour), now.Add(48*time.Hour)
}

func usage(u x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
}

func writePEM(t testing.TB, name string, chain ...*issuer) (certificate, key string) {
	t.Helper()
	var out []byte
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(chain[0].key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), name+".pem"), filepath.Join(t.TempDir(), name+".key")
	for file, data := range map[string][]byte{certificate: out, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestVerifySaysWhy(t *testing.T) {
	root := issue(t, nil, "root", ca)
	middle := issue(t, root, "middle", ca, func(c *x509.Certificate) { c.NotAfter = now.Add(30 * time.Minute) })
	old := issue(t, root, "old", ca, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	other := issue(t, nil, "other", ca)
	trust, err := NewTrust([]*x509.Certificate{root.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	client := usage(x509.ExtKeyUsageClientAuth)
	for name, c := range map[string]struct {
		chain []*issuer
		want  exchange.Reason
	}{
		"none":               {nil, ReasonNoCertificate},
		"good":               {[]*issuer{issue(t, middle, "a", client), middle}, ""},
		"no usage":           {[]*issuer{issue(t, middle, "a"), middle}, ""},
		"direct":             {[]*issuer{issue(t, root, "a", client)}, ""},
		"chain not sent":     {[]*issuer{issue(t, middle, "a", client)}, ReasonUnknownCA},
		"unknown":            {[]*issuer{issue(t, other, "a", client), other}, ReasonUnknownCA},
		"self-signed":        {[]*issuer{issue(t, nil, "a", client)}, ReasonUnknownCA},
		"server only":        {[]*issuer{issue(t, root, "a", usage(x509.ExtKeyUsageServerAuth))}, ReasonNotForClients},
		"expired":            {[]*issuer{issue(t, root, "a", client, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })}, ReasonExpired},
		"not yet":            {[]*issuer{issue(t, root, "a", client, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) })}, ReasonExpired},
		"authority expired":  {[]*issuer{issue(t, old, "a", client), old}, ReasonExpired},
		"issued by a client": {[]*issuer{issue(t, issue(t, root, "fake", client), "a", client), issue(t, root, "fake", client)}, ReasonUnknownCA},
	} {
		var presented []*x509.Certificate
		for _, x := range c.chain {
			presented = append(presented, x.Certificate)
		}
		chain, err := trust.Verify(presented, now)
		if ReasonOf(err) != c.want || (err == nil) != (c.want == "") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if name == "good" && err == nil {
			if !chain.ValidAt(now) || !chain.ValidAt(middle.NotAfter) || chain.ValidAt(middle.NotAfter.Add(time.Second)) || chain.ValidAt(now.Add(-2*time.Hour)) {
				t.Errorf("validity %s to %s is not that of the whole chain", chain.NotBefore, chain.NotAfter)
			}
		}
	}
	if _, err := NewTrust([]*x509.Certificate{issue(t, root, "leaf").Certificate}); err == nil {
		t.Error("a leaf was taken for an authority")
	}
	if _, err := NewTrust(nil); err == nil {
		t.Error("an empty trust was taken")
	}
	// An operator who trusts the issuing authority alone.
	narrow, err := NewTrust([]*x509.Certificate{middle.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := narrow.Verify([]*x509.Certificate{issue(t, middle, "a", client).Certificate}, now); err != nil {
		t.Error(err)
	}
}

func TestOneCertificateIsOneParticipant(t *testing.T) {
	root := issue(t, nil, "root", ca)
	trust, err := NewTrust([]*x509.Certificate{root.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	spiffe := &url.URL{Scheme: "spiffe", Host: "x.it", Path: "/Psp"}
	leaf := issue(t, root, "forwarder", func(c *x509.Certificate) {
		c.DNSNames, c.URIs = []string{"Forwarder.platform.pagopa.it", "both.it"}, []*url.URL{spiffe}
	})
	chain, err := trust.Verify([]*x509.Certificate{leaf.Certificate}, now)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(leaf.Raw)
	sha := hex.EncodeToString(digest[:])
	p := func(id string, pins ...Pin) Participant {
		return Participant{ID: id, Roles: []string{"ec"}, Pins: pins}
	}
	bySubject, bySAN := Pin{Subject: "CN=forwarder", Issuer: "CN=root"}, Pin{SAN: "forwarder.PLATFORM.pagopa.it", Issuer: "CN=root"}
	for name, c := range map[string]struct {
		participants []Participant
		at           time.Time
		want         string // id or reason
	}{
		"digest":              {[]Participant{p("ec:1", Pin{SHA256: sha})}, now, "ec:1"},
		"digest with colons":  {[]Participant{p("ec:1", Pin{SHA256: strings.ToUpper(sha[:2] + ":" + sha[2:])})}, now, "ec:1"},
		"subject":             {[]Participant{p("ec:1", bySubject)}, now, "ec:1"},
		"san":                 {[]Participant{p("ec:1", bySAN)}, now, "ec:1"},
		"spiffe":              {[]Participant{p("ec:1", Pin{SAN: "spiffe://x.it/Psp", Issuer: "CN=root"})}, now, "ec:1"},
		"spiffe other case":   {[]Participant{p("ec:1", Pin{SAN: "spiffe://x.it/psp", Issuer: "CN=root"})}, now, "unregistered"},
		"digest before names": {[]Participant{p("ec:2", bySubject, bySAN), p("ec:1", Pin{SHA256: sha})}, now, "ec:1"},
		"other issuer":        {[]Participant{p("ec:1", Pin{Subject: "CN=forwarder", Issuer: "CN=other"})}, now, "unregistered"},
		"two names, one":      {[]Participant{p("ec:1", bySubject, bySAN)}, now, "ec:1"},
		"two names, two":      {[]Participant{p("ec:1", bySubject), p("ec:2", bySAN)}, now, "ambiguous"},
		"two san, two":        {[]Participant{p("ec:1", Pin{SAN: "both.it", Issuer: "CN=root"}), p("ec:2", bySAN)}, now, "ambiguous"},
		"nobody":              {nil, now, "unregistered"},
		"not in force yet":    {[]Participant{{ID: "ec:1", Roles: []string{"ec"}, Pins: []Pin{bySAN}, NotBefore: now.Add(1)}}, now, "unregistered"},
		"no longer in force":  {[]Participant{{ID: "ec:1", Roles: []string{"ec"}, Pins: []Pin{bySAN}, NotAfter: now.Add(-1)}}, now, "unregistered"},
	} {
		registry, err := NewRegistry(c.participants)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := ""
		if found, err := registry.Identify(chain, c.at); err != nil {
			got = string(ReasonOf(err))
		} else {
			got = found.ID
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	for want, participants := range map[string][]Participant{
		"identifies ec:1 too":      {p("ec:1", Pin{SHA256: sha}), p("ec:2", Pin{SHA256: strings.ToUpper(sha)})},
		"pin 1 identifies ec:1":    {p("ec:1", bySAN), p("ec:2", Pin{SAN: strings.ToLower(bySAN.SAN), Issuer: "CN=root"})},
		"stands twice":             {p("ec:1"), p("ec:1")},
		"not 64 hex digits":        {p("ec:1", Pin{SHA256: "abcd"})},
		"stands alone":             {p("ec:1", Pin{SHA256: sha, Issuer: "CN=root"})},
		"issuer is missing":        {p("ec:1", Pin{Subject: "CN=x"})},
		"write sha256, or subject": {p("ec:1", Pin{Issuer: "CN=x"})},
		"write ec:, psp:":          {p("7777")},
		"roles is empty":           {{ID: "ec:1"}},
		"only ec, psp and node":    {{ID: "ec:1", Roles: []string{"admin"}}},
		"ends before it begins":    {{ID: "ec:1", Roles: []string{"ec"}, NotBefore: now, NotAfter: now.Add(-1)}},
		"speaks_for":               {{ID: "ec:1", Roles: []string{"ec"}, SpeaksFor: []string{"all"}}},
	} {
		if _, err := NewRegistry(participants); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// TestNamesAsOpenssl: what openssl prints can be pasted into a pin.
func TestNamesAsOpenssl(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing: install the Debian package openssl")
	}
	text := func(oid asn1.ObjectIdentifier, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: value}
	}
	for _, name := range []pkix.Name{
		{CommonName: "plain"},
		{Country: []string{"IT"}, Organization: []string{"Comune di Forlì, \"Servizi\"; <a+b>"}, CommonName: "x=y\\z"},
		{CommonName: " #spaces ", SerialNumber: "12", Locality: []string{"#Roma"}, Province: []string{"RM"}, StreetAddress: []string{"Via"}, PostalCode: []string{"00100"}},
		{ExtraNames: []pkix.AttributeTypeAndValue{
			text(asn1.ObjectIdentifier{2, 5, 4, 97}, "PSDIT-BI-12345"), text(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, "a@b.it"),
			text(asn1.ObjectIdentifier{2, 5, 4, 42}, "Anna"), text(asn1.ObjectIdentifier{2, 5, 4, 4}, "Rossi"), text(asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, "it"),
			text(asn1.ObjectIdentifier{2, 5, 4, 15}, "Government Entity"),
		}},
	} {
		c := issue(t, nil, "", func(c *x509.Certificate) { c.Subject = name })
		file, _ := writePEM(t, "c", c)
		out, err := exec.Command(openssl, "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want := strings.TrimPrefix(strings.TrimSuffix(string(out), "\n"), "subject=")
		if got := DistinguishedName(c.RawSubject); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if DistinguishedName([]byte("nonsense")) != "" {
		t.Error("nonsense has a name")
	}
}

func FuzzDistinguishedName(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add(issue(f, nil, "seed").RawSubject)
	f.Fuzz(func(t *testing.T, der []byte) {
		if name := DistinguishedName(der); strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			t.Errorf("%q", name)
		}
	})
}

func TestLoad(t *testing.T) {
	root := issue(t, nil, "root", ca)
	middle := issue(t, root, "middle", ca)
	leaf := issue(t, middle, "leaf")
	chainFile, keyFile := writePEM(t, "good", leaf, middle, root)
	c, err := LoadServerCertificate(chainFile, keyFile)
	if err != nil || len(c.Certificate) != 3 || c.Leaf.Subject.CommonName != "leaf" {
		t.Fatalf("%v %+v", err, c)
	}
	trust, err := LoadTrust(chainFileOf(t, root, middle))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Verify([]*x509.Certificate{leaf.Certificate}, now); err != nil {
		t.Errorf("an intermediate of the trust file was not used: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gap, gapKey := writePEM(t, "gap", leaf, root)
	for want, f := range map[string]func() error{
		"put the leaf first":    func() error { _, err := LoadServerCertificate(gap, gapKey); return err },
		"private key":           func() error { _, err := LoadServerCertificate(chainFile, otherKey(t)); return err },
		"is missing":            func() error { _, err := LoadServerCertificate("", keyFile); return err },
		"reading a PEM file":    func() error { _, err := LoadTrust("absent.pem"); return err },
		"no PEM block":          func() error { _, err := LoadTrust(empty); return err },
		"is not a certificate ": func() error { _, err := LoadTrust(chainFileOf(t, leaf)); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func chainFileOf(t testing.TB, chain ...*issuer) string {
	file, _ := writePEM(t, "trust", chain...)
	return file
}

func otherKey(t testing.TB) string {
	_, key := writePEM(t, "other", issue(t, nil, "other"))
	return key
}
