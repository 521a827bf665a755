package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// sharedDir is the reference data beside the project; the test is skipped where it is absent.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SIGILLO_SHARED")
	if dir == "" {
		at := must(os.Getwd())
		for {
			if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil || at == filepath.Dir(at) {
				break
			}
			at = filepath.Dir(at)
		}
		dir = filepath.Join(at, "..", "shared")
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "conservation")); err != nil {
		t.Skip("data/conservation of the shared reference data is missing (SIGILLO_SHARED)")
	}
	return must(filepath.Abs(filepath.Join(dir, "data", "conservation")))
}

const ec, psp = "ec:77777777777", "psp:TESTPSP1"

func options(t testing.TB, l *testLedger, a *authority, principal string, first, last uint64) Options {
	o := Options{
		Dir: t.TempDir(), Principal: principal, Class: "audit-10y", First: first, Last: last,
		Day: l.clock.Truncate(24 * time.Hour), Sequence: 1, Years: 10,
		Producer: Producer{Name: `Comune di Prova & "Figli" <già>`, FiscalCode: "77777777777"},
		Software: Software{"Sigillo", "0.1.0", "Sigillo"},
		Keys:     []byte("{\"keys\":[]}\n"), VKey: l.vkey(),
		Evidence: Evidence{TrustChain: []byte("none\n")},
	}
	if a != nil {
		o.Evidence = Evidence{TrustChain: a.chain, Revocation: a.crls}
	}
	return o
}

func administration(p *Producer) {
	p.IPACode, p.OfficeName, p.OfficeCode, p.Address = "c_z999", "Ragioneria", "AOO1234", "protocollo@pec.comune.prova.example"
	p.ClassificationIndex, p.ClassificationName = "04.02", "Entrate"
}

// sample is a log with a package's worth of everything, ready to export: k 0..last of the EC.
func sample(t testing.TB, a *authority, own string) (*testLedger, uint64) {
	l := newLedger()
	l.checkpoint(t, nil)
	l.exchanges(own, 1, 5)
	l.append("log", "configuration", `,"before":"x"`)
	l.oddities(own, 100)
	last := uint64(len(l.own[own]) - 1)
	l.exchanges("psp:OTHER/audit-10y", 500, 3)
	l.checkpoint(t, a)
	return l, last
}

// stockTools runs verify.sh and gives its lines; the package must be good when good is true.
func stockTools(t *testing.T, a *authority, dir, xsd string, full bool) string {
	t.Helper()
	c := exec.Command("bash", filepath.Join(sharedDir(t), "stock-tools", "verify.sh"), dir, a.roots, a.intermediates, xsd)
	if full {
		c.Env = append(os.Environ(), "FULL=1")
	}
	out, err := c.CombinedOutput()
	if (err == nil) != (strings.Count(string(out), "PASS ") == 15 && !strings.Contains(string(out), "FAIL ")) {
		t.Fatalf("verify.sh: %v\n%s", err, out)
	}
	return string(out)
}

func hooks(a *authority) VerifyOptions { return VerifyOptions{Seal: a, Stamp: a} }

func check(t testing.TB, path string, opt VerifyOptions, want string) *exchange.Verdict {
	t.Helper()
	v, err := Verify(context.Background(), path, opt)
	if err != nil {
		t.Fatal(err)
	}
	if v.Verdict != want {
		t.Fatalf("verdict is %s, want %s: %+v", v.Verdict, want, v.Findings)
	}
	return v
}

