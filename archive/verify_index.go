package archive

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// stated is what a PIndex says, as far as it is held against the rest.
type stated struct {
	hashes      map[string]string // path to hex
	origin, own string
	first, last uint64
	firstN      uint64
	lastN       uint64
	previous    *PreviousPackage
	hasRange    bool
}

// index reads PIndex.xml and holds it against the manifest, both ways.
func (v *verifier) index(context.Context) error {
	if v.pindex = v.file(CheckIndex, "PIndex.xml", maxIndex); v.pindex == nil {
		return nil
	}
	var err error
	if v.stated, err = readIndex(v.pindex); err != nil {
		v.broken(CheckIndex, "PIndex.xml: %v", err)
		v.stated = nil
		return nil
	}
	if !v.stated.hasRange {
		v.broken(CheckIndex, "PIndex.xml does not state the range that the package covers")
	}
	for p, sum := range v.stated.hashes {
		switch f, ok := v.sums[p]; {
		case !ok:
			v.broken(CheckIndex, "%s is missing", p)
		case f.hex() != sum:
			v.broken(CheckIndex, "%s is not the file that PIndex.xml lists", p)
		}
		if v.manifest != nil && v.manifest[p] != sum {
			v.broken(CheckIndex, "%s: PIndex.xml and manifest-sha256.txt differ", p)
		}
	}
	for p := range v.manifest {
		if _, ok := v.stated.hashes[p]; !ok {
			v.broken(CheckIndex, "%s is in manifest-sha256.txt and not in PIndex.xml", p)
		}
	}
	return nil
}

// walkXML calls fn for each start of an element, with its path of local names, and for each end, with the text
// directly inside. It refuses document types (so entities) and deep nesting.
func walkXML(data []byte, start func(path []string, e xml.StartElement) error, end func(path []string, text string) error) error {
	dec := xml.NewDecoder(bytes.NewReader(data))
	var path []string
	var texts []*strings.Builder
	roots := 0
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			if roots != 1 || len(path) > 0 {
				return errors.New("not one XML document")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("not well-formed: %w", err)
		}
		switch t := t.(type) {
		case xml.Directive:
			return errors.New("has a document type declaration, which is refused")
		case xml.StartElement:
			if len(path) == 0 {
				roots++
			}
			if len(path) == 64 {
				return errors.New("nested deeper than 64")
			}
			path, texts = append(path, t.Name.Local), append(texts, new(strings.Builder))
			if err := start(path, t); err != nil {
				return err
			}
		case xml.CharData:
			if len(texts) > 0 {
				texts[len(texts)-1].Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return errors.New("text outside the root element")
			}
		case xml.EndElement:
			if err := end(path, texts[len(texts)-1].String()); err != nil {
				return err
			}
			path, texts = path[:len(path)-1], texts[:len(texts)-1]
		}
	}
}

func readIndex(data []byte) (*stated, error) {
	s := &stated{hashes: map[string]string{}}
	file, sum := "", ""
	start := func(path []string, e xml.StartElement) error {
		switch strings.Join(path, "/") {
		case "PIndex":
			if e.Name.Space != pindexSpace {
				return errors.New("root element is not PIndex of UNI 11386:2020")
			}
		case "PIndex/FileGroup/File":
			file, sum = "", ""
		case "PIndex/FileGroup/File/Hash":
			if f := attribute(e, pindexSpace, "hashFunction"); f != "SHA-256" {
				return fmt.Errorf("hash function %.40q is not SHA-256", f)
			}
		case "PIndex/PVolume/MoreInfo/EmbeddedMetadata/Range":
			if e.Name.Space == rangeSpace && !s.hasRange {
				s.hasRange = true
				s.origin, s.own = attribute(e, "", "origin"), attribute(e, "", "own")
				return numbers(e, map[string]*uint64{"first": &s.first, "last": &s.last, "firstEntry": &s.firstN, "lastEntry": &s.lastN})
			}
		case "PIndex/PVolume/MoreInfo/EmbeddedMetadata/Range/Previous":
			s.previous = &PreviousPackage{ID: attribute(e, "", "package"), SHA256: attribute(e, "", "sha256")}
			return numbers(e, map[string]*uint64{"last": &s.previous.LastK})
		}
		return nil
	}
	end := func(path []string, text string) error {
		if len(path) < 3 || path[1] != "FileGroup" || path[2] != "File" {
			return nil
		}
		switch {
		case len(path) == 4 && path[3] == "Path":
			file = text
		case len(path) == 4 && path[3] == "Hash":
			sum = text
		case len(path) == 3:
			if !plainPath(file) || !strings.HasPrefix(file, "data/") || !isHex64(sum) {
				return fmt.Errorf("malformed path or hash of %.100q", file)
			}
			if s.hashes[file] != "" {
				return fmt.Errorf("%s stands twice", file)
			}
			s.hashes[file] = sum
		}
		return nil
	}
	return s, walkXML(data, start, end)
}

func attribute(e xml.StartElement, space, local string) string {
	for _, a := range e.Attr {
		if a.Name.Space == space && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

func numbers(e xml.StartElement, want map[string]*uint64) error {
	for name, to := range want {
		n, err := strconv.ParseUint(attribute(e, "", name), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: attribute %s is not a number", e.Name.Local, name)
		}
		*to = n
	}
	return nil
}
