package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// What parses has the meaning that any JSON reader sees, and one line.
func FuzzParseEntry(f *testing.F) {
	l := newLedger()
	l.exchanges(ec+"/audit-10y", 1, 1)
	l.oddities(ec+"/audit-10y", 10)
	for _, e := range l.entries {
		f.Add(e)
	}
	f.Add([]byte(`{"n":1,"N":2,"own":{"p":"x","k":0,"prev":"` + strings.Repeat("0", 64) + `"},"time":"2026-11-23T09:30:00Z","kind":"export"}`))
	f.Add([]byte(`{"n":1}{"n":2}`))
	f.Add(bytes.Repeat([]byte(`{"a":`), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err != nil {
			return
		}
		var any struct {
			N json.Number `json:"n"`
		}
		if err := json.Unmarshal(b, &any); err != nil || bytes.ContainsRune(b, '\n') || len(b) > maxEntry {
			t.Errorf("accepted: %q", b)
		}
		if _, known := ownKinds[e.Kind]; !known || !isHex64(e.Own.Prev) {
			t.Errorf("%+v", e)
		}
	})
}

func TestEntriesThatTwoReadersReadDifferently(t *testing.T) {
	good := string(newLedger().entries[0])
	good = strings.Replace(good, `"kind":"genesis"`, `"kind":"export"`, 1)
	if _, err := parseEntry([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"key twice":        strings.Replace(good, `"v":1`, `"v":1,"n":7`, 1),
		"key in capitals":  strings.Replace(good, `"v":1`, `"v":1,"N":7`, 1),
		"key with long s":  strings.Replace(good, `"kind":"export"`, `"kind":"export","messages":[],"me\u017fsages":[]`, 1),
		"nested key twice": strings.Replace(good, `"k":0`, `"k":0,"k":1`, 1),
		"two objects":      good + good,
		"newline":          strings.Replace(good, ",", ",\n", 1),
		"an array":         "[" + good + "]",
		"too long":         strings.Replace(good, `"v":1`, `"v":1,"x":"`+strings.Repeat("x", maxEntry)+`"`, 1),
		"no time":          strings.Replace(good, `"time"`, `"tome"`, 1),
		"message twice": strings.Replace(good, `"kind":"export"`,
			`"kind":"request","exchange":"x","messages":[{"i":0,"commitment":"`+strings.Repeat("0", 64)+`"},{"i":0,"commitment":"`+strings.Repeat("0", 64)+`"}]`, 1),
	} {
		if _, err := parseEntry([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	l := newLedger()
	l.entries[0] = []byte("the same in every fuzzing process")
	key, err := parseVKey(l.vkey())
	if err != nil {
		f.Fatal(err)
	}
	good := l.note(1)
	f.Add(good)
	f.Add(append(bytes.Clone(good), "— witness AAAAAAAA\n"...))
	f.Add([]byte("\n\n"))
	text, _, _ := bytes.Cut(good, []byte("\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := openCheckpoint(b, key); err == nil && (c.size != 1 || !bytes.HasPrefix(b, text)) {
			t.Errorf("forged: %q", b)
		}
	})
}

func FuzzReadXML(f *testing.F) {
	for _, name := range must(filepath.Glob("testdata/*.xml")) {
		f.Add(must(os.ReadFile(name)))
	}
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`))
	f.Add(bytes.Repeat([]byte("<a>"), 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := readIndex(b); err == nil {
			for p, sum := range s.hashes {
				if !strings.HasPrefix(p, "data/") || strings.Contains(p, "..") && !plainPath(p) || !isHex64(sum) {
					t.Errorf("accepted %q", p)
				}
			}
		}
		if _, _, err := readMetadata(b); err == nil && bytes.Contains(b, []byte("<!ENTITY")) && !bytes.Contains(b, []byte("<!--")) && !bytes.Contains(b, []byte("CDATA")) {
			t.Errorf("accepted a document type: %q", b)
		}
	})
}

// Verify says something about any ZIP, and never that it is intact.
func FuzzVerifyZip(f *testing.F) {
	l, last := unstamped(f, ec+"/audit-10y")
	opt := options(f, l, nil, ec, 0, last)
	p, err := Export(context.Background(), opt, l, fixed{}, fixed{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(must(os.ReadFile(must(Zip(context.Background(), p.Path)))))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "p.zip")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", "") // no xmllint: thousands of processes prove nothing here
		v, err := Verify(context.Background(), path, VerifyOptions{})
		if err == nil && v.Verdict == exchange.Intact {
			t.Errorf("%+v", v)
		}
	})
}
