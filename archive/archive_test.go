package archive

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// An exchange over midnight stands in two packages; the second says what the first was.
func TestMidnight(t *testing.T) {
	own := ec + "/audit-10y"
	l := newLedger()
	l.exchanges(own, 1, 2)
	open := l.request(own, 3)
	l.checkpoint(t, nil)
	l.response(own, 3, open)
	l.exchanges(own, 4, 1)
	l.checkpoint(t, nil)
	for i := range l.marks {
		l.marks[i].Query, l.marks[i].Reply = []byte("query"), []byte("reply")
	}
	opt := options(t, l, nil, ec, 0, 4)
	one, err := Export(context.Background(), opt, l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	if one.Messages != 5 || one.Exchanges != 3 || one.CheckpointSize != open+1 {
		t.Errorf("%+v", one)
	}
	opt.First, opt.Last, opt.Sequence, opt.Previous = 5, 7, 2, one.Previous()
	two, err := Export(context.Background(), opt, l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(two.Path, exchangeDir(open))
	names := must(os.ReadDir(dir))
	if len(names) != 4 || names[0].Name() != "exchange.json" || names[3].Name() != "response.xml" {
		t.Errorf("%v", names)
	}
	if text := string(must(os.ReadFile(filepath.Join(two.Path, metadataFile(open))))); !strings.Contains(text, fmt.Sprintf("<NumeroRegistrazioneDocumento>%d<", open+1)) {
		t.Error("metadata of the second half have not the number of their own entry")
	}
	for _, p := range []*Package{one, two} {
		v := check(t, p.Path, VerifyOptions{}, exchange.Indeterminate)
		if len(v.Findings) != 3 {
			t.Errorf("%+v", v.Findings)
		}
	}
	if !strings.Contains(string(must(os.ReadFile(filepath.Join(two.Path, "PIndex.xml")))), `package="`+one.ID+`" last="4" sha256="`+one.SHA256+`"`) {
		t.Error("the index does not name the package before")
	}
}

func TestErasure(t *testing.T) {
	own := ec + "/audit-10y"
	l := newLedger()
	l.exchanges(own, 1, 2)
	l.erased[string(exchangeID(1))+"/0"] = true
	l.append(own, "erasure", fmt.Sprintf(`,"exchange":"%s","generation":2`, exchangeID(1)))
	l.checkpoint(t, nil)
	l.marks[0].Query, l.marks[0].Reply = []byte("query"), []byte("reply")
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, 4), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	if v := check(t, p.Path, VerifyOptions{}, exchange.Indeterminate); p.Erased != 1 || v.Counts["erased"] != 1 || v.Counts["contents"] != 3 {
		t.Errorf("%+v %+v", p, v)
	}
}

// What a strict reader of entries does not know is not skipped and not called broken.
func TestUnknownEntries(t *testing.T) {
	own := ec + "/audit-10y"
	l, last := unstamped(t, own)
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	v := check(t, p.Path, VerifyOptions{Entry: func(line []byte) error {
		if strings.Contains(string(line), `"kind":"recovery"`) {
			return errors.New("unknown key")
		}
		return nil
	}}, exchange.Indeterminate)
	if len(v.Findings) != 4 || !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return f.Check == CheckEntry }) {
		t.Errorf("%+v", v.Findings)
	}
	l.append(own, "novelty", "")
	if _, err := Export(context.Background(), options(t, l, nil, ec, 0, last+1), l, fixed{}, fixed{}); !errors.Is(err, errUnknownKind) {
		t.Errorf("export of an unknown kind: %v", err)
	}
}

// anchorless checks everything but the chain, or tells a time that it is given.
type anchorless struct {
	at  time.Time
	err error
}

func (a anchorless) VerifyStamp(context.Context, []byte, []byte, time.Time) (time.Time, error) {
	return a.at, a.err
}

func (a anchorless) VerifySeal(context.Context, []byte, time.Time) SealReport {
	return SealReport{Content: []byte("other"), Findings: []exchange.Finding{{Check: "seal-trust", Severity: exchange.Indeterminate, Detail: "no root"}}}
}

