package gateway

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// head is one line of JSON about an HTTP message (docs/formats.md, section 3). The order of the fields is
// the order of the keys.
type head struct {
	V        int         `json:"v"`
	Method   string      `json:"method,omitempty"` // of a request
	Target   string      `json:"target,omitempty"` // of a request, as on the request line, credentials redacted
	Version  string      `json:"version"`          // "HTTP/1.1"
	Status   int         `json:"status,omitempty"` // of a response
	Fields   [][2]string `json:"fields"`
	Trailers [][2]string `json:"trailers,omitempty"`
	Order    string      `json:"order"` // "sorted": canonical names sorted, values of one name in arrival order
	Peer     string      `json:"peer,omitempty"`
	TLS      *headTLS    `json:"tls,omitempty"`
	Chain    [][]byte    `json:"chain,omitempty"` // the peer's certificates, DER in base64, leaf first
	At       headTimes   `json:"at"`
}

type headTLS struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	Group   string `json:"group,omitempty"` // key exchange
}

// headTimes are when the first byte of a message was seen and when the last.
type headTimes struct {
	Begin string `json:"begin"`
	End   string `json:"end"`
}

const headTime = "2006-01-02T15:04:05.000000Z"

// Field values are bytes, JSON is text: a value that is not UTF-8 is written with each byte as the
// character of the same number (ISO-8859-1, which RFC 9110, section 5.5, names), behind this mark.
const latin1Mark = "\u0000latin1:"

func (h *head) line(begin, end time.Time) []byte {
	h.V, h.Order = 1, "sorted"
	h.At = headTimes{begin.UTC().Format(headTime), end.UTC().Format(headTime)}
	if h.Fields == nil {
		h.Fields = [][2]string{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(h); err != nil {
		panic(err) // a struct of strings and numbers always encodes
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// headFields lists header fields sorted by name, credentials redacted. host is the request's Host field, which
// net/http keeps apart.
func headFields(h http.Header, host string) [][2]string {
	var out [][2]string
	if host != "" {
		out = append(out, [2]string{"Host", text(host)})
	}
	for name, values := range h {
		for _, v := range values {
			out = append(out, [2]string{text(name), text(redactField(name, v))})
		}
	}
	slices.SortStableFunc(out, func(a, b [2]string) int { return bytes.Compare([]byte(a[0]), []byte(b[0])) })
	return out
}

func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := []rune(latin1Mark)
	for i := range len(s) {
		out = append(out, rune(s[i]))
	}
	return string(out)
}

// secured fills in what the TLS connection tells about the peer.
func (h *head) secured(cs *tls.ConnectionState) {
	if cs == nil {
		return
	}
	h.TLS = &headTLS{Version: tls.VersionName(cs.Version), Cipher: tls.CipherSuiteName(cs.CipherSuite)}
	if cs.CurveID != 0 {
		h.TLS.Group = cs.CurveID.String()
	}
	for _, c := range cs.PeerCertificates {
		h.Chain = append(h.Chain, c.Raw)
	}
}

// requestHead is the head of a request as it was received.
func requestHead(r *http.Request, begin, end time.Time) []byte {
	h := head{Method: r.Method, Target: text(redactTarget(r.RequestURI)), Version: r.Proto, Fields: headFields(r.Header, r.Host), Peer: r.RemoteAddr}
	if len(r.Trailer) > 0 {
		h.Trailers = headFields(r.Trailer, "")
	}
	h.secured(r.TLS)
	return h.line(begin, end)
}

// responseHead is the head of a response: the upstream's, or our own when peer is "".
func responseHead(status int, proto string, fields, trailers http.Header, peer string, cs *tls.ConnectionState, begin, end time.Time) []byte {
	h := head{Version: proto, Status: status, Fields: headFields(fields, ""), Peer: peer}
	if len(trailers) > 0 {
		h.Trailers = headFields(trailers, "")
	}
	h.secured(cs)
	return h.line(begin, end)
}
