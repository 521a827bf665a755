package pagopa

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"sigillo/internal/exchange"
)

// Request is what the classifier looks at in an HTTP request.
type Request struct {
	Method          string
	Path            string // after the route's prefix, as on the wire (percent-encoded)
	RawQuery        string // without the question mark
	ContentType     string
	ContentEncoding string
	SOAPAction      string // the header's value, quoted or not; "" when absent
	Body            []byte // as on the wire; not changed, not kept
}

// Classified is what a request is.
type Classified struct {
	Protocol   string // SOAP or REST
	Operation  string // name in the catalogue, or Unknown
	Name       string // local name in soap:Body, or method and path, cut at 256 bytes: content, sealed with the message
	Interface  string // as in the catalogue; "" when unknown, as are the next two
	Generation string
	Direction  string
	Keys       exchange.Keys // in document order; REST: path, query, body
	Findings   []string      // the Finding constants
}

// Request classifies a request. An error is a *SyntaxError (refuse with 400), or wraps ErrActionMismatch.
//
// It is SOAP when its Content-Type is an XML one and there is a body; else REST when method and path fit a
// template; else SOAP when the body begins with '<'; else REST, unknown. XML at a REST operation is refused: a
// server that goes by method and path would do another thing than the body says. Safe for concurrent use.
func (c *Catalogue) Request(r Request) (Classified, error) {
	out := Classified{Protocol: REST, Operation: Unknown}
	m, err := parseMediaType(r.ContentType)
	if err != nil {
		return out, err
	}
	if m.malformed {
		out.Findings = append(out.Findings, FindingContentType)
	}
	op, parameters, err := c.match(r.Method, r.Path)
	if err != nil {
		return out, err
	}
	body := bufio.NewReaderSize(decodeContent(r.ContentEncoding, r.Body), 4096)
	head, err := body.Peek(1024)
	switch {
	case errors.Is(err, errContentEncoding):
		out.Name = clip(r.Method + " " + r.Path)
		out.Findings = append(out.Findings, FindingContentEncoding)
		return out, nil
	case m.isXML() && len(head) > 0 && op != nil:
		return out, syntaxErrorf(TwoProtocols, "XML for the REST operation %s", op.Name)
	case m.isXML() && len(head) > 0, op == nil && beginsWith(head, "<") && !m.isJSON():
		out.Protocol = SOAP
		err = c.requestSOAP(r, m, body, &out)
	default:
		err = requestREST(r, op, parameters, m, body, head, &out)
	}
	if errors.Is(err, errContentEncoding) {
		return Classified{Protocol: out.Protocol, Operation: Unknown, Findings: []string{FindingContentEncoding}}, nil
	}
	if err != nil && !errors.Is(err, ErrActionMismatch) {
		return Classified{Protocol: out.Protocol, Operation: Unknown, Name: out.Name}, err
	}
	return out, err
}

// describe takes over what the catalogue says.
func (out *Classified) describe(op *Operation) {
	out.Operation, out.Interface, out.Generation, out.Direction = op.Name, op.Interface, op.Generation, op.Direction
}

// requestREST takes the keys of a REST request; op is nil when the catalogue has none.
func requestREST(r Request, op *Operation, parameters map[string]string, m mediaType, body io.Reader, head []byte, out *Classified) error {
	out.Name = clip(r.Method + " " + r.Path)
	k := collector{findings: out.Findings}
	var tree *node
	if op != nil {
		out.describe(op)
		if err := k.parameters(op, parameters, r.RawQuery); err != nil {
			return err
		}
		tree = op.request
	}
	expected := tree != nil && tree.children != nil && len(bytes.Trim(head, xmlSpace)) > 0
	if m.isJSON() && len(head) > 0 || expected {
		before := len(k.keys)
		err := k.readJSON(body, tree)
		var s *SyntaxError
		// What nobody calls JSON need not be it; but what JSON there is must not be ambiguous.
		if errors.As(err, &s) && s.Code != AmbiguousKey && !m.isJSON() {
			k.keys = k.keys[:before]
			k.find(FindingNotJSON)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	out.Keys, out.Findings = k.keys, k.findings
	return nil
}

// parameters takes the keys of path and query.
func (c *collector) parameters(op *Operation, path map[string]string, rawQuery string) error {
	for _, k := range op.RequestKeys {
		switch k.In {
		case "path":
			if err := c.parameter(k.Name, path[k.Path]); err != nil {
				return err
			}
		case "query":
			query, err := parseQuery(rawQuery)
			if err != nil {
				return err
			}
			values := query[k.Path]
			if len(values) > 1 {
				return syntaxErrorf(AmbiguousKey, "the query parameter of the key %q stands twice", k.Name)
			}
			if len(values) == 1 {
				if !utf8.ValidString(values[0]) || strings.ContainsFunc(values[0], unicode.IsControl) {
					return syntaxErrorf(BadQuery, "the query parameter of the key %q is not UTF-8 or has a control character", k.Name)
				}
				if err := c.parameter(k.Name, values[0]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *collector) parameter(name, value string) error {
	switch {
	case len(value) > maxKeyBytes:
		c.find(FindingKeyTooLong + ":" + name)
		return nil
	case value == "":
		return nil
	}
	return c.add(name, value)
}

// clip cuts a name for sealed content and makes it valid UTF-8.
func clip(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxKeyBytes)], "\uFFFD")
}
