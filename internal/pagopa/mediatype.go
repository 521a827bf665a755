package pagopa

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

// Limits of encoded and composed bodies.
const (
	maxDecoded = 32 << 20 // bytes that a Content-Encoding may grow to
	maxParts   = 256      // parts of a multipart body
)

// mediaType is a Content-Type, read.
type mediaType struct {
	name       string // lower case
	parameters map[string]string
	malformed  bool // the parameters could not be read
}

func parseMediaType(value string) (mediaType, error) {
	if strings.Trim(value, xmlSpace) == "" {
		return mediaType{}, nil
	}
	name, parameters, err := mime.ParseMediaType(value)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return mediaType{}, syntaxErrorf(BadContentType, "a Content-Type that is none, or that has a parameter twice")
	}
	return mediaType{name: name, parameters: parameters, malformed: err != nil}, nil
}

// isXML says whether the type promises a SOAP message, plain or as the root part of a multipart.
func (m mediaType) isXML() bool {
	if m.name == "multipart/related" {
		root, _, _ := strings.Cut(strings.ToLower(m.parameters["type"]), ";")
		return root == "" || isXMLName(strings.TrimSpace(root))
	}
	return isXMLName(m.name)
}

func isXMLName(name string) bool {
	return name == "text/xml" || name == "application/xml" || strings.HasSuffix(name, "+xml") && strings.HasPrefix(name, "application/")
}

func (m mediaType) isJSON() bool {
	return m.name == "application/json" || m.name == "text/json" || strings.HasSuffix(m.name, "+json")
}

// errContentEncoding: the body could not be decoded, or not within the limit.
var errContentEncoding = errors.New("a Content-Encoding that cannot be read here")

// decodeContent undoes a Content-Encoding (RFC 9110, section 8.4) for classification only. Every failure,
// also that of an unknown encoding, comes out of Read as errContentEncoding.
func decodeContent(encoding string, body []byte) io.Reader {
	d := &decoded{left: maxDecoded}
	raw := bytes.NewReader(body)
	if len(body) == 0 {
		return raw
	}
	switch strings.ToLower(strings.Trim(encoding, xmlSpace)) {
	case "", "identity":
		return raw
	case "gzip", "x-gzip":
		if r, err := gzip.NewReader(raw); err == nil {
			d.in = r
		}
	case "deflate":
		// zlib by the RFC, raw by custom.
		if len(body) > 1 && body[0]&0x0F == 8 && (int(body[0])<<8|int(body[1]))%31 == 0 {
			if r, err := zlib.NewReader(raw); err == nil {
				d.in = r
			}
		} else {
			d.in = flate.NewReader(raw)
		}
	}
	return d
}

// decoded reads a decoded body up to a limit.
type decoded struct {
	in   io.Reader // nil: could not be opened
	left int64
}

func (d *decoded) Read(p []byte) (int, error) {
	if d.in == nil {
		return 0, errContentEncoding
	}
	n, err := d.in.Read(p)
	d.left -= int64(n)
	if d.left < 0 || err != nil && err != io.EOF {
		d.in = nil
		return 0, errContentEncoding
	}
	return n, err
}

// readRootPart reads the SOAP part of a multipart/related body (RFC 2387; MTOM): the one that the start
// parameter names, else the first. The other parts are passed over, and must end well.
func readRootPart(r *soapReader, m mediaType, body io.Reader) (*text, error) {
	boundary := m.parameters["boundary"]
	if boundary == "" || len(boundary) > 70 { // RFC 2046, section 5.1.1
		return nil, syntaxErrorf(BadMultipart, "a multipart body needs a boundary of 1 to 70 characters")
	}
	start := contentID(m.parameters["start"])
	parts := multipart.NewReader(body, boundary)
	var root *text
	for i := 0; ; i++ {
		part, err := parts.NextRawPart()
		switch {
		case err == io.EOF && root != nil:
			return root, nil
		case err == io.EOF:
			return nil, syntaxErrorf(BadMultipart, "no part is the one that the start parameter names")
		case errors.Is(err, errContentEncoding):
			return nil, errContentEncoding
		case err != nil:
			return nil, syntaxErrorf(BadMultipart, "a multipart body that is cut or malformed")
		case i == maxParts:
			return nil, syntaxErrorf(TooBig, "more than %d parts", maxParts)
		}
		isRoot := start == "" && i == 0 || start != "" && contentID(part.Header.Get("Content-ID")) == start
		if !isRoot {
			continue
		}
		if root != nil {
			return nil, syntaxErrorf(BadMultipart, "two parts are the one that the start parameter names")
		}
		if root, err = readPart(r, part); err != nil {
			return nil, err
		}
	}
}

func readPart(r *soapReader, part *multipart.Part) (*text, error) {
	for _, name := range []string{"Content-Id", "Content-Type", "Content-Transfer-Encoding"} {
		if len(part.Header[name]) > 1 {
			return nil, syntaxErrorf(BadMultipart, "the root part has the header %s twice", name)
		}
	}
	m, err := parseMediaType(part.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	var body io.Reader = part
	switch strings.ToLower(strings.Trim(part.Header.Get("Content-Transfer-Encoding"), xmlSpace)) {
	case "", "7bit", "8bit", "binary":
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, part)
	case "quoted-printable":
		body = quotedprintable.NewReader(part)
	default:
		return nil, syntaxErrorf(BadMultipart, "a Content-Transfer-Encoding that RFC 2045 does not have")
	}
	t, err := openText(body, m.parameters["charset"])
	if err != nil {
		var known *SyntaxError
		if errors.As(err, &known) || errors.Is(err, errContentEncoding) {
			return nil, err
		}
		return nil, syntaxErrorf(BadMultipart, "a root part that is cut or malformed")
	}
	return t, r.read(t)
}

func contentID(value string) string {
	value = strings.Trim(value, xmlSpace)
	return strings.TrimSuffix(strings.TrimPrefix(value, "<"), ">")
}
