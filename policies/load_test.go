package policies

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const permitAll = `@id("all") permit (principal, action, resource);`

func TestBrokenPackNamesFileAndLine(t *testing.T) {
	long := "@id(\"x\") permit (principal, action, resource) when { " + strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100) + " };"
	ifs := "@id(\"x\")\npermit (principal, action, resource) when { " + strings.Repeat("if true then ", 20000) + "true };"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"syntax", map[string]string{"a.cedar": permitAll, "b.cedar": "@id(\"b\")\npermit (\n  principal action, resource);"}, []string{"b.cedar:3:19: syntax: "}},
		{"unfinished", map[string]string{"a.cedar": "@id(\"b\")\npermit ("}, []string{"a.cedar:2:"}},
		{"open string", map[string]string{"a.cedar": "\n\n@id(\"b)\npermit (principal, action, resource);"}, []string{"a.cedar:3:"}},
		{"no id", map[string]string{"a.cedar": "\npermit (principal, action, resource);"}, []string{"a.cedar:2: policy without id", `@id("a-name`}},
		{"id shape", map[string]string{"a.cedar": `@id("Not Good") permit (principal, action, resource);`}, []string{"a.cedar:1: id \"Not Good\": use at most 64 lower-case"}},
		{"id reserved", map[string]string{"a.cedar": `@id("sigillo-evaluation-error") permit (principal, action, resource);`}, []string{"Sigillo's own"}},
		{"id twice", map[string]string{"a.cedar": permitAll, "b.cedar": "\n" + permitAll}, []string{"b.cedar:2: id \"all\" is taken by the policy at ", "a.cedar:1"}},
		{"unknown operation", map[string]string{"a.cedar": `@id("x") permit (principal, action == Sigillo::Action::"paGetPaymnt", resource);`}, []string{"a.cedar:1: policy \"x\" does not fit the schema", "paGetPaymnt"}},
		{"unknown attribute", map[string]string{"a.cedar": `@id("x") permit (principal, action, resource) when { principal.rolle == "ec" };`}, []string{"a.cedar:1", "rolle"}},
		{"wrong kind", map[string]string{"a.cedar": `@id("x") permit (principal, action, resource) when { context.size == "big" };`}, []string{"a.cedar:1", "does not fit the schema"}},
		{"all findings", map[string]string{"a.cedar": "permit (principal, action, resource);\nforbid (principal, action, resource);", "b.cedar": "permit"}, []string{"a.cedar:1:", "a.cedar:2:", "b.cedar:1:"}},
		{"deep brackets", map[string]string{"a.cedar": "\n" + long}, []string{"a.cedar:2: nested more than 64 deep"}},
		{"deep ifs", map[string]string{"a.cedar": ifs}, []string{"a.cedar:2: nested more than 64 deep"}},
		{"deep schema", map[string]string{"a.cedar": permitAll, "schema.cedarschema": "entity A {\nx: " + strings.Repeat("Set<", 100)}, []string{"schema.cedarschema:2: nested"}},
		{"schema syntax", map[string]string{"a.cedar": permitAll, "schema.cedarschema": "namespace X {\n entity;"}, []string{"schema.cedarschema:2:"}},
		{"schema meaning", map[string]string{"a.cedar": permitAll, "schema.cedarschema": "entity A in [B];"}, []string{"schema.cedarschema: ", "B"}},
		{"not text", map[string]string{"a.cedar": "\xff\xfe\x00"}, []string{"a.cedar:1:1: syntax: "}},
		{"empty folder", nil, []string{"no *.cedar file", "leave policies.dir empty"}},
		{"only schema", map[string]string{"schema.cedarschema": "entity A;"}, []string{"no *.cedar file"}},
		{"no policy", map[string]string{"a.cedar": "// nothing yet\n"}, []string{"no policy in the pack"}},
		{"stray file", map[string]string{"a.cedar": permitAll, "a.cedar.bak": permitAll}, []string{"a.cedar.bak", "rename the file or move it away"}},
		{"second schema", map[string]string{"a.cedar": permitAll, "other.cedarschema": ""}, []string{"other.cedarschema"}},
		{"odd name", map[string]string{"a b.cedar": permitAll}, []string{"a b.cedar", "letters, digits"}},
		{"huge file", map[string]string{"a.cedar": strings.Repeat("// filler\n", 30000)}, []string{"a.cedar: larger than 262144 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := Load(pack(t, c.files))
			if err == nil {
				t.Fatalf("loaded with digest %s", e.Digest())
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q\nlacks %q", err, want)
				}
			}
		})
	}
}

