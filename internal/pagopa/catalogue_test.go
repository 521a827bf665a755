package pagopa

import (
	"strings"
	"testing"
)

func catalogue(t testing.TB) *Catalogue {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadHasTheWholeTable(t *testing.T) {
	c := catalogue(t)
	soap, rest := 0, 0
	names := map[string]bool{}
	for _, op := range c.Operations() {
		names[op.Name] = true
		if op.Protocol == SOAP {
			soap++
		} else {
			rest++
		}
	}
	if soap != 69 || rest != 53 {
		t.Errorf("%d SOAP and %d REST lines, want 69 and 53", soap, rest)
	}
	if len(c.faults) != 114 {
		t.Errorf("%d fault codes, want 114", len(c.faults))
	}
	f, ok := c.Fault("PPT_TOKEN_SCADUTO")
	if !ok || f.RaisedBy != "node" || f.Category != "state" || f.Meaning == "" || f.Retryable != "no" {
		t.Errorf("PPT_TOKEN_SCADUTO is %+v, %v", f, ok)
	}
	if _, ok := c.Fault("ppt_token_scaduto"); ok {
		t.Error("a fault code was found in another case")
	}
	for i := range c.operations {
		op := &c.operations[i]
		for _, k := range op.RequestKeys {
			if k.In == "header" && op.Header.Local == "" {
				t.Errorf("%s: header key %s without header root", op.Name, k.Name)
			}
		}
	}
}

func TestOperationsAreACopy(t *testing.T) {
	c := catalogue(t)
	ops := c.Operations()
	ops[0].Name = "changed"
	if c.Operations()[0].Name == "changed" {
		t.Error("a caller can change the catalogue")
	}
}

// A slip in the data files must stop the start, not mislead the gateway.
func TestLoadRefusesContradictions(t *testing.T) {
	head, lines, _ := strings.Cut(string(operationsTSV), "\n")
	first, _, _ := strings.Cut(lines, "\n")
	column := func(name string) int {
		for i, c := range strings.Split(head, "\t") {
			if c == name {
				return i
			}
		}
		t.Fatalf("no column %s", name)
		return 0
	}
	with := func(pairs ...string) string {
		f := strings.Split(first, "\t")
		for i := 0; i < len(pairs); i += 2 {
			f[column(pairs[i])] = pairs[i+1]
		}
		return strings.Join(f, "\t")
	}
	for name, table := range map[string]string{
		"protocol":            with("protocol", "FTP"),
		"no name":             with("operation", ""),
		"named unknown":       with("operation", Unknown),
		"no root":             with("req_root", "-"),
		"key without path":    with("req_keys", "creditor"),
		"relative path":       with("req_keys", "creditor=idPA"),
		"empty step":          with("req_keys", "creditor=/a//b"),
		"open step":           with("req_keys", "creditor=/a/*"),
		"key below a key":     with("req_keys", "creditor=/a; notice=/a/b"),
		"key above a key":     with("req_keys", "notice=/a/b; creditor=/a"),
		"two keys, one place": with("req_keys", "notice=/a; creditor=/a"),
		"header not declared": with("req_keys", "creditor=HEADER/block/a"),
		"header root":         with("header_root", "block"),
		"rest without path":   with("protocol", "REST", "endpoint_or_path", "x"),
		"no such parameter":   with("protocol", "REST", "endpoint_or_path", "/a/{b}", "req_keys", "creditor=path:c"),
		"same template twice": with("protocol", "REST", "endpoint_or_path", "/a/{b}", "req_keys", "-") + "\n" + with("protocol", "REST", "operation", "other", "endpoint_or_path", "/a/{c}", "req_keys", "-"),
		"same request root":   first + "\n" + with("operation", "other", "res_root", "x"),
		"same response root":  first + "\n" + with("operation", "other", "req_root", "x"),
		"two directions":      first + "\n" + with("direction", "PSP->node"),
		"empty":               "",
	} {
		if _, err := load([]byte(head+"\n"+table), faultcodesTSV); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := load([]byte(strings.Replace(head, "req_keys", "keys", 1)+"\n"+first), faultcodesTSV); err == nil {
		t.Error("a missing column was not noticed")
	}
	for _, codes := range []string{"code\traised_by\tcategory\tmeaning\tretryable\nA\n", "code\traised_by\tcategory\tmeaning\tretryable\nother\ta\tb\tc\td\n",
		"code\traised_by\tcategory\tmeaning\tretryable\nA\ta\tb\tc\td\nA\ta\tb\tc\td\n"} {
		if _, err := load(operationsTSV, []byte(codes)); err == nil {
			t.Errorf("no error for the fault codes %q", codes)
		}
	}
}