// Without a trust anchor nothing is called true or false for it; what needs none is still checked.
func TestAnchorsAndClocks(t *testing.T) {
	l, last := unstamped(t, ec+"/audit-10y")
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	missing := anchorless{err: fmt.Errorf("no chain: %w", ErrNoAnchor)}
	if v := check(t, p.Path, VerifyOptions{Stamp: missing}, exchange.Indeterminate); v.Assurance != "self" || len(v.Findings) != 3 {
		t.Errorf("%+v", v)
	}
	if v := check(t, p.Path, VerifyOptions{Stamp: missing, Seal: missing}, exchange.Broken); v.Findings[0].Check != CheckSealedIndex {
		t.Errorf("%+v", v)
	}
	early := anchorless{at: l.clock.Add(-time.Hour)}
	v := check(t, p.Path, VerifyOptions{Stamp: early}, exchange.Indeterminate)
	if !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return f.Check == CheckCheckpointTSA && f.Severity == exchange.Remark }) || !strings.HasPrefix(v.Assurance, "timestamped(") {
		t.Errorf("%+v", v)
	}
	t.Setenv("PATH", "")
	if v := check(t, p.Path, VerifyOptions{}, exchange.Indeterminate); v.Counts["schema_not_checked"] != 9 {
		t.Errorf("without xmllint: %+v", v.Counts)
	}
}

func TestHostileZip(t *testing.T) {
	l, last := unstamped(t, ec+"/audit-10y")
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	good := must(Zip(context.Background(), p.Path))
	for name, add := range map[string]func(w *zip.Writer) error{
		"climbs":       func(w *zip.Writer) error { _, err := w.Create(p.ID + "/../../climbs"); return err },
		"absolute":     func(w *zip.Writer) error { _, err := w.Create("/etc/absolute"); return err },
		"backslash":    func(w *zip.Writer) error { _, err := w.Create(p.ID + `\..\backslash`); return err },
		"other-root":   func(w *zip.Writer) error { _, err := w.Create("other/bagit.txt"); return err },
		"at-top":       func(w *zip.Writer) error { _, err := w.Create("bagit.txt"); return err },
		"twice":        func(w *zip.Writer) error { _, err := w.Create(p.ID + "/bagit.txt"); return err },
		"symlink":      func(w *zip.Writer) error { return create(w, p.ID+"/data/link", os.ModeSymlink|0o777) },
		"declares-big": func(w *zip.Writer) error { return declare(w, p.ID+"/data/big", 1<<40) },
		"bomb": func(w *zip.Writer) error {
			f, err := w.Create(p.ID + "/data/ledger/bomb.json")
			if err == nil {
				_, err = f.Write(make([]byte, 8<<20))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "p.zip")
			out := must(os.Create(path))
			w := zip.NewWriter(out)
			r := must(zip.OpenReader(good))
			for _, f := range r.File {
				if err := w.Copy(f); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(add(w), w.Close(), out.Close(), r.Close()); err != nil {
				t.Fatal(err)
			}
			v := check(t, path, VerifyOptions{}, exchange.Broken)
			if f := v.Findings[0]; len(v.Findings) > 5 || f.Check != CheckLayout && f.Check != CheckManifest && f.Check != CheckBag {
				t.Errorf("%+v", v.Findings)
			}
		})
	}
	cut := filepath.Join(t.TempDir(), "cut.zip")
	data := must(os.ReadFile(good))
	if err := os.WriteFile(cut, data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, cut, VerifyOptions{}, exchange.Broken)
	if _, err := Verify(context.Background(), filepath.Join(t.TempDir(), "absent"), VerifyOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent path: %v", err)
	}
}

func create(w *zip.Writer, name string, mode os.FileMode) error {
	h := &zip.FileHeader{Name: name}
	h.SetMode(mode)
	_, err := w.CreateHeader(h)
	return err
}