func TestHostileFolders(t *testing.T) {
	fifo := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(fifo, "a.cedar"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "a.cedar"), 0o700); err != nil {
		t.Fatal(err)
	}
	many, large, findings := map[string]string{}, map[string]string{}, strings.Builder{}
	for i := range maxFiles + 1 {
		many[fmt.Sprintf("%d.cedar", i)] = permitAll
	}
	for i := range 5 {
		large[fmt.Sprintf("%d.cedar", i)] = strings.Repeat("// filler\n", 26000)
	}
	for range 5000 {
		findings.WriteString("permit (principal, action, resource);\n")
	}
	for _, c := range []struct{ name, dir, want string }{
		{"fifo", fifo, "not a regular file"},
		{"folder", folder, "not a regular file"},
		{"missing", filepath.Join(folder, "nowhere"), "no such file"},
		{"many files", pack(t, many), "more than 64 files"},
		{"large pack", pack(t, large), "larger than 1048576 bytes"},
		{"many findings", pack(t, map[string]string{"a.cedar": findings.String()}), "further findings are left out"},
	} {
		_, err := Load(c.dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 20000 {
			t.Errorf("%s: error %.300v, expected %q", c.name, err, c.want)
		}
	}
}

func TestOwnSchema(t *testing.T) {
	schema, err := os.ReadFile(schemaName)
	if err != nil {
		t.Fatal(err)
	}
	policy := `@id("pilot") permit (principal, action == Sigillo::Action::"pilotOperation", resource);`
	if _, err := Load(pack(t, map[string]string{"a.cedar": policy})); err == nil {
		t.Fatal("an operation that no schema declares was accepted")
	}
	own := strings.Replace(string(schema), `"paGetPayment", `, `"paGetPayment", "pilotOperation", `, 1)
	e := load(t, pack(t, map[string]string{"a.cedar": policy, schemaName: own, "README.md": "not part of the pack", ".hidden.cedar.swp": "x"}))
	q := question()
	q.Operation = "pilotOperation"
	expect(t, e.Decide(q), true, "pilot")
}

// The digest is what an auditor computes with coreutils in the pack's folder.
func TestDigestBySha256sum(t *testing.T) {
	if _, err := exec.LookPath("sha256sum"); err != nil {
		t.Skip("sha256sum is missing")
	}
	sum := func(dir string) string {
		cmd := exec.Command("sh", "-c", "sha256sum *.cedar* | sha256sum")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out[:64])
	}
	if e := load(t, ""); e.Digest() != sum(".") {
		t.Errorf("default pack: %s, sha256sum says %s", e.Digest(), sum("."))
	}
	files := map[string]string{"b.cedar": permitAll, "B.cedar": "// upper case sorts first\n", "a-1.cedar": "// -\n", "a.cedar": "// .\n"}
	dir := pack(t, files)
	before := load(t, dir)
	if before.Digest() != sum(dir) || before.Decide(question()).Pack != sum(dir) {
		t.Errorf("%s, sha256sum says %s", before.Digest(), sum(dir))
	}
	if again := load(t, pack(t, files)); again.Digest() != before.Digest() {
		t.Error("the folder's place changed the digest")
	}
	files["a.cedar"] += "\n"
	if after := load(t, pack(t, files)); after.Digest() == before.Digest() {
		t.Error("a changed byte left the digest as it was")
	}
}

func TestSymbolicLinksServe(t *testing.T) {
	target := pack(t, map[string]string{"v1": permitAll})
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(target, "v1"), filepath.Join(dir, "a.cedar")); err != nil {
		t.Fatal(err)
	}
	expect(t, load(t, dir).Decide(question()), true, "all") // as Kubernetes mounts a ConfigMap
}

func FuzzLoad(f *testing.F) {
	content, err := os.ReadFile("default.cedar")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(permitAll))
	f.Add([]byte(`@id("x") forbid (principal is Sigillo::Participant, action in [Sigillo::Action::"node->EC"], resource) unless { context.time < datetime("2026-01-01") || "a" like "*" };`))
	f.Add([]byte(`@id("x") permit (principal, action, resource) when { if context has largestAmount then context.largestAmount.lessThan(decimal("1.0")) else {"a": [1, -2]}["a"].contains(!true) };`))
	f.Fuzz(func(t *testing.T, content []byte) {
		set, err := compile([]file{{path: "a.cedar", name: "a.cedar", content: content}})
		if err != nil {
			return
		}
		for id := range set {
			if !policyID.MatchString(string(id)) {
				t.Errorf("id %q was let in", id)
			}
		}
	})
}
