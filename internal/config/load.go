package config

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxFileBytes = 1 << 20 // of the configuration file
	maxFindings  = 100     // shown in one error
)

//go:embed example.yaml
var example []byte

// Example is a commented file with every key. Load accepts it; Check asks for the files that it names.
func Example() []byte { return bytes.Clone(example) }

// Finding is one thing wrong in the file, or in a file that it names.
type Finding struct {
	Line    int    // in the configuration file; 0 when it concerns no line
	Field   string // e.g. "routes[0].upstream.url"; "" when it concerns the whole file
	Problem string // what is wrong and, in brackets or after a colon, what to write instead
}

// InvalidError says everything that is wrong with a configuration, in the order of the file.
type InvalidError struct {
	File     string
	Findings []Finding
}

// Error is one line for each finding: "sigillo.yaml:12: routes[0].upstream.url: must be https (write https://…)".
func (e *InvalidError) Error() string {
	var text strings.Builder
	for i, f := range e.Findings {
		if i == maxFindings {
			fmt.Fprintf(&text, "\n%s: %d further findings are left out", e.File, len(e.Findings)-i)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(e.File)
		if f.Line > 0 {
			fmt.Fprintf(&text, ":%d", f.Line)
		}
		if f.Field != "" {
			text.WriteString(": " + f.Field)
		}
		text.WriteString(": " + f.Problem)
	}
	return text.String()
}

// invalid returns the findings as an error, nil when there is none.
func invalid(file string, findings []Finding) error {
	if len(findings) == 0 {
		return nil
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return a.Line - b.Line })
	return &InvalidError{File: file, Findings: findings}
}

// Load reads and validates the file at path (at most 1 MiB) and sets the defaults. It opens no other file
// and follows no secret: that is Check's and Secret.Reveal's. Relative paths in the file become relative to
// the file's folder. What is wrong with the file comes as one *InvalidError with all findings.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("load configuration: read %s: %w", path, err)
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("load configuration: %s is larger than %d bytes", path, maxFileBytes)
	}
	return parse(content, path)
}

func parse(content []byte, path string) (*Config, error) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	base, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	root, err := tree(content, path)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(content)
	c := &Config{file: path, digest: hex.EncodeToString(digest[:])}
	c.presetAnchors()
	d := &decoder{base: base, rome: rome, lines: make(map[string]int)}
	d.value(root, reflect.ValueOf(c).Elem(), "", "")
	c.lines = d.lines
	c.setDefaults()
	v := &validator{config: c, findings: d.findings, undecoded: len(d.findings)}
	v.validate()
	if err := invalid(path, v.findings); err != nil {
		return nil, err
	}
	return c, nil
}

// tree parses exactly one YAML document.
func tree(content []byte, path string) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	switch err := dec.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, invalid(path, []Finding{{Line: 1, Problem: "the file is empty (begin with: sigillo config example)"}})
	case err != nil:
		return nil, invalid(path, []Finding{syntax(err)})
	}
	if err := dec.Decode(&second); err == nil {
		return nil, invalid(path, []Finding{{Line: second.Line, Problem: "a second document begins (---): keep one"}})
	} else if !errors.Is(err, io.EOF) {
		return nil, invalid(path, []Finding{syntax(err)})
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, invalid(path, []Finding{{Line: root.Line, Problem: "must be a file of key: value lines (begin with: sigillo config example)"}})
	}
	return root, nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// syntax turns the YAML parser's error into a finding.
func syntax(err error) Finding {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil || strings.Contains(m[2], "'") {
		// The parser repeats names of anchors, and a secret that begins with * looks like one.
		return Finding{Problem: "is not valid YAML: a text that begins with * & or ! needs quotes"}
	}
	line, err := strconv.Atoi(m[1])
	if err != nil {
		line = 1 // the parser leaves the first line unsaid
	}
	return Finding{Line: line, Problem: "is not valid YAML: " + m[2]}
}
