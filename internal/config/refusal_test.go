package config

import (
	"strings"
	"testing"
)

// Each case changes one place of the minimal file and expects one finding, with line, field and fix.
func TestBadFiles(t *testing.T) {
	const keysVault = `keys: {custody: vault, vault: {address: "https://v.example:8200", auth: {role_id: r, secret_id: "${env:S}"}}}`
	archive := "\narchive: {dir: p, producers: [{principal: ec:77777777777, name: N, fiscal_code: 1}], seal: {certificate: s.pem}, trust: t.pem}\n"
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown key", "path: /psp", "pfad: /psp", `:21: routes[1].pfad: unknown key (known here: barriers, class, classes_by_operation, direction,`},
		{"doubled key", "data: data", "data: data\nnode: gw-2", ":4: node: stands twice, first in line 1: keep one"},
		{"unknown section", "timestamp:", "timestamps:", ":25: timestamps: unknown key"},
		{"merge key", "node: gw-1", "<<: {node: gw-1}", `:1: <<: unknown key`},
		{"anchor", "node: gw-1", "node: &x gw-1", ":1: node: anchors and aliases"},
		{"alias of nothing", "node: gw-1", "node: *x", "is not valid YAML: a text that begins with * & or ! needs quotes"},
		{"tag", "node: gw-1", "node: !!str gw-1", ":1: node: tags (!) are not supported"},
		{"not YAML", "    path: /psp", "    path: : /psp", ":21: is not valid YAML: mapping values are not allowed"},
		{"not YAML at first", "node: gw-1", "node: gw-1: x", ":1: is not valid YAML: mapping values are not allowed"},
		{"two documents", "timestamp:", "---\ntimestamp:", ":25: a second document begins (---): keep one"},
		{"list wanted", "routes:\n", "classes: {name: x}\nroutes:\n", ":12: classes: must be a list"},
		{"section wanted", "timestamp: {test: true}", "timestamp: yes", ":25: timestamp: must be a section"},
		{"value wanted", "node: gw-1", "node: [gw-1]", ":1: node: must be one value"},
		{"text wanted", "node: gw-1", "node: true", ":1: node: must be text (put it in quotes)"},
		{"flag wanted", "test: true", `test: "true"`, ":25: timestamp.test: must be true or false, without quotes"},
		{"number wanted", "data: data", "data: data\nserver: {concurrent: many}", ":4: server.concurrent: must be a whole number"},
		{"number too large", "data: data", "data: data\nserver: {concurrent: 70000}", ":4: server.concurrent: must be from 1 to 65536"},
		{"size without unit", "data: data", "data: data\ndisk: {warn: 16}", ":4: disk.warn: must be a size with its unit B, KiB, MiB, GiB or TiB (write 16MiB)"},
		{"size in MB", "data: data", "data: data\ndisk: {warn: 16MB}", ":4: disk.warn: must be a size with its unit"},
		{"size too large", "data: data", "data: data\ndisk: {warn: 99999999999TiB}", ":4: disk.warn: is too large"},
		{"stop above warn", "data: data", "data: data\ndisk: {warn: 1GiB, stop: 2GiB}", ":4: disk.stop: must be less than disk.warn"},
		{"duration without unit", "data: data", "data: data\nsigning: {timeout: 2}", ":4: signing.timeout: must be a duration with its unit ms, s, m or h, not negative (write 30s)"},
		{"negative duration", "data: data", "data: data\nsigning: {timeout: -2s}", ":4: signing.timeout: must be a duration"},
		{"duration out of range", "data: data", "data: data\nsigning: {timeout: 2h}", ":4: signing.timeout: must be from 10ms to 1m0s"},
		{"control character", "node: gw-1", `node: "gw\u0007"`, ":1: node: must be one line without control characters"},
		{"no node name", "node: gw-1", "node:", ":1: node: is required (write a name for this gateway"},
		{"bad node name", "node: gw-1", "node: GW 1", ":1: node: must be at most 63 lower-case letters"},
		{"no origin", "origin: sigillo.example.it/ec-77777777777\n", "", ":1: origin: is required"},
		{"origin with plus", "sigillo.example.it/ec-77777777777", "sigillo+x", ":2: origin: must contain no space and no +"},
		{"origin too long", "sigillo.example.it/ec-77777777777", strings.Repeat("x", 201), ":2: origin: must be at most 200 bytes"},
		{"no custody", "keys: {custody: file}", "keys: {}", ":4: keys.custody: must be vault, or file for demonstrations"},
		{"vault by http", "keys: {custody: file}", strings.Replace(keysVault, "https", "http", 1), ":4: keys.vault.address: must be https, http serves to a loopback address only"},
		{"vault without role", "keys: {custody: file}", strings.Replace(keysVault, "role_id: r, ", "", 1), ":4: keys.vault.auth.role_id: is required"},
		{"vault without secret", "keys: {custody: file}", strings.Replace(keysVault, `, secret_id: "${env:S}"`, "", 1), ":4: keys.vault.auth.secret_id: is required with approle"},
		{"vault without token", "keys: {custody: file}", strings.Replace(keysVault, "role_id: r", "method: token", 1), ":4: keys.vault.auth.token: is required with method token"},
		{"one key for two", "keys: {custody: file}", strings.Replace(keysVault, "auth:", "names: {seal: a, receipt: a}, auth:", 1), ":4: keys.vault.names.seal: is the same as keys.vault.names.receipt"},
		{"one mount for both", "keys: {custody: file}", strings.Replace(keysVault, "auth:", "class_mount: transit, auth:", 1), ":4: keys.vault.class_mount: must differ from mount"},
		{"literal secret", "keys: {custody: file}", strings.Replace(keysVault, "${env:S}", "hvs.LITERAL", 1), ":4: keys.vault.auth.secret_id: must be a reference, never the secret itself (write ${env:NAME} or ${file:PATH})"},
		{"listener address", `"127.0.0.1:0"`, "8443", ":6: listeners[0].address: must be HOST:PORT or :PORT (write 0.0.0.0:8443)"},
		{"listener without key", "key: s.key, ", "", ":6: listeners[0].key: is required"},
		{"listener principal", `client_ca: ca.pem, principal: "ec:77777777777"`, `client_ca: ca.pem, principal: "ec:11111111111"`, ":6: listeners[0].principal: is not among participants"},
		{"open admin", "data: data", "data: data\nadmin: {address: \":9640\"}", ":4: admin.address: must be a loopback address in this release (write 127.0.0.1:9640)"},
		{"class years", "data: data", "data: data\nclasses: [{name: audit-10y, years: 0}]", ":4: classes[0].years: must be from 1 to 99"},
		{"unknown class", "path: /psp", "path: /psp\n    class: forever", ":22: routes[1].class: names a class that classes does not have"},
		{"operation class", "path: /psp", "path: /psp\n    classes_by_operation: {paSendRT: forever}", ":22: routes[1].classes_by_operation.paSendRT: names a class"},
		{"EC id", `id: "ec:77777777777"`, `id: "ec:7777777777"`, ":9: participants[1].id: must be ec: or broker: and 11 digits"},
		{"PSP id", `id: "psp:TESTPSP1"`, `id: "psp:` + strings.Repeat("X", 36) + `"`, ":10: participants[2].id: must be ec: or"},
		{"id twice", `- {id: "psp:TESTPSP1"}`, `- {id: "psp:TESTPSP1"}` + "\n" + `  - {id: "psp:TESTPSP1"}`, ":11: participants[3].id: is the same as participants[2].id"},
		{"no node", `- {id: "node:pagopa", certificates: [{san: node.example, issuer: CN=CA}]}`, `- {id: "psp:X", certificates: [{san: node.example, issuer: CN=CA}]}`, ":8: participants: must hold exactly one node"},
		{"role of another", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", roles: [psp]}`, ":9: participants[1].roles[0]: does not fit the id"},
		{"pin of two", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", certificates: [{sha256: "` + strings.ToUpper(hex64) + `"}]}`, ":11: participants[3].certificates[0].sha256: is the same as participants[1].certificates[0].sha256: one certificate must not identify two participants"},
		{"name of two", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", certificates: [{san: node.example, issuer: CN=CA}]}`, ":9: participants[1].certificates[0]: is the same as participants[0].certificates[0]"},
		{"pin without issuer", "san: node.example, issuer: CN=CA", "san: node.example", ":8: participants[0].certificates[0]: must be either sha256, or issuer together with one of subject and san"},
		{"pin too short", hex64, hex64[:62], ":11: participants[3].certificates[0].sha256: must be 64 hex digits"},
		{"broker for nobody", `speaks_for: ["psp:TESTPSP1", "ec:77777777777"], `, "roles: [ec], ", ":11: participants[3].speaks_for: is required for a broker"},
		{"speaks for a stranger", `speaks_for: ["psp:TESTPSP1", `, `speaks_for: ["psp:TESTPSP1", "psp:OTHER", `, ":11: participants[3].speaks_for[1]: is not among participants"},
		{"speaks beyond its role", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", speaks_for: ["psp:TESTPSP1"]}`, ":9: participants[1].speaks_for[0]: is a psp, which is not among the roles"},
		{"ends before it begins", `{id: "psp:TESTPSP1"}`, `{id: "psp:TESTPSP1", valid_from: 2026-02-01, valid_until: 2026-01-01}`, ":10: participants[2].valid_until: must be later than valid_from"},
		{"no date", `{id: "psp:TESTPSP1"}`, `{id: "psp:TESTPSP1", valid_from: tomorrow}`, ":10: participants[2].valid_from: must be a date or an RFC 3339 time"},
		{"station", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", stations: ["a b"]}`, ":9: participants[1].stations[0]: must be at most 35 characters without spaces"},
		{"empty item", `{id: "ec:77777777777"}`, `{id: "ec:77777777777", stations: [""]}`, ":9: participants[1].stations[0]: is empty"},
		{"no such listener", "name: psp-out\n    listener: public", "name: psp-out\n    listener: inside", ":20: routes[1].listener: names no listener"},
		{"path", "path: /psp", "path: psp", ":21: routes[1].path: must be a path"},
		{"path upwards", "path: /psp", "path: /psp/../x", ":21: routes[1].path: must be a path"},
		{"path twice", "path: /psp", "path: /", ":21: routes[1].path: is the same as routes[0].path: a path of a listener serves one route"},
		{"direction", `"PSP->node"`, `"node<->PSP"`, `:22: routes[1].direction: must be "node->EC", "node->PSP", "EC->node" or "PSP->node"`},
		{"principal of the other side", `"PSP->node"`, `"EC->node"`, ":23: routes[1].principal: must begin with ec: as the route's direction says"},
		{"serves without principal", "path: /psp", "path: /psp\n    serves: [\"ec:77777777777\"]", ":22: routes[1].serves: must contain the principal"},
		{"nobody can call", `, certificates: [{san: node.example, issuer: CN=CA}]`, "", ":13: routes[0]: nobody can call"},
		{"upstream by http", `"https://127.0.0.1:1"}`, `"http://127.0.0.1:1"}`, ":18: routes[0].upstream.url: must be https (write https://…)"},
		{"upstream with password", `"https://127.0.0.1:1"}`, `"https://u:hvs.LITERAL@127.0.0.1:1"}`, ":18: routes[0].upstream.url: must contain no user or password"},
		{"upstream no address", `"https://127.0.0.1:1"}`, `"127.0.0.1:1"}`, ":18: routes[0].upstream.url: must be an address"},
		{"upstream half a pair", `"https://127.0.0.1:1"}`, `"https://127.0.0.1:1", certificate: c.pem}`, ":18: routes[0].upstream.key: is required with certificate"},
		{"literal header", `"${env:SIGILLO_TEST_KEY}"`, "hvs.LITERAL", ":24: routes[1].upstream.headers.Ocp-Apim-Subscription-Key: must be a reference"},
		{"framing header", "Ocp-Apim-Subscription-Key:", "content-length:", ":24: routes[1].upstream.headers.content-length: must not be set"},
		{"header name", "Ocp-Apim-Subscription-Key:", `"A B":`, `:24: routes[1].upstream.headers."A B": must be the name of an HTTP header`},
		{"limit", "path: /psp", "path: /psp\n    limits: {body: 2GiB}", ":22: routes[1].limits.body: must be from 1KiB to 1GiB (write 16MiB)"},
		{"no time stamps", "timestamp: {test: true}\n", "", ":1: timestamp.authorities: is required"},
		{"two kinds of time", "{test: true}", `{test: true, authorities: [{url: "https://t", roots: r.pem}]}`, ":25: timestamp.test: excludes authorities"},
		{"authority's password in clear", "{test: true}", `{authorities: [{url: "http://t", roots: r.pem, user: u, password: "${env:P}"}]}`, ":25: timestamp.authorities[0].url: must be https where a password is sent"},
		{"authority's policy", "{test: true}", `{authorities: [{url: "https://t", roots: r.pem, policy: gold}]}`, ":25: timestamp.authorities[0].policy: must be an object identifier"},
		{"producer's code", "\ntimestamp:", archive + "timestamp:", ":25: archive.producers[0].fiscal_code: must be 11 digits"},
		{"public body without AOO", "\ntimestamp:", strings.Replace(archive, "fiscal_code: 1}", "fiscal_code: 77777777777, ipa_code: c_1, email: a@b}", 1) + "timestamp:", ":25: archive.producers[0].aoo: is required"},
		{"archive without folder", "\ntimestamp:", strings.Replace(archive, "dir: p, ", "", 1) + "timestamp:", ":25: archive.dir: is required in this section"},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := strings.Replace(minimal, c.old, c.new, 1)
			if content == minimal {
				t.Fatalf("%q is not in the file", c.old)
			}
			_, err := Load(write(t, "sigillo.yaml", content))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), "sigillo.yaml"+c.want) && !strings.Contains(err.Error(), "sigillo.yaml: "+c.want) {
				t.Errorf("error %v\nlacks %s", err, c.want)
			}
			if strings.Contains(err.Error(), "LITERAL") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestAllFindingsInTheOrderOfTheFile(t *testing.T) {
	bad := strings.NewReplacer("path: /psp", "path: psp\n    limits: none", "node: gw-1", "node: GW", "test: true", "tset: true",
		", certificates: [{san: node.example, issuer: CN=CA}]", "", `"https://127.0.0.1:1"}`, `"http://127.0.0.1:1"}`).Replace(minimal)
	_, err := Load(write(t, "sigillo.yaml", bad))
	last := -1
	for _, want := range []string{
		":1: node: ", ":13: routes[0]: nobody can call", ":18: routes[0].upstream.url: must be https",
		":21: routes[1].path: ", ":22: routes[1].limits: must be a section", ":26: timestamp.tset: unknown key", ":26: timestamp.authorities: is required",
	} {
		at := strings.Index(err.Error(), want)
		if at <= last {
			t.Errorf("%q missing or out of order in %v", want, err)
		}
		last = at
	}
	if strings.Contains(err.Error(), "routes[1].limits.body") {
		t.Errorf("a second finding about what could not be read: %v", err)
	}
}

// A secret that looks like YAML ends in a syntax error, which must not repeat it either.
func TestErrorsNeverRepeatSecrets(t *testing.T) {
	for _, secret := range []string{"hvs.LITERAL", "*LITERAL", "&LITERAL", "!LITERAL", "!<LITERAL>", "%LITERAL", "@LITERAL", "`LITERAL", `"LITERAL`, "'LITERAL", "[LITERAL]", "{LITERAL: 1}", "|LITERAL", ">LITERAL", "LITERAL: x", "? LITERAL", `"\LITERAL"`, "#LITERAL", "- LITERAL", "${env:LIT ERAL}", "${file:}LITERAL", "!!int LITERAL", "!LIT!LITERAL x"} {
		for _, key := range []string{"secret_id", "token", "role_id"} {
			content := strings.Replace(minimal, "keys: {custody: file}", "keys:\n  custody: vault\n  vault:\n    auth:\n      "+key+": "+secret, 1)
			_, err := Load(write(t, "sigillo.yaml", content))
			if err == nil {
				t.Fatalf("%s accepted", secret)
			}
			if strings.Contains(err.Error(), "LITERAL") && !strings.Contains(secret, "LITERAL: ") {
				t.Errorf("%s: %s: %v", key, secret, err)
			}
		}
	}
}
