package archive

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// referred is a document that metadata name, with the hash that they give it.
type referred struct{ id, hash string }

// metadata reads the metadata of each exchange and holds its hashes against the files.
func (v *verifier) metadata(ctx context.Context) error {
	v.lintable = map[string][]string{}
	if v.stated != nil {
		v.lintable["PIndex.xsd"] = []string{"PIndex.xml"}
	}
	for n, d := range v.dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := metadataFile(n)
		if _, ok := v.sums[name]; !ok {
			v.brokenEntry(CheckLayout, n, "%s is missing", name)
			continue
		}
		text := v.file(CheckMetadata, name, maxSmall)
		if text == nil {
			continue
		}
		root, named, err := readMetadata(text)
		if err != nil {
			v.brokenEntry(CheckMetadata, n, "%s: %v", name, err)
			continue
		}
		v.lintable[root+".xsd"] = append(v.lintable[root+".xsd"], name)
		want := []string{exchangeDir(n) + "/exchange.json"}
		for _, b := range d.bodies {
			want = append(want, b.path)
		}
		got := make([]string, len(named))
		for i, r := range named {
			got[i] = r.id
			if f, ok := v.sums[r.id]; !ok || f.hex() != r.hash {
				v.brokenEntry(CheckMetadata, n, "%s: hash of %.120q is not that of the file", name, r.id)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			v.brokenEntry(CheckMetadata, n, "%s does not name the documents of its exchange", name)
		}
	}
	for schema := range v.lintable {
		if _, ok := v.sums["data/schemas/"+schema]; !ok {
			v.broken(CheckLayout, "data/schemas/%s is missing", schema)
		}
	}
	for name := range v.sums {
		if base, ok := strings.CutPrefix(name, "data/metadata/"); ok && base != "serie.xml" {
			n, err := strconv.ParseUint(strings.TrimSuffix(base, ".xml"), 10, 64)
			if err != nil || metadataFile(n) != name || v.dirs[n] == nil {
				v.broken(CheckMetadata, "%s belongs to no exchange of the package", name)
			}
		}
	}
	return nil
}

func metadataFile(n uint64) string { return fmt.Sprintf("data/metadata/%012d.xml", n) }

// readMetadata gives the root element, the document (named by NomeDelDocumento) and the attachments (named by
// their identifiers).
func readMetadata(text []byte) (root string, named []referred, err error) {
	var all []referred
	var one referred
	main := ""
	name := ""
	end := func(p []string, text string) error {
		below := strings.Join(p[1:], "/")
		switch {
		case strings.HasSuffix(below, "IdDoc/ImprontaCrittograficaDelDocumento/Impronta"):
			raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if err != nil {
				return errors.New("element Impronta is not base64")
			}
			one.hash = hex.EncodeToString(raw)
		case strings.HasSuffix(below, "IdDoc/Identificativo"):
			one.id = text
		case below == "IdDoc":
			main, one = one.hash, referred{}
		case below == "Allegati/IndiceAllegati/IdDoc":
			all, one = append(all, one), referred{}
		case below == "NomeDelDocumento":
			name = text
		}
		return nil
	}
	start := func(p []string, e xml.StartElement) error {
		if len(p) == 1 && (e.Name.Space != "" || e.Name.Local != "DocumentoInformatico" && e.Name.Local != "DocumentoAmministrativoInformatico") {
			return fmt.Errorf("root element %.60q is not of allegato 5", e.Name.Local)
		}
		root = p[0]
		return nil
	}
	if err := walkXML(text, start, end); err != nil {
		return "", nil, err
	}
	return root, append(all, referred{name, main}), nil
}

// schemas holds index and metadata against their schemas with xmllint, which is not ours either. It gets only
// what was found well-formed and free of entities.
func (v *verifier) schemas(ctx context.Context) error {
	tool, err := exec.LookPath("xmllint")
	if err != nil {
		for _, files := range v.lintable {
			v.Counts["schema_not_checked"] += int64(len(files))
		}
		return nil
	}
	texts, err := loadSchemas(v.opt.Schemas)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "sigillo-verify-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for schema, files := range v.lintable {
		slices.Sort(files)
		if err := os.WriteFile(filepath.Join(tmp, schema), texts[schema], 0o600); err != nil {
			return err
		}
		for batch := range slices.Chunk(files, 2000) {
			if err := v.lint(ctx, tool, tmp, schema, batch); err != nil {
				return err
			}
		}
	}
	return nil
}

// lint runs xmllint over copies of some files.
func (v *verifier) lint(ctx context.Context, tool, tmp, schema string, files []string) error {
	if _, err := os.Stat(filepath.Join(tmp, schema)); err != nil {
		return err
	}
	arguments := []string{"--nonet", "--noout", "--schema", schema}
	for _, name := range files {
		text, err := v.bundle.read(name, maxIndex)
		if err != nil {
			return err
		}
		copied := path.Base(name)
		if err := os.WriteFile(filepath.Join(tmp, copied), text, 0o600); err != nil {
			return err
		}
		arguments = append(arguments, copied)
	}
	command := exec.CommandContext(ctx, tool, arguments...)
	command.Dir = tmp
	out, err := command.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("xmllint: %w", err)
	}
	v.Counts["schema_checked"] += int64(len(files))
	if err == nil {
		return nil
	}
	failed := false
	for _, name := range files {
		base := path.Base(name)
		if bytes.Contains(out, []byte(base+" fails to validate")) {
			failed = true
			v.broken(CheckSchema, "%s is not valid under %s: %.300s", name, schema, complaint(string(out), base))
		}
	}
	if !failed {
		v.unsure(CheckSchema, "xmllint could not judge %d files under %s: %.300s", len(files), schema, out)
	}
	return nil
}

// complaint is xmllint's first line about a file.
func complaint(out, name string) string {
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
