package pagopa

import (
	"encoding/xml"
	"io"
	"strings"

	"sigillo/internal/exchange"
)

// Namespaces of the envelope: SOAP 1.1 (the one pagoPA uses) and 1.2.
const (
	soap11 = "http://schemas.xmlsoap.org/soap/envelope/"
	soap12 = "http://www.w3.org/2003/05/soap-envelope"
)

// soapReader walks one envelope. Header blocks come before the operation is known, so their keys are kept
// with the block's name until it is.
type soapReader struct {
	// choose returns the line of the catalogue for the element in soap:Body, and its tree; nil when unknown.
	choose  func(xml.Name) (*Operation, *node)
	headers *node // nil: header blocks are not looked at

	envelope  bool     // the root is a SOAP envelope
	root      xml.Name // element in soap:Body
	operation *Operation
	isFault   bool     // it is a soap:Fault
	texts     []string // texts inside the soap:Fault, in document order
	collector          // of the body

	space      string
	headerSeen bool
	bodySeen   bool
	header     collector
	block      xml.Name
	headerKeys []headerKey
	places     []place
	leaf       []byte // text of the innermost element in a soap:Fault
}

type headerKey struct {
	block xml.Name
	key   exchange.Key
}

const (
	maxFaultTexts = 64
	maxFaultText  = 256 // bytes that are looked at
)

// read walks the whole document, well-formed to its end, or fails with a SyntaxError.
func (r *soapReader) read(t *text) error {
	s := newXMLScanner(t)
	r.places = make([]place, 0, maxDepth)
	for {
		ev, err := s.next()
		if err != nil {
			return err
		}
		switch ev.kind {
		case eventDone:
			return r.done()
		case eventStart:
			err = r.start(s, ev)
		case eventText:
			err = r.chars(s, ev.text)
		case eventEnd:
			err = r.end(len(s.open))
		}
		if err != nil {
			return err
		}
	}
}

// start handles the start of an element; the scanner's stack has it already.
func (r *soapReader) start(s *xmlScanner, ev event) error {
	depth := len(s.open)
	switch {
	case depth == 1:
		r.space = ev.name.Space
		r.envelope = ev.name.Local == "Envelope" && (r.space == soap11 || r.space == soap12)
		if !r.envelope {
			r.root = ev.name
		}
		r.push(place{})
		return nil
	case !r.envelope:
		r.push(place{})
		return nil
	case depth == 2:
		r.push(place{})
		return r.part(ev.name)
	case depth == 3 && r.bodySeen:
		if r.root.Local != "" {
			return syntaxErrorf(TwoOperations, "two elements in soap:Body")
		}
		r.root = ev.name
		if r.isFault = ev.name == (xml.Name{Space: r.space, Local: "Fault"}); r.isFault {
			r.push(place{})
			return nil
		}
		var tree *node
		r.operation, tree = r.choose(ev.name)
		r.push(place{node: tree})
		return nil
	case depth == 3 && r.headers != nil:
		r.block = ev.name
		p, err := r.header.enter(&r.places[1], qualified(ev.name.Space, ev.name.Local))
		r.push(p)
		return err
	}
	if r.isFault {
		r.leaf = r.leaf[:0]
	}
	p, err := r.enter(&r.places[depth-2], ev.name.Local)
	if err != nil {
		return err
	}
	r.fault = r.fault || p.node != nil && p.node.fault && !ev.null
	r.push(p)
	return nil
}

// part handles a child of the envelope.
func (r *soapReader) part(name xml.Name) error {
	switch {
	case name == (xml.Name{Space: r.space, Local: "Body"}):
		if r.bodySeen {
			return syntaxErrorf(TwoBodies, "two soap:Body in one envelope")
		}
		r.bodySeen = true
	case name == (xml.Name{Space: r.space, Local: "Header"}) && !r.headerSeen && !r.bodySeen:
		r.headerSeen = true
		r.places[1].node = r.headers
	default:
		return syntaxErrorf(EnvelopeStructure, "the envelope has something else than one Header and one Body in this order")
	}
	return nil
}

func (r *soapReader) push(p place) { r.places = append(r.places, p) }

func (r *soapReader) chars(s *xmlScanner, text []byte) error {
	if !r.envelope {
		return nil
	}
	if len(s.open) <= 2 && len(trimLeft(text)) > 0 {
		return syntaxErrorf(EnvelopeStructure, "text between the parts of the envelope")
	}
	if r.isFault && len(r.leaf) < maxFaultText {
		r.leaf = append(r.leaf, text[:min(len(text), maxFaultText-len(r.leaf))]...)
	}
	r.places[len(r.places)-1].write(text)
	return nil
}

