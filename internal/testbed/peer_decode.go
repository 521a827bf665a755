package testbed

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMessage bounds what a peer reads of one message, on the wire and unpacked, in bytes.
const maxMessage = 64 << 20

var declaredEncoding = regexp.MustCompile(`^<\?xml[^>]*?encoding=["']([A-Za-z0-9._-]+)["']`)

// plainText undoes what a sender may do to a message: gzip, multipart/related (the root part is returned), and a
// character set other than UTF-8. The result is UTF-8 without byte order mark.
func plainText(h http.Header, body []byte) ([]byte, error) {
	switch coding := strings.ToLower(strings.TrimSpace(h.Get("Content-Encoding"))); coding {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("open gzip body: %w", err)
		}
		if body, err = readBounded(z); err != nil {
			return nil, fmt.Errorf("unpack gzip body: %w", err)
		}
	default:
		return nil, fmt.Errorf("content coding %.20q is not served: send gzip or none", coding)
	}
	contentType := h.Get("Content-Type")
	media, params, err := mime.ParseMediaType(contentType)
	if err == nil && media == "multipart/related" {
		if body, contentType, err = rootPart(body, params); err != nil {
			return nil, err
		}
		_, params, err = mime.ParseMediaType(contentType)
	}
	charset := ""
	if err == nil {
		charset = params["charset"]
	}
	return toUTF8(body, charset)
}

func readBounded(r io.Reader) ([]byte, error) {
	all, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	if err == nil && len(all) > maxMessage {
		err = fmt.Errorf("more than %d bytes", maxMessage)
	}
	return all, err
}

// rootPart finds the root of a multipart/related body (RFC 2387, section 3.2: the part that start names, else the first).
func rootPart(body []byte, params map[string]string) (root []byte, contentType string, err error) {
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, "", errors.New("multipart body has no root part")
		}
		if err != nil {
			return nil, "", fmt.Errorf("read multipart body: %w", err)
		}
		if start := params["start"]; start != "" && part.Header.Get("Content-ID") != start {
			continue
		}
		var content io.Reader = part
		if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "base64") {
			content = base64.NewDecoder(base64.StdEncoding, part)
		}
		root, err := readBounded(content)
		if err != nil {
			return nil, "", fmt.Errorf("read root part: %w", err)
		}
		return root, part.Header.Get("Content-Type"), nil
	}
}

// toUTF8 decodes text: a byte order mark wins, then the charset of the header, then the XML declaration.
func toUTF8(text []byte, charset string) ([]byte, error) {
	switch {
	case bytes.HasPrefix(text, []byte("\xEF\xBB\xBF")):
		text, charset = text[3:], "utf-8"
	case bytes.HasPrefix(text, []byte("\xFF\xFE")):
		return fromUTF16(text[2:], binary.LittleEndian)
	case bytes.HasPrefix(text, []byte("\xFE\xFF")):
		return fromUTF16(text[2:], binary.BigEndian)
	case bytes.HasPrefix(text, []byte("<\x00")):
		return fromUTF16(text, binary.LittleEndian)
	case bytes.HasPrefix(text, []byte("\x00<")):
		return fromUTF16(text, binary.BigEndian)
	}
	if charset == "" {
		if m := declaredEncoding.FindSubmatch(text); m != nil {
			charset = string(m[1])
		}
	}
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii":
		if !utf8.Valid(text) {
			return nil, errors.New("the bytes are not UTF-8 and no other character set is declared")
		}
		return text, nil
	case "iso-8859-1", "latin1", "iso-8859-15", "windows-1252": // the same for every letter that keys use
		runes := make([]rune, len(text))
		for i, b := range text {
			runes[i] = rune(b)
		}
		return []byte(string(runes)), nil
	}
	return nil, fmt.Errorf("character set %.20q is not served", charset)
}

func fromUTF16(text []byte, order binary.ByteOrder) ([]byte, error) {
	if len(text)%2 != 0 {
		return nil, errors.New("UTF-16 text of an odd number of bytes")
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	return []byte(string(utf16.Decode(units))), nil
}
