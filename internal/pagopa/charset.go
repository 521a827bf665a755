package pagopa

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// xmlDeclaration is the XML declaration (XML 1.0, production 23) with its encoding label. It must stand within
// the first declarationBytes; what begins as one and does not match is not well-formed.
var (
	xmlDeclaration = regexp.MustCompile(`^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:"1\.0"|'1\.0')` +
		`(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:"([A-Za-z][A-Za-z0-9._-]*)"|'([A-Za-z][A-Za-z0-9._-]*)'))?` +
		`(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\r\n]*\?>`)
	declarationStart = regexp.MustCompile(`^<\?xml[ \t\r\n?]`)
)

const declarationBytes = 1024

// The byte order marks that we know. UTF-32 begins like UTF-16LE and then fails as such: NUL is no XML.
var (
	bomUTF8    = []byte{0xEF, 0xBB, 0xBF}
	bomUTF16LE = []byte{0xFF, 0xFE}
	bomUTF16BE = []byte{0xFE, 0xFF}
)

// text is a body on its way to be parsed: UTF-8, checked on the way.
type text struct {
	io.Reader
	declared string // label of the XML declaration, lower case; "" when there is none
	conflict bool   // Content-Type and XML declaration name different charsets
	marked   bool   // something in the body says what charset it is
}

// openText chooses the charset as RFC 7303, section 3 says: byte order mark, then charset parameter, then XML
// declaration, then UTF-8. Bytes that the charset does not allow fail when they are reached.
func openText(body io.Reader, parameter string) (*text, error) {
	in := bufio.NewReaderSize(body, declarationBytes)
	head, err := in.Peek(declarationBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	t := &text{}
	parameter = strings.ToLower(parameter)
	if t.marked = bytes.HasPrefix(head, bomUTF16LE) || bytes.HasPrefix(head, bomUTF16BE); t.marked {
		order := unicode.LittleEndian
		if head[0] == bomUTF16BE[0] {
			order = unicode.BigEndian
		}
		if _, err := in.Discard(len(bomUTF16LE)); err != nil {
			return nil, err
		}
		// The decoder writes U+FFFD for half a surrogate pair or half a unit: nothing that XML needs has it.
		t.Reader = &noReplacement{Reader: transform.NewReader(in, unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder())}
		t.declared = "utf-16"
		t.conflict = parameter != "" && !strings.HasPrefix(parameter, "utf-16")
		return t, nil
	}
	utf8Mark := bytes.HasPrefix(head, bomUTF8)
	if utf8Mark {
		head = head[len(bomUTF8):]
		if _, err := in.Discard(len(bomUTF8)); err != nil {
			return nil, err
		}
	}
	if m := xmlDeclaration.FindSubmatch(head); m != nil {
		t.declared = strings.ToLower(string(m[1]) + string(m[2]))
	} else if declarationStart.Match(head) {
		return nil, syntaxErrorf(NotWellFormed, "a malformed XML declaration, or one that is not of XML 1.0")
	}
	t.marked = utf8Mark || t.declared != ""
	label := parameter
	switch {
	case utf8Mark:
		label = "utf-8"
	case label == "":
		label = t.declared
	}
	for _, other := range []string{parameter, t.declared} {
		t.conflict = t.conflict || other != "" && !sameCharset(other, label)
	}
	decoder, err := decoderOf(label)
	if err != nil {
		return nil, err
	}
	t.Reader = transform.NewReader(in, decoder)
	return t, nil
}

// sameCharset treats US-ASCII as part of any of ours.
func sameCharset(a, b string) bool {
	canonical := func(s string) string {
		switch s {
		case "", "utf8", "us-ascii", "ascii":
			return "utf-8"
		case "latin1", "latin-1", "iso_8859-1":
			return "iso-8859-1"
		case "cp1252":
			return "windows-1252"
		}
		return s
	}
	return canonical(a) == canonical(b)
}

func decoderOf(label string) (transform.Transformer, error) {
	switch label {
	case "", "utf-8", "utf8":
		return encoding.UTF8Validator, nil
	case "us-ascii", "ascii":
		return asciiOnly{}, nil
	case "iso-8859-1", "latin1", "latin-1", "iso_8859-1":
		return charmap.ISO8859_1.NewDecoder(), nil
	case "iso-8859-15":
		return charmap.ISO8859_15.NewDecoder(), nil
	case "windows-1252", "cp1252":
		return charmap.Windows1252.NewDecoder(), nil
	}
	return nil, syntaxErrorf(Charset, "a charset that is none of UTF-8, US-ASCII, ISO-8859-1, ISO-8859-15, Windows-1252 and UTF-16 with byte order mark")
}

var errNotASCII = errors.New("a byte over 0x7F in US-ASCII")

// asciiOnly passes US-ASCII and nothing else.
type asciiOnly struct{ transform.NopResetter }

func (asciiOnly) Transform(dst, src []byte, _ bool) (int, int, error) {
	n := copy(dst, src)
	for i, b := range src[:n] {
		if b > 0x7F {
			return i, i, errNotASCII
		}
	}
	if n < len(src) {
		return n, n, transform.ErrShortDst
	}
	return n, n, nil
}

var errReplacement = errors.New("bytes that are no UTF-16")

// noReplacement fails at U+FFFD, which a decoder writes where it could not decode.
type noReplacement struct {
	io.Reader
	last [2]byte
}

func (r *noReplacement) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	for _, b := range p[:n] {
		if r.last == [2]byte{0xEF, 0xBF} && b == 0xBD {
			return 0, errReplacement
		}
		r.last = [2]byte{r.last[1], b}
	}
	return n, err
}

// undecodable says whether an error of a text means that the bytes are not of the charset.
func undecodable(err error) bool {
	return errors.Is(err, encoding.ErrInvalidUTF8) || errors.Is(err, errNotASCII) || errors.Is(err, errReplacement)
}

// beginsWith tells whether a body begins with one of the bytes after byte order mark and white space.
func beginsWith(body []byte, any string) bool {
	wide := bytes.HasPrefix(body, bomUTF16LE) || bytes.HasPrefix(body, bomUTF16BE)
	if wide {
		body = body[2:]
	} else {
		body = bytes.TrimPrefix(body, bomUTF8)
	}
	for _, b := range body {
		if wide && b == 0 || strings.IndexByte(xmlSpace, b) >= 0 {
			continue
		}
		return strings.IndexByte(any, b) >= 0
	}
	return false
}