func declare(w *zip.Writer, name string, size uint64) error {
	_, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate, UncompressedSize64: size})
	return err
}

// The ZIP is what conservation.md asks for, seen by a tool that is not Go's.
func TestZipJudgedByUnzip(t *testing.T) {
	tool(t, "unzip", "zipinfo")
	l, last := unstamped(t, ec+"/audit-10y")
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	name := must(Zip(context.Background(), p.Path))
	run(t, "unzip", "-tq", name)
	listed := strings.Split(strings.TrimSpace(run(t, "zipinfo", "-1", name)), "\n")
	if !slices.IsSorted(listed) || listed[0] != p.ID+"/PIndex.xml" {
		t.Errorf("not sorted: %v", listed)
	}
	verbose := run(t, "zipinfo", "-v", name)
	for text, want := range map[string]int{
		"none (stored)": len(listed), "length of extra field:                          0 bytes": len(listed), "1980 Jan 1 00:00:00": len(listed), "extended local header:                          no": len(listed),
	} {
		if got := strings.Count(verbose, text); got != want {
			t.Errorf("%q stands %d times, want %d", text, got, want)
		}
	}
}

func TestStems(t *testing.T) {
	nothing := func(string) bool { return false }
	for want, points := range map[string][]exchange.Point{
		"request": received, "request-forwarded": received[1:], "response": delivered, "response-received": delivered[:1], "content": nil,
	} {
		if got := stemOf(message{Points: points}, nothing); got != want {
			t.Errorf("%v is %s, want %s", points, got, want)
		}
	}
	if got := stemOf(message{I: 4, Points: delivered}, func(s string) bool { return s == "response" }); got != "response-4" {
		t.Error(got)
	}
}

func TestExtensions(t *testing.T) {
	for head, want := range map[string]string{
		`{"headers":[["content-type","application/soap+xml; charset=utf-8"]]}`:             "xml",
		`{"headers":{"Content-Type":["application/problem+json"]}}`:                        "json",
		`{"header":[{"name":"Content-Type","value":"text/xml"}]}`:                          "xml",
		`{"fields":{"Content-Type":"application/json"}}`:                                   "json",
		`{"headers":[["Content-Type","text/xml"],["Content-Encoding","gzip"]]}`:            "bin",
		`{"headers":[["Content-Type","text/html"]]}`:                                       "bin",
		`{"headers":[["Content-Type"]]}`:                                                   "bin",
		`{}`:                                                                               "bin",
		`not JSON`:                                                                         "bin",
		`{"headers":[["Content-Type","../../x"]],"Headers":[["Content-Type","text/xml"]]}`: "bin",
	} {
		if got := readHead([]byte(head)).extension(); got != want {
			t.Errorf("%s: %s, want %s", head, got, want)
		}
	}
}

func TestInclusionAgainstTheRFCsRecursion(t *testing.T) {
	l := newLedger()
	for i := range 40 {
		l.append("log", "notice", fmt.Sprintf(`,"code":%d`, i))
	}
	for size := uint64(1); size <= 41; size++ {
		root := l.subtree(0, size)
		for n := range size {
			path := l.path(n, 0, size)
			leaf := leafHash(l.entries[n])
			if err := checkInclusion(leaf, n, size, path, root); err != nil {
				t.Fatalf("entry %d of %d: %v", n, size, err)
			}
			other := sha256.Sum256(leaf[:])
			wrong := []error{checkInclusion(other, n, size, path, root), checkInclusion(leaf, n, size, append(path, other), root), checkInclusion(leaf, n, size, path, other)}
			if len(path) > 0 {
				wrong = append(wrong, checkInclusion(leaf, n, size, path[:len(path)-1], root))
			}
			if n+1 < size {
				wrong = append(wrong, checkInclusion(leaf, n+1, size, path, root))
			}
			for i, w := range wrong {
				if w == nil {
					t.Fatalf("entry %d of %d: wrong proof %d accepted", n, size, i)
				}
			}
		}
	}
}
