package policies

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the hour in Rome must not depend on what the host has installed

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Limits of a pack. They keep a hostile or mistaken file from exhausting memory, or the stack of
// cedar-go's parser, which recurses without a bound of its own.
const (
	maxFiles     = 64        // files of a pack, also entries of its folder
	maxFileBytes = 256 << 10 // bytes of one file
	maxPackBytes = 1 << 20   // bytes of all files
	maxNesting   = 64        // brackets and ifs open at one place
	maxFindings  = 50        // findings in one error
)

const schemaName = "schema.cedarschema"

// reserved is the prefix of the ids by which Sigillo itself denies; no policy may take one.
const reserved = "sigillo-"

//go:embed default.cedar schema.cedarschema
var embedded embed.FS

var (
	policyID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
)

type file struct {
	path    string // as errors show it
	name    string // as the digest covers it
	content []byte
}

// Load reads, parses and checks a pack and returns its engine. dir is the pack's folder; "" is the
// embedded default pack. A folder holds *.cedar files and at most one schema.cedarschema; without one
// the embedded schema is used. Other files whose name contains ".cedar" are refused, further files ignored.
//
// Every finding of the pack (at most 50) is in the error, each with file and line where it has one: syntax, a policy
// without @id or with one that is taken, an operation or attribute that the schema does not have.
// Bounds: 64 files of 256 KiB, 1 MiB in all.
func Load(dir string) (*Engine, error) {
	rome, err := time.LoadLocation("Europe/Rome")
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	files, err := readPack(dir)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	set, err := compile(files)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	e := &Engine{digest: digest(files), rome: rome}
	for _, id := range slices.Sorted(maps.Keys(set)) {
		e.rules = append(e.rules, rule{id: id, policy: set[id]})
	}
	return e, nil
}

// readPack returns the files of the pack in byte order of their names.
func readPack(dir string) ([]file, error) {
	if dir == "" {
		return readEmbedded()
	}
	names, err := list(dir)
	if err != nil {
		return nil, err
	}
	var files []file
	total := 0
	policies := false
	for _, name := range names {
		path := filepath.Join(dir, name)
		if !fileName.MatchString(name) || name != schemaName && !strings.HasSuffix(name, ".cedar") {
			return nil, fmt.Errorf("%q: a pack's files are called NAME.cedar (letters, digits, . _ -) or %s; rename the file or move it away", path, schemaName)
		}
		content, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if total += len(content); total > maxPackBytes {
			return nil, fmt.Errorf("%s: the pack is larger than %d bytes; remove policies that no longer apply", dir, maxPackBytes)
		}
		policies = policies || name != schemaName
		files = append(files, file{path: path, name: name, content: content})
	}
	if !policies {
		return nil, fmt.Errorf("%s: no *.cedar file: a pack without policies would deny everything; add one or leave policies.dir empty for the default pack", dir)
	}
	return files, nil
}

func readEmbedded() ([]file, error) {
	var files []file
	for _, name := range []string{"default.cedar", schemaName} {
		content, err := embedded.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: name, name: name, content: content})
	}
	return files, nil
}

// list returns the sorted names in dir that belong to a pack or look as if they were meant to.
func list(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := d.Readdirnames(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	if len(all) > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files; give the pack a folder of its own", dir, maxFiles)
	}
	names := slices.DeleteFunc(all, func(name string) bool {
		return strings.HasPrefix(name, ".") || !strings.Contains(name, ".cedar")
	})
	slices.Sort(names)
	return names, nil
}

func readFile(path string) ([]byte, error) {
	// Stat before Open: opening a FIFO would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w: not a regular file", path, fs.ErrInvalid)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(content) > maxFileBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes; split the file", path, maxFileBytes)
	}
	return content, nil
}

// compile parses and checks the files. The error joins every finding.
func compile(files []file) (map[cedar.PolicyID]*cedar.Policy, error) {
	validator, err := loadSchema(files)
	if err != nil {
		return nil, err
	}
	set := make(map[cedar.PolicyID]*cedar.Policy)
	var findings []error
	for _, f := range files {
		if f.name == schemaName {
			continue
		}
		if err := checkNesting(f); err != nil {
			findings = append(findings, err)
			continue
		}
		list, err := cedar.NewPolicyListFromBytes(f.path, f.content)
		if err != nil {
			findings = append(findings, syntaxError(f, err))
			continue
		}
		for _, p := range list {
			if len(findings) >= maxFindings {
				return nil, errors.Join(append(findings, errors.New("further findings are left out"))...)
			}
			if err := admit(set, p, validator); err != nil {
				findings = append(findings, fmt.Errorf("%s:%d: %w", f.path, p.Position().Line, err))
			}
		}
	}
	if len(findings) == 0 && len(set) == 0 {
		findings = append(findings, fmt.Errorf("%s: no policy in the pack: it would deny everything", files[0].path))
	}
	return set, errors.Join(findings...)
}