func TestPackageJudgedByStockTools(t *testing.T) {
	tool(t, "xmllint", "bash")
	shared := sharedDir(t)
	for _, c := range []struct {
		name, principal string
		rsa, ipa        bool
	}{{"EC-of-the-IPA-RSA", ec, true, true}, {"EC-without-IPA-code-P256", ec, false, false}, {"PSP-P256", psp, false, false}} {
		t.Run(c.name, func(t *testing.T) {
			a := newAuthority(t, c.rsa)
			l, last := sample(t, a, c.principal+"/audit-10y")
			opt := options(t, l, a, c.principal, 0, last)
			if c.ipa {
				administration(&opt.Producer)
			}
			p, err := Export(context.Background(), opt, l, a, a)
			if err != nil {
				t.Fatal(err)
			}
			if p.Exchanges != 8 || p.Messages != 5*2+4+2+1 || uint64(p.Entries) != last+1 {
				t.Errorf("package says %+v", p)
			}
			for xsd, full := range map[string]bool{"Unisincro_PIndex.xsd": false, "PIndex.7-ZPUs.xsd": true} {
				if out := stockTools(t, a, p.Path, filepath.Join(shared, "sincro", xsd), full); strings.Contains(out, "FAIL") {
					t.Errorf("%s, full %v:\n%s", xsd, full, out)
				}
			}
			metadata := must(filepath.Glob(filepath.Join(p.Path, "data/metadata/*.xml")))
			root := "DocumentoInformatico"
			if c.ipa {
				root = "DocumentoAmministrativoInformatico"
			}
			if len(metadata) != 8 {
				t.Errorf("%d metadata files", len(metadata))
			}
			run(t, "xmllint", append([]string{"--nonet", "--noout", "--schema", filepath.Join(shared, "agid-xsd", root+".xsd")}, metadata...)...)
			v := check(t, p.Path, hooks(a), exchange.Intact)
			if len(v.Findings) != 0 || !strings.HasPrefix(v.Assurance, "timestamped(") || v.Counts["contents"] != int64(p.Messages) || v.Counts["schema_checked"] != 9 {
				t.Errorf("%+v", v)
			}
			zip, err := Zip(context.Background(), p.Path)
			if err != nil {
				t.Fatal(err)
			}
			check(t, zip, hooks(a), exchange.Intact)
			if v := check(t, zip, VerifyOptions{}, exchange.Indeterminate); v.Assurance != "self" || len(v.Findings) != 3 {
				t.Errorf("without anchors: %+v", v)
			}
		})
	}
}

