package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigillo/internal/testbed"
)

// TestEveryRefusalIsOnRecordAndTellsNothing runs the demo's bad callers and looks for each in the ledger.
func TestEveryRefusalIsOnRecordAndTellsNothing(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	s.node.CallEC(s.route("ec-in"), s.client("node"))
	rows, err := testbed.BadCases(t.Context(), testbed.Bad{PSPOut: s.route("psp-out"), ECOut: s.route("ec-out"), Node: s.node, BodyLimit: demoBodyLimit,
		Clients:      testbed.Clients{PSP: s.client("psp"), EC: s.client("ec"), Node: s.client("node")},
		Unregistered: s.client("unregistered"), Unknown: s.client("unknown")})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]string{ // kind and reason
		"forbidden operation":         {"refusal", "policy"},
		"EC that is not the caller's": {"refusal", "claim"},
		"body over the limit":         {"refusal", "too-large"},
		"malformed XML":               {"refusal", "syntax"},
		"upstream that hangs":         {"failure", "upstream-timeout"},
	}
	ours := regexp.MustCompile(`^(<\?xml [^>]*\?>\n<soapenv:Envelope .*<type>urn:sigillo:refusal:[a-z-]+</type>.*|\{"type":"urn:sigillo:refusal:[a-z-]+","title":"[^"]+","status":\d+,"exchange":"[0-9a-f-]{36}"\}\n)$`)
	for _, row := range rows {
		if !row.Good {
			t.Errorf("%s: expected %s, got %s", row.Name, row.Expected, row.Got)
		}
		w, recorded := want[row.Name]
		if !recorded {
			continue
		}
		delete(want, row.Name)
		code, out, stderr := sigillo(t, "search", "-c", s.config, "--exchange", row.Exchange, "--json")
		if code != 0 || !strings.Contains(out, `"kind":"`+w[0]+`"`) || !strings.Contains(out, `"reason":"`+w[1]+`"`) {
			t.Errorf("%s: code %d, want a %s for %s, have %s%s", row.Name, code, w[0], w[1], out, stderr)
		}
		code, body, stderr := sigillo(t, "show", "-c", s.config, row.Exchange, "--body", "response")
		if code != 0 || !ours.MatchString(body) {
			t.Errorf("%s: code %d, answer %q %s", row.Name, code, body, stderr)
		}
		for _, inside := range []string{s.dir, "127.0.0.1", "sigillo/", ".go", "cedar", "badger", "TESTPSP1", "x509"} {
			if strings.Contains(body, inside) {
				t.Errorf("%s: the answer tells %q: %s", row.Name, inside, body)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("cases that did not run: %v", want)
	}
	code, out, _ := sigillo(t, "search", "-c", s.config, "--outcome", "caller-gone")
	if code != 0 || !strings.Contains(out, "failure") {
		t.Errorf("the caller that went away: code %d, %s", code, out)
	}
	p.stop(t)
	v := inLedger(t, s, nil)
	if v.Counts["kind:refusal"] != 4 || v.Counts["kind:failure"] != 2 || v.Counts["kind:refusals"] == 0 {
		t.Errorf("counts %v", v.Counts)
	}
}