// end handles the end of the innermost element; depth is that of its parent.
func (r *soapReader) end(depth int) error {
	p := &r.places[len(r.places)-1]
	r.places = r.places[:len(r.places)-1]
	if r.isFault && depth >= 3 && len(r.texts) < maxFaultTexts {
		if leaf := string(trimRight(trimLeft(r.leaf))); leaf != "" {
			r.texts = append(r.texts, leaf)
		}
		r.leaf = r.leaf[:0]
	}
	if r.bodySeen {
		return r.leave(p)
	}
	before := len(r.header.keys)
	err := r.header.leave(p)
	for _, k := range r.header.keys[before:] {
		r.headerKeys = append(r.headerKeys, headerKey{r.block, k})
	}
	return err
}

// done joins what the header and the body gave.
func (r *soapReader) done() error {
	if !r.envelope {
		return nil
	}
	if !r.bodySeen {
		return syntaxErrorf(EnvelopeStructure, "an envelope without soap:Body")
	}
	if r.operation == nil || r.operation.Header.Local == "" {
		return nil
	}
	var keys exchange.Keys
	for _, h := range r.headerKeys {
		if h.block == r.operation.Header {
			keys = append(keys, h.key)
		}
	}
	r.keys = append(keys, r.keys...)
	for _, f := range r.header.findings {
		r.find(f)
	}
	return nil
}

// readSOAP reads a body that is said or guessed to be SOAP: plain, or as the root part of a multipart.
func readSOAP(r *soapReader, m mediaType, body io.Reader) (*text, error) {
	if m.name == "multipart/related" {
		return readRootPart(r, m, body)
	}
	t, err := openText(body, m.parameters["charset"])
	if err != nil {
		return nil, err
	}
	return t, r.read(t)
}

// requestSOAP classifies a SOAP request.
func (c *Catalogue) requestSOAP(r Request, m mediaType, body io.Reader, out *Classified) error {
	reader := &soapReader{headers: c.headers, choose: func(root xml.Name) (*Operation, *node) {
		lines := c.byRequest[root]
		if len(lines) == 0 {
			return nil, nil
		}
		op := interfaceOf(lines, r.Path)
		return op, op.request
	}}
	t, err := readSOAP(reader, m, body)
	if err != nil {
		return err
	}
	out.Name = clip(reader.root.Local)
	if t.conflict {
		reader.find(FindingCharsetConflict)
	}
	switch {
	case r.Method != "POST": // SOAP 1.1, section 6: the HTTP binding is POST
		reader.find(FindingMethod)
		reader.operation = nil
	case !reader.envelope:
		reader.find(FindingNotSOAP)
	case reader.root.Local == "":
		reader.find(FindingEmptyBody)
	}
	actions, err := actionsOf(r, m)
	if err != nil {
		return err
	}
	if op := reader.operation; op != nil {
		out.describe(op)
		out.Keys = reader.keys
		for _, a := range actions {
			if a != op.Action && a != op.Name {
				err = &actionError{operation: op.Name}
			}
		}
	} else {
		for _, a := range actions {
			if c.isAction(a) {
				reader.find(FindingUnknownAction)
			}
		}
	}
	out.Findings = append(out.Findings, reader.findings...)
	return err
}

// actionError carries the operation, a word of the catalogue, and not the action, a word of the message.
type actionError struct{ operation string }

func (e *actionError) Error() string { return ErrActionMismatch.Error() + " (" + e.operation + ")" }

func (e *actionError) Is(target error) bool { return target == ErrActionMismatch }

// actionsOf returns every non-empty SOAPAction of a request: the header (quoted or not), the query that the
// node adds when it calls EC and PSP, and the action parameter of SOAP 1.2.
func actionsOf(r Request, m mediaType) ([]string, error) {
	all := []string{r.SOAPAction, m.parameters["action"]}
	query, err := parseQuery(r.RawQuery)
	if err != nil {
		return nil, err // an action may hide in what cannot be read
	}
	for name, values := range query {
		if strings.EqualFold(name, "soapAction") {
			all = append(all, values...)
		}
	}
	actions := all[:0]
	for _, a := range all {
		a = strings.Trim(a, xmlSpace)
		if len(a) > 1 && a[0] == '"' && a[len(a)-1] == '"' {
			a = strings.Trim(a[1:len(a)-1], xmlSpace)
		}
		if a != "" {
			actions = append(actions, a)
		}
	}
	return actions, nil
}

func (c *Catalogue) isAction(action string) bool {
	for i := range c.operations {
		if op := &c.operations[i]; op.Protocol == SOAP && (op.Action == action || op.Name == action) {
			return true
		}
	}
	return false
}
