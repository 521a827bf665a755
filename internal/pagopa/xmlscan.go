package pagopa

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Limits of an XML document.
const (
	maxDepth      = 64
	maxAttributes = 64 // of one element, namespace declarations included
)

const (
	xmlNamespace   = "http://www.w3.org/XML/1998/namespace"
	xmlnsNamespace = "http://www.w3.org/2000/xmlns/"
	xsiNamespace   = "http://www.w3.org/2001/XMLSchema-instance"
)

// xmlScanner reads one XML document and checks what encoding/xml's RawToken leaves to its caller: that tags
// match, that there is one root and nothing but white space beside it, that attributes do not repeat, that
// every prefix is declared (Namespaces in XML 1.0), and our own rules: no DTD, no processing instruction.
type xmlScanner struct {
	dec    *xml.Decoder
	in     *tokenReader
	open   []element
	tokens int
	closed bool // the root has ended
}

// element is one open element.
type element struct {
	raw      xml.Name // as written: Space is the prefix
	name     xml.Name
	bindings []binding
}

type binding struct{ prefix, space string }

// event is one thing that a reader of messages cares about.
type event struct {
	kind eventKind
	name xml.Name // of a start
	null bool     // of a start: xsi:nil is true
	text []byte   // valid until the next event
}

type eventKind int

const (
	eventStart eventKind = iota
	eventEnd
	eventText
	eventDone // the document has ended well
)

func newXMLScanner(t *text) *xmlScanner {
	in := &tokenReader{in: t}
	dec := xml.NewDecoder(in)
	dec.Strict = true
	// The bytes are UTF-8 already. The label must be the one by which they were decoded, or overruled.
	dec.CharsetReader = func(label string, input io.Reader) (io.Reader, error) {
		label = strings.ToLower(label)
		if label != t.declared && !(t.declared == "utf-16" && strings.HasPrefix(label, "utf-16")) {
			return nil, syntaxErrorf(Charset, "the XML declaration names another charset than the bytes have")
		}
		return input, nil
	}
	return &xmlScanner{dec: dec, in: in}
}

// fail turns whatever went wrong into a SyntaxError without content of the message.
func (s *xmlScanner) fail(err error) error {
	var known *SyntaxError
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, errContentEncoding) {
		return errContentEncoding
	}
	return syntaxErrorf(NotWellFormed, "XML that is not well-formed, near byte %d", s.in.read)
}

// next returns the next start, end or text inside the root.
func (s *xmlScanner) next() (event, error) {
	for {
		s.in.begin()
		token, err := s.dec.RawToken()
		first := s.tokens == 0
		s.tokens++
		if err == io.EOF && s.closed {
			return event{kind: eventDone}, nil
		}
		if err != nil {
			return event{}, s.fail(err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			return s.start(t)
		case xml.EndElement:
			if len(s.open) == 0 || s.open[len(s.open)-1].raw != t.Name {
				return event{}, s.fail(errUnmatched)
			}
			s.open = s.open[:len(s.open)-1]
			s.closed = len(s.open) == 0
			return event{kind: eventEnd}, nil
		case xml.CharData:
			if len(s.open) > 0 {
				return event{kind: eventText, text: t}, nil
			}
			if len(trimLeft(t)) > 0 {
				return event{}, s.fail(errUnmatched)
			}
		case xml.Comment: // may split a text, and means nothing
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return event{}, syntaxErrorf(Processing, "a processing instruction, near byte %d", s.in.read)
			}
		case xml.Directive:
			return event{}, syntaxErrorf(Processing, "a DTD or another declaration, near byte %d", s.in.read)
		}
	}
}

var errUnmatched = errors.New("tags that do not match, or content outside the root")

func (s *xmlScanner) start(t xml.StartElement) (event, error) {
	switch {
	case s.closed:
		return event{}, s.fail(errUnmatched)
	case len(s.open) == maxDepth:
		return event{}, syntaxErrorf(TooDeep, "elements nested deeper than %d", maxDepth)
	case len(t.Attr) > maxAttributes:
		return event{}, syntaxErrorf(TooBig, "more than %d attributes in one element", maxAttributes)
	}
	e := element{raw: t.Name}
	var err error
	if e.bindings, err = declarations(t.Attr); err != nil {
		return event{}, err
	}
	s.open = append(s.open, e)
	top := &s.open[len(s.open)-1]
	if top.name, err = s.resolve(t.Name, true); err != nil {
		return event{}, err
	}
	null := false
	seen := make([]xml.Name, 0, 8)
	for _, a := range t.Attr {
		name := a.Name // two declarations of one prefix are found by this name
		if a.Name.Space != "xmlns" {
			if name, err = s.resolve(a.Name, false); err != nil {
				return event{}, err
			}
		}
		for _, other := range seen {
			if other == name {
				return event{}, s.fail(errUnmatched)
			}
		}
		seen = append(seen, name)
		if name.Space == xsiNamespace && name.Local == "nil" {
			value := strings.Trim(a.Value, xmlSpace)
			null = value == "true" || value == "1"
		}
	}
	return event{kind: eventStart, name: top.name, null: null}, nil
}

// declarations reads the namespace declarations among attributes (Namespaces in XML 1.0, section 3).
func declarations(attributes []xml.Attr) ([]binding, error) {
	var all []binding
	for _, a := range attributes {
		switch {
		case a.Name.Space == "xmlns":
			p := a.Name.Local
			if a.Value == "" || p == "xmlns" || (p == "xml") != (a.Value == xmlNamespace) || a.Value == xmlnsNamespace {
				return nil, syntaxErrorf(UnboundPrefix, "a namespace declaration that is not allowed")
			}
			all = append(all, binding{p, a.Value})
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			if a.Value == xmlNamespace || a.Value == xmlnsNamespace {
				return nil, syntaxErrorf(UnboundPrefix, "a namespace declaration that is not allowed")
			}
			all = append(all, binding{"", a.Value})
		}
	}
	return all, nil
}

// resolve turns a prefixed name into a qualified one. The default namespace holds for elements only.
func (s *xmlScanner) resolve(raw xml.Name, isElement bool) (xml.Name, error) {
	// RawToken leaves ":a" and "a:" whole.
	if strings.Contains(raw.Local, ":") || raw.Space == "xmlns" {
		return xml.Name{}, syntaxErrorf(UnboundPrefix, "a name that namespaces do not allow, near byte %d", s.in.read)
	}
	if raw.Space == "" && !isElement {
		return raw, nil
	}
	if raw.Space == "xml" {
		return xml.Name{Space: xmlNamespace, Local: raw.Local}, nil
	}
	for i := len(s.open) - 1; i >= 0; i-- {
		for _, b := range s.open[i].bindings {
			if b.prefix == raw.Space {
				return xml.Name{Space: b.space, Local: raw.Local}, nil
			}
		}
	}
	if raw.Space == "" {
		return raw, nil
	}
	return xml.Name{}, syntaxErrorf(UnboundPrefix, "a namespace prefix that nothing declares, near byte %d", s.in.read)
}