// plainFiles reads a package; seal and tokens are left out, and what lists them.
func plainFiles(t *testing.T, dir string) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			if !slices.Contains([]string{"PIndex.xml.p7m", "tagmanifest-sha256.txt", "evidence/0001.tsr"}, rel) {
				files[rel] = string(must(os.ReadFile(p)))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// fixed is a Sealer and Stamper for tests that look at everything else.
type fixed struct{ seal, stamp error }

func (f fixed) SealAttached(context.Context, []byte) ([]byte, error) { return []byte("seal"), f.seal }
func (f fixed) Stamp(context.Context, []byte) ([]byte, error)        { return []byte("stamp"), f.stamp }

// unstamped is a log whose checkpoint has stand-ins for a token, for tests that need no openssl.
func unstamped(t testing.TB, own string) (*testLedger, uint64) {
	l, last := sample(t, nil, own)
	m := &l.marks[len(l.marks)-1]
	m.Query, m.Reply = []byte("query"), []byte("reply")
	return l, last
}

func TestSameRangeSameBytes(t *testing.T) {
	l, last := unstamped(t, ec+"/audit-10y")
	var packages []map[string]string
	var zips [][]byte
	for range 2 {
		p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, plainFiles(t, p.Path))
		zips = append(zips, must(os.ReadFile(must(Zip(context.Background(), p.Path)))))
		if _, err := Zip(context.Background(), p.Path); !errors.Is(err, ErrExists) {
			t.Errorf("second Zip: %v", err)
		}
	}
	if !reflect.DeepEqual(packages[0], packages[1]) || !bytes.Equal(zips[0], zips[1]) {
		t.Error("two exports of one range differ")
	}
	for name, text := range packages[0] {
		if strings.Contains(text, "PIndex") && name == "data/README.txt" && regexp.MustCompile(`\{[A-Z]+\}`).MatchString(text) {
			t.Error("README.txt has an unfilled place")
		}
	}
	if got := packages[0]["bag-info.txt"]; !strings.Contains(got, "Bagging-Date: "+l.clock.Format(time.DateOnly)) {
		t.Error(got)
	}
	var x record
	if err := json.Unmarshal([]byte(packages[0]["data/exchanges/000000000001/exchange.json"]), &x); err != nil {
		t.Fatal(err)
	}
	if x.Method != "POST" || x.Path != "/ec/paForNode?a=1&b=2" || x.Status != 200 || len(x.Entries) != 2 || len(x.Messages) != 2 || x.Receipt == "" || x.Operation != "paGetPaymentV2" {
		t.Errorf("%+v", x)
	}
	for _, name := range []string{"request.json", "request-forwarded.json", "response-received.bin", "response.json"} {
		if _, ok := packages[0]["data/exchanges/000000000012/"+name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

// exchange.json and its schema must name the same keys.
func TestExchangeSchemaNamesEveryKey(t *testing.T) {
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(must(schemaTexts.ReadFile("schemas/exchange.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[record]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if schema.Properties[name] == nil {
			t.Errorf("schema lacks %s", name)
		}
		delete(schema.Properties, name)
	}
	if len(schema.Properties) > 0 {
		t.Errorf("schema has %v besides", schema.Properties)
	}
}

func TestNothingIsLeftWhenAnExportFails(t *testing.T) {
	own := ec + "/audit-10y"
	broken := errors.New("broken")
	cases := map[string]struct {
		spoil func(l *testLedger, o *Options)
		f     fixed
		want  string
	}{
		"sealer":              {nil, fixed{seal: broken}, "sealing PIndex.xml: broken"},
		"stamper":             {nil, fixed{stamp: broken}, "archive time-stamp over PIndex.xml.p7m: broken"},
		"content changed":     {func(l *testLedger, _ *Options) { spoil(l, exchangeID(2), 1, "other") }, fixed{}, "entry 4, message 1: content does not have the commitment"},
		"content lost":        {func(l *testLedger, _ *Options) { delete(l.contents, string(exchangeID(2))+"/0") }, fixed{}, "entry 3, message 0: opening content"},
		"entry lost":          {func(l *testLedger, _ *Options) { l.own[own] = slices.Delete(l.own[own], 3, 4) }, fixed{}, "its bytes say entry 5 (k 4)"},
		"range not there":     {func(_ *testLedger, o *Options) { o.Last += 5 }, fixed{}, "the ledger gave entries up to k"},
		"entry of other tree": {func(l *testLedger, _ *Options) { l.marks[len(l.marks)-1].Note = l.note(3) }, fixed{}, "has size 3"},
		"forged checkpoint": {func(l *testLedger, _ *Options) {
			m := &l.marks[len(l.marks)-1]
			m.Note = bytes.Replace(m.Note, []byte("— "), []byte("\n— "), 1)
		}, fixed{}, "checkpoint after entry"},
		"erased without entry": {func(l *testLedger, _ *Options) { l.erased[string(exchangeID(2))+"/0"] = true }, fixed{}, "extend the range"},
		"producer unfit":       {func(_ *testLedger, o *Options) { o.Producer.FiscalCode = "RSSMRA80A01H501U" }, fixed{}, "Producer.FiscalCode"},
		"previous unfit": {func(_ *testLedger, o *Options) {
			o.Previous = &PreviousPackage{"pda-77777777777-a-20261123-000001", 7, strings.Repeat("0", 64)}
		}, fixed{}, "does not follow 7"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l, last := unstamped(t, own)
			opt := options(t, l, nil, ec, 0, last)
			if c.spoil != nil {
				c.spoil(l, &opt)
			}
			if _, err := Export(context.Background(), opt, l, c.f, c.f); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if left := must(os.ReadDir(opt.Dir)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func spoil(l *testLedger, x exchange.ID, i int, body string) {
	name := string(x) + "/" + string(rune('0'+i))
	c := l.contents[name]
	c.Body = []byte(body)
	l.contents[name] = c
}

func TestPackagesAreNeverOverwrittenAndOneAtATime(t *testing.T) {
	l, last := unstamped(t, ec+"/audit-10y")
	opt := options(t, l, nil, ec, 0, last)
	killed := filepath.Join(opt.Dir, partialPrefix+opt.id())
	if err := os.MkdirAll(filepath.Join(killed, "data"), 0o750); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Export(context.Background(), opt, l, fixed{}, fixed{}); !errors.Is(err, ErrBusy) {
		t.Errorf("while another runs: %v", err)
	}
	unlock()
	if _, err := Export(context.Background(), opt, l, fixed{}, fixed{}); err != nil {
		t.Error(err)
	}
	if _, err := Export(context.Background(), opt, l, fixed{}, fixed{}); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if left := must(os.ReadDir(opt.Dir)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	opt.Sequence++
	if _, err := Export(ctx, opt, l, fixed{}, fixed{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
