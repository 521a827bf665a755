package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// forger is a package that a test changes, as far up as the test says: an insider may hold the seal itself.
type forger struct {
	t   *testing.T
	a   *authority
	dir string
}

func copyPackage(t *testing.T, a *authority, from string) *forger {
	t.Helper()
	f := &forger{t, a, filepath.Join(t.TempDir(), filepath.Base(from))}
	if err := os.CopyFS(f.dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *forger) read(name string) string {
	f.t.Helper()
	return string(must(os.ReadFile(filepath.Join(f.dir, name))))
}

func (f *forger) write(name, text string) {
	f.t.Helper()
	p := filepath.Join(f.dir, name)
	if err := os.RemoveAll(p); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forger) remove(names ...string) {
	f.t.Helper()
	for _, n := range names {
		if _, err := os.Stat(filepath.Join(f.dir, n)); err != nil {
			f.t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(f.dir, n)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// replace changes text in a file; old must be there.
func (f *forger) replace(name, old, new string) {
	f.t.Helper()
	text := f.read(name)
	if !strings.Contains(text, old) {
		f.t.Fatalf("%s does not contain %q", name, old)
	}
	f.write(name, strings.Replace(text, old, new, 1))
}

// rehash writes both manifests and bag-info anew.
func (f *forger) rehash() {
	f.t.Helper()
	var lines []string
	size := 0
	err := filepath.WalkDir(filepath.Join(f.dir, "data"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(f.dir, p)
			data := f.read(rel)
			size += len(data)
			lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(data)), rel))
		}
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	f.write("manifest-sha256.txt", strings.Join(lines, ""))
	f.write("bag-info.txt", regexp.MustCompile(`Payload-Oxum: .*`).ReplaceAllString(f.read("bag-info.txt"), fmt.Sprintf("Payload-Oxum: %d.%d", size, len(lines))))
	f.retag()
}

func (f *forger) retag() {
	tags := ""
	for _, n := range []string{"PIndex.xml", "PIndex.xml.p7m", "bag-info.txt", "bagit.txt", "manifest-sha256.txt"} {
		if data, err := os.ReadFile(filepath.Join(f.dir, n)); err == nil {
			tags += fmt.Sprintf("%x  %s\n", sha256.Sum256(data), n)
		}
	}
	f.write("tagmanifest-sha256.txt", tags)
}

// reindex rewrites PIndex.xml for the files as they are, and rehashes.
func (f *forger) reindex() {
	f.t.Helper()
	f.rehash()
	sums := map[string]string{}
	for line := range strings.Lines(f.read("manifest-sha256.txt")) {
		sums[strings.TrimSpace(line[66:])] = line[:64]
	}
	out, sample := "", ""
	form := regexp.MustCompile(`<s:Path>([^<]*)</s:Path>.*>([0-9a-f]{64})<`)
	for line := range strings.Lines(f.read("PIndex.xml")) {
		if m := form.FindStringSubmatch(line); m != nil {
			sample = line
			if sums[m[1]] == "" {
				continue
			}
			line = strings.Replace(line, m[2], sums[m[1]], 1)
			delete(sums, m[1])
		} else if strings.HasPrefix(line, "<s:Process>") {
			m := form.FindStringSubmatch(sample)
			for name, sum := range sums {
				out = strings.TrimSuffix(out, "</s:FileGroup>\n") + strings.NewReplacer(m[1], name, m[2], sum).Replace(sample) + "</s:FileGroup>\n"
			}
		}
		out += line
	}
	f.write("PIndex.xml", out)
	f.retag()
}

// reseal does what only the holder of the seal can: everything is consistent again.
func (f *forger) reseal() {
	f.t.Helper()
	f.reindex()
	f.sealAs("seal")
	f.write("evidence/0001.tsr", string(must(f.a.Stamp(context.Background(), []byte(f.read("PIndex.xml.p7m"))))))
}

func (f *forger) sealAs(name string) {
	f.t.Helper()
	f.write("PIndex.xml.p7m", string(must(f.a.sealBy(context.Background(), name, []byte(f.read("PIndex.xml"))))))
	f.retag()
}

const first, second = "data/exchanges/000000000001/", "data/exchanges/000000000003/"

var mutations = []struct {
	name   string
	change func(f *forger)
	checks []string // each must be among the findings
	steps  string   // of verify.sh, at least these fail; "": verify.sh does not look
}{
	{"payload byte", func(f *forger) { f.replace(first+"request.xml", "soapenv", "soapenw") }, []string{CheckManifest, CheckIndex, CheckCommitment}, "03 06 13"},
	{"payload and manifests rehashed", func(f *forger) { f.replace(first+"request.xml", "soapenv", "soapenw"); f.rehash() }, []string{CheckIndex, CheckCommitment}, "06 07"},
	{"payload, manifests and index rewritten", func(f *forger) { f.replace("data/README.txt", "ITALIANO", "italiano"); f.reindex() }, []string{CheckSealedIndex}, "10"},
	{"file removed", func(f *forger) { f.remove(first + "response.xml"); f.rehash() }, []string{CheckIndex, CheckCompleteness, CheckCommitment}, "06 07"},
	{"file added", func(f *forger) { f.write("data/ledger/more.json", "{}") }, []string{CheckManifest}, "04"},
	{"sealed again with another certificate", func(f *forger) { f.sealAs("other") }, []string{CheckArchiveStamp, CheckSeal}, "08 09"},
	{"time-stamp corrupted", func(f *forger) {
		b := []byte(f.read("evidence/0001.tsr"))
		b[len(b)-5] ^= 1
		f.write("evidence/0001.tsr", string(b))
	}, []string{CheckArchiveStamp}, "08"},
	{"time-stamp of another file", func(f *forger) {
		f.write("evidence/0001.tsr", string(must(f.a.Stamp(context.Background(), []byte("other")))))
	}, []string{CheckArchiveStamp}, "08"},
	{"metadata field removed and rehashed", func(f *forger) {
		f.replace("data/metadata/000000000001.xml", "<Riservato>true</Riservato>", "")
		f.rehash()
	}, []string{CheckIndex, CheckSchema}, "06 07 12"},
	{"salts swapped, sealed again", func(f *forger) {
		a, b := f.read(first+"request.salt"), f.read(second+"request.salt")
		f.write(first+"request.salt", b)
		f.write(second+"request.salt", a)
		f.reseal()
	}, []string{CheckCommitment, CheckCompleteness}, "13 15"},
	{"exchange omitted, sealed again", func(f *forger) {
		f.remove(first, "data/metadata/000000000001.xml")
		f.reseal()
	}, []string{CheckCompleteness}, "15"},
	{"exchange and its entries omitted, sealed again", func(f *forger) {
		f.remove(second, "data/metadata/000000000003.xml")
		lines := strings.SplitAfter(f.read("data/ledger/segment.jsonl"), "\n")
		f.write("data/ledger/segment.jsonl", strings.Join(slices.Delete(lines, 2, 4), ""))
		lines = strings.SplitAfter(f.read("data/ledger/proofs.jsonl"), "\n")
		f.write("data/ledger/proofs.jsonl", strings.Join(slices.Delete(lines, 2, 4), ""))
		f.reseal()
	}, []string{CheckOwnChain}, "14"},
	{"last entry cut off, sealed again", func(f *forger) {
		lines := strings.SplitAfter(f.read("data/ledger/segment.jsonl"), "\n")
		f.write("data/ledger/segment.jsonl", strings.Join(lines[:len(lines)-2], ""))
		f.reseal()
	}, []string{CheckOwnChain, CheckInclusion}, ""},
	{"entry changed, sealed again", func(f *forger) {
		f.replace("data/ledger/segment.jsonl", `"reason":"policy"`, `"reason":"syntax"`)
		f.reseal()
	}, []string{CheckOwnChain, CheckInclusion, CheckExchange}, ""},
	{"proof changed, sealed again", func(f *forger) {
		f.write("data/ledger/proofs.jsonl", regexp.MustCompile(`"path":\["..`).ReplaceAllString(f.read("data/ledger/proofs.jsonl"), `"path":["AA`))
		f.reseal()
	}, []string{CheckInclusion}, ""},
	{"checkpoint changed, sealed again", func(f *forger) {
		f.write("data/ledger/checkpoint.after", regexp.MustCompile(`\n\d+\n`).ReplaceAllString(f.read("data/ledger/checkpoint.after"), "\n1000\n"))
		f.reseal()
	}, []string{CheckCheckpoint, CheckCheckpointTSA}, ""},
	{"token of another checkpoint, sealed again", func(f *forger) {
		f.write("data/ledger/checkpoint.after.tsr", string(must(f.a.Stamp(context.Background(), []byte("other")))))
		f.reseal()
	}, []string{CheckCheckpointTSA}, ""},
	{"link to the package before, sealed again", func(f *forger) {
		f.replace("data/ledger/previous.json", "null", `{"package":"pda-77777777777-audit-10y-20261101-000001","last_k":0,"pindex_p7m_sha256":"`+strings.Repeat("0", 64)+`"}`)
		f.reseal()
	}, []string{CheckPrevious}, ""},
	{"exchange.json changed, sealed again", func(f *forger) { f.replace(first+"exchange.json", `"status":200`, `"status":201`); f.reseal() }, []string{CheckExchange, CheckMetadata}, ""},
	{"hash in metadata changed, sealed again", func(f *forger) {
		f.replace("data/metadata/000000000001.xml", "<Impronta>", "<Impronta>AAAA")
		f.reseal()
	}, []string{CheckMetadata}, ""},
	{"metadata without their document, sealed again", func(f *forger) {
		f.replace("data/metadata/000000000001.xml", "000000000001/exchange.json", "000000000003/exchange.json")
		f.reseal()
	}, []string{CheckMetadata}, ""},
	{"entity in metadata, sealed again", func(f *forger) {
		f.replace("data/metadata/000000000001.xml", "<DocumentoInformatico>", "<!DOCTYPE a [<!ENTITY b \"c\">]><DocumentoInformatico>")
		f.reseal()
	}, []string{CheckMetadata}, ""},
	{"file put among the content, sealed again", func(f *forger) { f.write(first+"request.pdf", "x"); f.reseal() }, []string{CheckLayout}, ""},
	{"exchange that no entry names, sealed again", func(f *forger) {
		if err := os.CopyFS(filepath.Join(f.dir, "data/exchanges/000000000777"), os.DirFS(filepath.Join(f.dir, first))); err != nil {
			f.t.Fatal(err)
		}
		f.reseal()
	}, []string{CheckCompleteness}, "13"},
	{"response in the place of the request, sealed again", func(f *forger) {
		for _, kind := range []string{".xml", ".head", ".salt"} {
			a, b := f.read(first+"request"+kind), f.read(first+"response"+kind)
			f.write(first+"request"+kind, b)
			f.write(first+"response"+kind, a)
		}
		f.reseal()
	}, []string{CheckLayout}, ""},
	{"bag declaration", func(f *forger) { f.replace("bagit.txt", "1.0", "0.9"); f.retag() }, []string{CheckBag}, "01"},
	{"tag file changed", func(f *forger) { f.replace("bag-info.txt", "Comune", "comune") }, []string{CheckTagManifest}, "02"},
	{"link in the package", func(f *forger) {
		f.remove("data/ledger/keys.json")
		if err := os.Symlink("/etc/passwd", filepath.Join(f.dir, "data/ledger/keys.json")); err != nil {
			f.t.Fatal(err)
		}
	}, []string{CheckLayout}, ""},
}

func TestMutations(t *testing.T) {
	tool(t, "xmllint", "bash")
	shared := sharedDir(t)
	a := newAuthority(t, false)
	l, last := sample(t, a, psp+"/audit-10y")
	p, err := Export(context.Background(), options(t, l, a, psp, 0, last), l, a, a)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("none but sealed again", func(t *testing.T) {
		f := copyPackage(t, a, p.Path)
		f.reseal()
		check(t, f.dir, hooks(a), exchange.Intact)
	})
	for _, m := range mutations {
		t.Run(strings.NewReplacer(" ", "-", ",", "").Replace(m.name), func(t *testing.T) {
			f := copyPackage(t, a, p.Path)
			m.change(f)
			v := check(t, f.dir, hooks(a), exchange.Broken)
			for _, want := range m.checks {
				if !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return f.Check == want && f.Severity == exchange.Broken }) {
					t.Errorf("%s is not among the findings: %+v", want, v.Findings)
				}
			}
			if m.steps == "" {
				return
			}
			out := stockTools(t, a, f.dir, filepath.Join(shared, "sincro", "Unisincro_PIndex.xsd"), true)
			for _, step := range strings.Fields(m.steps) {
				if !strings.Contains(out, "FAIL "+step) {
					t.Errorf("verify.sh passes step %s:\n%s", step, out)
				}
			}
		})
	}
	t.Run("known-key", func(t *testing.T) {
		opt := hooks(a)
		opt.VKey = l.vkey()
		check(t, p.Path, opt, exchange.Intact)
		other := newLedger()
		other.key[0] ^= 1
		other.key = append([]byte{}, other.key...)
		copy(other.key[32:], bytes.Repeat([]byte{7}, 32))
		opt.VKey = other.vkey()
		check(t, p.Path, opt, exchange.Broken)
	})
}

func TestEveryRequiredFile(t *testing.T) {
	l, last := unstamped(t, ec+"/audit-10y")
	p, err := Export(context.Background(), options(t, l, nil, ec, 0, last), l, fixed{}, fixed{})
	if err != nil {
		t.Fatal(err)
	}
	if v := check(t, p.Path, VerifyOptions{}, exchange.Indeterminate); v.Counts["exchanges"] != 8 {
		t.Errorf("%+v", v)
	}
	for _, name := range append(slices.Clone(required), first+"request.salt", first+"request.head", first+"exchange.json", "data/metadata/000000000001.xml") {
		moved := filepath.Join(t.TempDir(), "away")
		if err := os.Rename(filepath.Join(p.Path, name), moved); err != nil {
			t.Fatal(err)
		}
		v := check(t, p.Path, VerifyOptions{}, exchange.Broken)
		if !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return strings.Contains(f.Detail, "missing") }) {
			t.Errorf("%s: %+v", name, v.Findings)
		}
		if err := os.Rename(moved, filepath.Join(p.Path, name)); err != nil {
			t.Fatal(err)
		}
	}
}
