package pagopa

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// segmentsOf splits a path at its slashes; doubled slashes count as one, for matching only.
func segmentsOf(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

func isParameter(segment string) bool {
	return len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}'
}

// shape is a template with the names of its parameters taken out.
func shape(segments []string) []string {
	out := make([]string, len(segments))
	for i, s := range segments {
		if out[i] = s; isParameter(s) {
			out[i] = "{}"
		}
	}
	return out
}

// match finds the REST operation of a method and a path and the values of its parameters. Where several
// templates fit, a literal segment goes before a parameter, from left to right. Operation nil: none fits.
func (c *Catalogue) match(method, path string) (*Operation, map[string]string, error) {
	segments, err := pathSegments(path)
	if err != nil {
		return nil, nil, err
	}
	var best *Operation
	for _, op := range c.rest {
		if op.Method == method && fits(op.segments, segments) && (best == nil || moreLiteral(op.segments, best.segments)) {
			best = op
		}
	}
	if best == nil {
		return nil, nil, nil
	}
	parameters := map[string]string{}
	for i, s := range best.segments {
		if isParameter(s) {
			parameters[s[1:len(s)-1]] = segments[i]
		}
	}
	return best, parameters, nil
}

func fits(template, segments []string) bool {
	if len(template) != len(segments) {
		return false
	}
	for i, s := range template {
		if !isParameter(s) && s != segments[i] {
			return false
		}
	}
	return true
}

func moreLiteral(a, b []string) bool {
	for i := range a {
		if pa, pb := isParameter(a[i]), isParameter(b[i]); pa != pb {
			return pb
		}
	}
	return false
}

// pathSegments decodes a path (RFC 3986, section 3.3) segment by segment. What servers are known to read
// differently is refused: dot segments, encoded slashes and backslashes, control characters.
func pathSegments(path string) ([]string, error) {
	// A trailing slash is a segment of its own: "/carts/" is not "/carts".
	raw := segmentsOf(path)
	if len(raw) > 0 && strings.HasSuffix(path, "/") {
		raw = append(raw, "")
	}
	segments := make([]string, len(raw))
	for i, s := range raw {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, syntaxErrorf(BadPath, "a percent-encoding in the path that is none")
		}
		if decoded == "." || decoded == ".." || strings.ContainsAny(decoded, `/\`) || !utf8.ValidString(decoded) ||
			strings.ContainsFunc(decoded, unicode.IsControl) {
			return nil, syntaxErrorf(BadPath, "a path segment that servers read differently: dots, a slash or backslash, a control character")
		}
		segments[i] = decoded
	}
	return segments, nil
}

// parseQuery reads a query as form encoded (URL Standard); a semicolon is not a separator and an error.
func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, syntaxErrorf(BadQuery, "a query that is not form encoded")
	}
	return values, nil
}
