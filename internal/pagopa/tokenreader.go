package pagopa

import (
	"bytes"
	"io"
)

// Limits of one XML token, in bytes of UTF-8.
const (
	maxTag    = 64 << 10 // a tag with its attributes, or a processing instruction
	maxText   = 1 << 20  // text, CDATA section, comment
	keptPlain = 64 << 10 // of a text that is base64 so far; more of it is checked and passed over
)

// tokenReader feeds encoding/xml, which holds every token in memory as a whole, so that no token grows with
// the body: reporting flows come as tens of MB of base64 in one text, an attack as 100 MB of attribute.
//
// It needs to know where a token begins, hence begin before each call of RawToken. The decoder reads exactly
// to the end of a token, except that it reads the '<' after a text ahead. Within a text (and a CDATA section)
// that consists of the letters of base64 and white space only, everything past keptPlain is dropped: those
// bytes can neither end the text nor mean anything in it, and no key is that long. Any other byte ends the
// dropping and counts towards maxText, so nothing that shapes the document is ever dropped.
type tokenReader struct {
	in       io.Reader
	buf      [4096]byte
	pos, end int
	err      error
	read     int64 // bytes read of the document, for messages

	kind  tokenKind
	n     int    // bytes of this token handed over
	plain bool   // only base64 and white space so far
	head  []byte // the first bytes of a markup token
	last  byte
}

type tokenKind int

const (
	kindNone tokenKind = iota
	kindText
	kindMarkup
	kindCDATA
)

var cdataStart = []byte("<![CDATA[")

// begin says that the next byte is the first of a token.
func (r *tokenReader) begin() {
	ahead := r.kind == kindText && r.last == '<'
	r.kind, r.n, r.plain, r.head = kindNone, 0, true, r.head[:0]
	if ahead {
		r.account('<')
	}
}

// ReadByte hands the next byte to the decoder, which uses this and not Read.
func (r *tokenReader) ReadByte() (byte, error) {
	for {
		for r.pos == r.end {
			if r.err != nil {
				return 0, r.err
			}
			r.pos = 0
			r.end, r.err = r.in.Read(r.buf[:])
			if r.err != nil && undecodable(r.err) {
				r.err = syntaxErrorf(Charset, "bytes that the charset does not allow, near byte %d", r.read)
			}
		}
		b := r.buf[r.pos]
		r.pos++
		r.read++
		if (r.kind == kindText && b != '<' || r.kind == kindCDATA) && r.plain {
			if r.plain = base64OrSpace[b]; r.plain && r.n >= keptPlain {
				continue
			}
		}
		if !r.account(b) {
			return 0, syntaxErrorf(TooBig, "a tag over %d KiB or a text over %d KiB, near byte %d", maxTag>>10, maxText>>10, r.read)
		}
		return b, nil
	}
}

// account counts a byte that is handed over; false when the token is over its limit.
func (r *tokenReader) account(b byte) bool {
	r.n++
	r.last = b
	switch {
	case r.kind == kindNone && b == '<':
		r.kind = kindMarkup
		r.head = append(r.head, b)
	case r.kind == kindNone:
		r.kind = kindText
		r.plain = base64OrSpace[b]
	case r.kind == kindMarkup && len(r.head) < len(cdataStart):
		if r.head = append(r.head, b); bytes.Equal(r.head, cdataStart) {
			r.kind, r.plain = kindCDATA, true
		}
	}
	limit := maxText
	if r.kind == kindMarkup && len(r.head) > 1 && r.head[1] != '!' {
		limit = maxTag
	}
	return r.n <= limit
}

// Read makes the reader an io.Reader, which encoding/xml asks for; it reads byte by byte all the same.
func (r *tokenReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

var base64OrSpace = func() (set [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=" + xmlSpace) {
		set[b] = true
	}
	return set
}()
