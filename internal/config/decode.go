package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a date means a day in Rome wherever the gateway runs
	"unicode"

	"go.yaml.in/yaml/v3"
)

// decoder puts a YAML tree into the structs. It is not yaml.Decoder with KnownFields, for three reasons:
// every finding gets the path of its field besides its line, all findings are listed at once, and no
// message ever repeats a value, which might be a secret in the wrong place.
type decoder struct {
	base     string         // folder of the file, for relative paths
	rome     *time.Location // of dates
	lines    map[string]int // path of a field → its line
	findings []Finding
}

func (d *decoder) find(line int, path, format string, args ...any) {
	d.findings = append(d.findings, Finding{Line: line, Field: path, Problem: fmt.Sprintf(format, args...)})
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	secretType   = reflect.TypeFor[Secret]()
	sizeType     = reflect.TypeFor[Size]()
)

// value decodes n into v, which stands at path. as is the tag of its field: "path", "end" or "".
func (d *decoder) value(n *yaml.Node, v reflect.Value, path, as string) {
	d.lines[path] = n.Line
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.find(n.Line, path, "anchors and aliases (&, *) are not supported: write the value out; put a text that begins with one in quotes")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.find(n.Line, path, "tags (!) are not supported: leave it out; put a text that begins with ! in quotes")
		return
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return // nothing written: the default
	}
	switch t := v.Type(); {
	case t == durationType || t == timeType || t == secretType || t == sizeType:
		d.scalar(n, v, path, as)
	case t.Kind() == reflect.Struct:
		d.mapping(n, path, func(key, value *yaml.Node) { d.field(key, value, v, path) })
	case t.Kind() == reflect.Map:
		out := reflect.MakeMap(t)
		d.mapping(n, path, func(key, value *yaml.Node) {
			item := reflect.New(t.Elem()).Elem()
			d.value(value, item, join(path, printable(key.Value)), as)
			out.SetMapIndex(reflect.ValueOf(key.Value), item)
		})
		v.Set(out)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.find(n.Line, path, "must be a list (write - before each item, or [a, b])")
			return
		}
		out := reflect.MakeSlice(t, len(n.Content), len(n.Content))
		for i, item := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			d.value(item, out.Index(i), at, as)
			if item.Kind == yaml.ScalarNode && item.Value == "" {
				d.find(item.Line, at, "is empty: write an item or take the - away")
			}
		}
		v.Set(out)
	default:
		d.scalar(n, v, path, as)
	}
}

// mapping calls each for every key of n, once.
func (d *decoder) mapping(n *yaml.Node, path string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.find(n.Line, path, "must be a section (write key: value lines below it, indented)")
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 {
			d.find(key.Line, path, "a key must be one plain word")
			continue
		}
		if line, twice := seen[key.Value]; twice {
			d.find(key.Line, join(path, printable(key.Value)), "stands twice, first in line %d: keep one", line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, n.Content[i+1])
	}
}

func (d *decoder) field(key, value *yaml.Node, v reflect.Value, path string) {
	var known []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		if name == key.Value {
			d.value(value, v.Field(i), join(path, name), f.Tag.Get("as"))
			return
		}
		known = append(known, name)
	}
	slices.Sort(known)
	d.find(key.Line, join(path, printable(key.Value)), "unknown key (known here: %s)", strings.Join(known, ", "))
}

// scalar decodes one plain value.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path, as string) {
	if n.Kind != yaml.ScalarNode {
		d.find(n.Line, path, "must be one value, not a list or a section")
		return
	}
	if i := strings.IndexFunc(n.Value, unicode.IsControl); i >= 0 {
		d.find(n.Line, path, "must be one line without control characters")
		return
	}
	var err error
	switch v.Type() {
	case durationType:
		var x time.Duration
		if x, err = parseDuration(n.Value); err == nil {
			v.SetInt(int64(x))
		}
	case sizeType:
		var x Size
		if x, err = parseSize(n.Value); err == nil {
			v.SetInt(int64(x))
		}
	case secretType:
		var x Secret
		if x, err = parseSecret(n.Value, d.base); err == nil {
			v.Set(reflect.ValueOf(x))
		}
	case timeType:
		var x time.Time
		if x, err = d.instant(n.Value, as == "end"); err == nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		err = d.plain(n, v, as)
	}
	if err != nil {
		d.find(n.Line, path, "%v", err)
	}
}

// plain decodes text, whole numbers and yes-or-no.
func (d *decoder) plain(n *yaml.Node, v reflect.Value, as string) error {
	switch v.Kind() {
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			return fmt.Errorf("must be true or false, without quotes")
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		x, err := strconv.Atoi(n.Value)
		if err != nil || n.ShortTag() != "!!int" {
			return fmt.Errorf("must be a whole number, without quotes")
		}
		v.SetInt(int64(x))
	case reflect.String:
		if n.ShortTag() == "!!bool" {
			return fmt.Errorf("must be text (put it in quotes)")
		}
		s := n.Value
		if as == "path" && s != "" && !filepath.IsAbs(s) {
			s = filepath.Join(d.base, s)
		}
		v.SetString(s)
	default:
		return fmt.Errorf("cannot be configured") // no field of Config has another kind; a test walks them all
	}
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	x, err := time.ParseDuration(s)
	if err != nil || x < 0 {
		return 0, fmt.Errorf("must be a duration with its unit ms, s, m or h, not negative (write 30s)")
	}
	return x, nil
}

// instant reads an RFC 3339 time, or a date: its first instant in Rome or, for an end, the first one after it.
func (d *decoder) instant(s string, end bool) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, s, d.rome)
	if err != nil {
		return time.Time{}, fmt.Errorf("must be a date or an RFC 3339 time (write 2026-12-31 or 2026-12-31T23:00:00Z)")
	}
	if end {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// printable makes a key fit for a message.
func printable(key string) string {
	if len(key) > 60 {
		key = key[:60] + "…"
	}
	q := strconv.Quote(key)
	if q[1:len(q)-1] == key && !strings.ContainsAny(key, " .:[]") && key != "" {
		return key
	}
	return q
}