// admit checks one policy and puts it into set under its id.
func admit(set map[cedar.PolicyID]*cedar.Policy, p *cedar.Policy, v *validate.Validator) error {
	id := cedar.PolicyID(p.Annotations()["id"])
	switch {
	case id == "":
		return errors.New(`policy without id: write @id("a-name-of-its-own") above it; entries show this name`)
	case !policyID.MatchString(string(id)):
		return fmt.Errorf("id %.80q: use at most 64 lower-case letters, digits, . _ -", string(id))
	case strings.HasPrefix(string(id), reserved):
		return fmt.Errorf("id %q: names that begin with %q are Sigillo's own; choose another", id, reserved)
	}
	if first, taken := set[id]; taken {
		at := first.Position()
		return fmt.Errorf("id %q is taken by the policy at %s:%d; give each policy an id of its own", id, at.Filename, at.Line)
	}
	set[id] = p
	if err := v.Policy(string(id), (*ast.Policy)(p.AST())); err != nil {
		// The validator repeats a finding for each of a hundred actions: the first says it.
		first, _, _ := strings.Cut(err.Error(), "\n")
		return fmt.Errorf("policy %q does not fit the schema: %s", id, first)
	}
	return nil
}

// loadSchema returns a validator for the pack's own schema, or for the embedded one.
func loadSchema(files []file) (*validate.Validator, error) {
	i := slices.IndexFunc(files, func(f file) bool { return f.name == schemaName })
	var f file
	if i >= 0 {
		f = files[i]
	} else {
		content, err := embedded.ReadFile(schemaName)
		if err != nil {
			return nil, err
		}
		f = file{path: schemaName, name: schemaName, content: content}
	}
	if err := checkNesting(f); err != nil {
		return nil, err
	}
	var s schema.Schema
	s.SetFilename(f.path)
	if err := s.UnmarshalCedar(f.content); err != nil {
		return nil, syntaxError(f, err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return validate.New(resolved), nil
}

// position is how cedar-go's errors begin: they carry file, line and column in their text only.
var position = regexp.MustCompile(`(?s)^(?:parser error: )?(?:parse error at )?(?:<input>:)?(\d+):(\d+):? *(.*)$`)

// syntaxError puts file, line and column in front, as a compiler would.
func syntaxError(f file, err error) error {
	text := strings.TrimPrefix(err.Error(), f.path+":")
	if at := position.FindStringSubmatch(text); at != nil {
		return fmt.Errorf("%s:%s:%s: syntax: %s", f.path, at[1], at[2], at[3])
	}
	return fmt.Errorf("%s: syntax: %s", f.path, text)
}

// checkNesting bounds what the parser would recurse into: brackets and if-then-else.
func checkNesting(f file) error {
	open, closing := "([{", ")]}"
	if f.name == schemaName {
		open, closing = "([{<", ")]}>" // Set<Set<…>>; in a policy these compare
	}
	depth, ifs, line := 0, 0, 1
	rest := f.content
	for len(rest) > 0 {
		n := 1
		switch c := rest[0]; {
		case c == '\n':
			line++
		case c == '"':
			n = stringEnd(rest)
			line += bytes.Count(rest[:n], []byte{'\n'})
		case c == '/' && bytes.HasPrefix(rest, []byte("//")):
			if n = bytes.IndexByte(rest, '\n'); n < 0 {
				n = len(rest)
			}
		case strings.IndexByte(open, c) >= 0:
			depth++
		case strings.IndexByte(closing, c) >= 0:
			depth = max(0, depth-1)
		case c == ';':
			// ends a policy or a declaration, so nothing is open any more
			depth, ifs = 0, 0
		case isLetter(c):
			n = wordEnd(rest)
			if string(rest[:n]) == "if" {
				ifs++
			}
		}
		if depth+ifs > maxNesting {
			return fmt.Errorf("%s:%d: nested more than %d deep (brackets and ifs); split the policy", f.path, line, maxNesting)
		}
		rest = rest[n:]
	}
	return nil
}

func stringEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func isLetter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }

func wordEnd(b []byte) int {
	for i, c := range b {
		if !isLetter(c) && (c < '0' || c > '9') {
			return i
		}
	}
	return len(b)
}
