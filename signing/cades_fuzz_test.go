package signing_test

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigillo/signing"
)

// shared finds a reference file, or skips and says which is missing.
func shared(t testing.TB, path string) []byte {
	t.Helper()
	root := os.Getenv("SIGILLO_SHARED")
	if root == "" {
		directory, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for ; directory != filepath.Dir(directory); directory = filepath.Dir(directory) {
			if _, err := os.Stat(filepath.Join(directory, "go.mod")); err == nil {
				break
			}
		}
		root = filepath.Join(directory, "..", "shared")
	}
	content, err := os.ReadFile(filepath.Join(root, "data", "conservation", filepath.FromSlash(path)))
	if err != nil {
		t.Skipf("reference data is missing: ../shared/data/conservation/%s", path)
	}
	return content
}

// Bytes of strangers end in findings, never in a panic; and what still verifies has not been changed.
func FuzzVerifySeal(f *testing.F) {
	b := newBed(f, ecKey(f))
	content := []byte("content")
	p7m := b.make(f, content)
	at := time.Now()
	f.Add(p7m)
	f.Add(p7m[:len(p7m)/2])
	f.Add([]byte("\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\x30\x80"))
	f.Add([]byte("\x30\x84\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, input []byte) {
		report, findings := signing.VerifySeal(input, b.options(at))
		if len(findings) == 0 && string(report.Content) != string(content) {
			t.Errorf("forged: %q", report.Content)
		}
	})
}

func FuzzVerifyStamp(f *testing.F) {
	b := newBed(f, ecKey(f))
	digest := sha256.Sum256([]byte("data"))
	stamp, err := b.tsa.Stamp(f.Context(), digest)
	if err != nil {
		f.Fatal(err)
	}
	roots := b.pki.Roots()
	f.Add(stamp.Response)
	f.Add(stamp.Request)
	f.Fuzz(func(t *testing.T, input []byte) {
		if got, err := signing.VerifyStamp(input, digest, roots, time.Time{}); err == nil && !got.Time.Equal(stamp.Time) {
			t.Errorf("forged: %s", got.Time)
		}
		if _, err := b.tsa.Respond(input); err != nil {
			t.Errorf("the authority must answer: %v", err)
		}
	})
}

// A20: deep nesting and indefinite lengths of megabytes are refused at once, without recursion.
func TestHostileShapes(t *testing.T) {
	for name, unit := range map[string]string{"indefinite": "\x30\x80", "indefinite octets": "\x24\x80", "set in set": "\x31\x84\x00\x7f\xff\xf0"} {
		hostile := make([]byte, 0, 8<<20)
		for len(hostile)+len(unit) <= cap(hostile) {
			hostile = append(hostile, unit...)
		}
		_, findings := signing.VerifySeal(hostile, signing.SealOptions{})
		if len(findings) != 1 || findings[0].Check != signing.SealFormat {
			t.Errorf("%s: %v", name, findings)
		}
		if _, err := signing.VerifyStamp(hostile, [32]byte{}, nil, time.Time{}); err == nil {
			t.Errorf("%s: accepted as a stamp", name)
		}
	}
	_, findings := signing.VerifySeal(make([]byte, 64<<20+1), signing.SealOptions{})
	expectChecks(t, findings, signing.SealFormat)
}

// A seal and a stamp that were made by another program with a throw-away PKI, and one of a third party that
// carries more than we read.
func TestReferenceSeals(t *testing.T) {
	const pack = "sample-package/pda-12345678901-20261123-000001/"
	root := parsePEM(t, shared(t, "sample-package/root.crt"))
	p7m := shared(t, pack+"PIndex.xml.p7m")
	stamp, err := signing.VerifyStamp(shared(t, pack+"evidence/0001.tsr"), sha256.Sum256(p7m), root, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	report, findings := signing.VerifySeal(p7m, signing.SealOptions{Roots: root, At: stamp.Time})
	for _, f := range findings {
		t.Log(f)
	}
	if string(report.Content) != string(shared(t, pack+"PIndex.xml")) || !report.HasTimeStamp || report.StampTime.After(stamp.Time) {
		t.Errorf("report %+v", report)
	}
	for _, f := range findings {
		if f.Check != signing.StampRevocation {
			t.Errorf("unexpected %v", f)
		}
	}
	dss, findings := signing.VerifySeal(shared(t, "dss-samples/CAdESDoubleLTA.p7m"), signing.SealOptions{})
	for _, f := range findings {
		t.Log(f)
		if f.Check == signing.SealSignature || f.Check == signing.SealContent || f.Check == signing.SealCertificate {
			t.Errorf("unexpected %v", f)
		}
	}
	t.Logf("third party's: %d bytes of content, %d certificates, %d lists", len(dss.Content), len(dss.Certificates), len(dss.CRLs))
}
