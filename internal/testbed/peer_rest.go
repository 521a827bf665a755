package testbed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// restRow is one row of messages/rest.tsv. In answer a string "$name|default" stands for the value called name of
// the path, the query or the body, "#name|default" for the same as a number, "$body" for the whole body.
type restRow struct {
	direction, operation string
	method, path         string
	segments             []string
	status               int
	answer               any
}

// restRows reads the table, the most literal paths first.
func restRows() ([]restRow, error) {
	rows, err := table("rest.tsv", 6)
	if err != nil {
		return nil, err
	}
	all := make([]restRow, 0, len(rows))
	for _, r := range rows {
		row := restRow{direction: r[0], operation: r[1], method: r[2], path: r[3], segments: strings.Split(r[3], "/")}
		if row.status, err = strconv.Atoi(r[4]); err != nil {
			return nil, fmt.Errorf("read rest.tsv: status of %s: %w", row.operation, err)
		}
		if row.answer, err = decodeJSON([]byte(r[5])); err != nil {
			return nil, fmt.Errorf("read rest.tsv: answer of %s: %w", row.operation, err)
		}
		all = append(all, row)
	}
	sort.SliceStable(all, func(i, j int) bool { return strings.Count(all[i].path, "{") < strings.Count(all[j].path, "{") })
	return all, nil
}

// findREST returns the row for a path, if there is one with the same method, otherwise any with that path.
func (a *Answerer) findREST(method, path string) (found restRow, params map[string]string, ok bool) {
	segments := strings.Split(path, "/")
	for _, row := range a.rest {
		if !a.role.serves(row.direction) {
			continue
		}
		p, match := matchPath(row.segments, segments)
		if !match {
			continue
		}
		if row.method == method {
			return row, p, true
		}
		found, ok = row, true
	}
	return found, nil, ok
}

func matchPath(pattern, path []string) (map[string]string, bool) {
	if len(pattern) != len(path) {
		return nil, false
	}
	params := map[string]string{}
	for i, want := range pattern {
		switch {
		case strings.HasPrefix(want, "{") && path[i] != "":
			params[strings.Trim(want, "{}")] = path[i]
		case want != path[i]:
			return nil, false
		}
	}
	return params, true
}

func (a *Answerer) answerREST(row restRow, params map[string]string, r Request) Answer {
	if r.KO {
		return identified(problem(http.StatusBadRequest, "refused as asked"), row)
	}
	var body any
	if text, err := plainText(r.Header, r.Body); err == nil && len(text) > 0 {
		if body, err = decodeJSON(text); err != nil && strings.Contains(r.Header.Get("Content-Type"), "json") {
			return identified(problem(http.StatusBadRequest, "the body is not JSON"), row)
		}
	}
	values := valuesOf{params: params, query: r.Query, body: body}
	answer := values.fill(row.answer)
	out := Answer{Status: row.status, Header: http.Header{}}
	if answer != nil {
		text, err := json.Marshal(answer)
		if err != nil {
			return identified(problem(http.StatusInternalServerError, "no answer"), row)
		}
		out.Body = append(text, '\n')
		out.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if row.status == http.StatusFound {
		out.Header.Set("Location", "https://checkout.example.it/c/0001")
	}
	return identified(out, row)
}

func identified(a Answer, row restRow) Answer {
	a.Operation, a.Pattern = row.operation, row.path
	return a
}

// valuesOf is where the answer of a REST operation takes its values from.
type valuesOf struct {
	params map[string]string
	query  url.Values
	body   any
}

// fill copies a template and replaces its placeholders.
func (v valuesOf) fill(template any) any {
	switch t := template.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for k, x := range t {
			out[k] = v.fill(x)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, x := range t {
			out[i] = v.fill(x)
		}
		return out
	case string:
		switch {
		case t == "$body":
			return v.body
		case strings.HasPrefix(t, "$"):
			return v.value(t[1:])
		case strings.HasPrefix(t, "#"):
			if n := json.Number(v.value(t[1:])); isNumber(n) {
				return n
			}
			_, fallback, _ := strings.Cut(t, "|")
			return json.Number(fallback)
		}
	}
	return template
}

func isNumber(n json.Number) bool {
	_, err := n.Float64()
	return err == nil && json.Valid([]byte(n))
}

func (v valuesOf) value(placeholder string) string {
	name, fallback, _ := strings.Cut(placeholder, "|")
	found := firstNonEmpty(v.params[name], v.query.Get(name))
	if found == "" {
		found = scalar(v.body, name, 0)
	}
	return firstNonEmpty(found, fallback)
}

// scalar finds the first string or number under name in a JSON document, parents before children.
func scalar(document any, name string, deep int) string {
	if deep > maxDepth {
		return ""
	}
	switch d := document.(type) {
	case map[string]any:
		switch x := d[name].(type) {
		case string:
			return x
		case json.Number:
			return x.String()
		}
		keys := make([]string, 0, len(d))
		for k := range d {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			if found := scalar(d[k], name, deep+1); found != "" {
				return found
			}
		}
	case []any:
		for _, x := range d {
			if found := scalar(x, name, deep+1); found != "" {
				return found
			}
		}
	}
	return ""
}

// decodeJSON decodes one document and keeps numbers as they are written.
func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var document any
	if err := d.Decode(&document); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON document")
	}
	return document, nil
}

// problem is an answer as RFC 9457 has it.
func problem(status int, title string) Answer {
	text, _ := json.Marshal(map[string]any{"type": "about:blank", "status": status, "title": title}) // a map of strings and a number
	return Answer{Status: status, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: append(text, '\n')}
}
