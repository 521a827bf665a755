package archive

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"sigillo/internal/exchange"
)

// record is exchange.json: what this package holds of one exchange, in one place for a reader. Its schema is
// data/schemas/exchange.schema.json.
type record struct {
	V         int               `json:"v"`
	Exchange  exchange.ID       `json:"exchange"`
	Own       string            `json:"own"`
	Route     string            `json:"route,omitempty"`
	Operation string            `json:"operation,omitempty"`
	From      *exchange.Party   `json:"from,omitempty"`
	To        *exchange.Party   `json:"to,omitempty"`
	Method    string            `json:"method,omitempty"` // of the request, where it stands in this package
	Path      string            `json:"path,omitempty"`   // its target as in the head: credentials redacted
	Status    int               `json:"status,omitempty"` // of the answer that the caller got
	Outcome   *exchange.Outcome `json:"outcome,omitempty"`
	Reason    exchange.Reason   `json:"reason,omitempty"`
	Entries   []recordEntry     `json:"entries"`
	Messages  []recordMessage   `json:"messages"`
	Receipt   string            `json:"receipt,omitempty"` // compact JWS
}

type recordEntry struct {
	N      uint64        `json:"n"`
	K      uint64        `json:"k"`
	Kind   exchange.Kind `json:"kind"`
	Time   string        `json:"time"`
	SHA256 string        `json:"sha256"` // of the entry's bytes
}

type recordMessage struct {
	Entry      uint64           `json:"entry"`
	I          int              `json:"i"`
	Points     []exchange.Point `json:"points"`
	Status     int              `json:"status,omitempty"`
	Cut        bool             `json:"cut,omitempty"`
	Commitment string           `json:"commitment"`
	// File, Size, SHA256 and HeadSHA256 are of the body beside this file; absent when Erased.
	File       string `json:"file,omitempty"`
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256,omitempty"`
	HeadSHA256 string `json:"head_sha256,omitempty"`
	Erased     bool   `json:"erased,omitempty"`
}

// newRecord begins the record of the exchange that e is the first entry of in this package.
func newRecord(e *entry) *record {
	return &record{V: 1, Exchange: e.Exchange, Own: e.Own.P, Entries: []recordEntry{}, Messages: []recordMessage{}}
}

// take adds what an entry says, and not yet its messages.
func (r *record) take(e *entry, sum [32]byte) {
	r.Entries = append(r.Entries, recordEntry{e.N, e.Own.K, e.Kind, e.Time, hex.EncodeToString(sum[:])})
	if r.Route == "" {
		r.Route = e.Route
	}
	if r.Operation == "" {
		r.Operation = e.Operation
	}
	if r.From == nil {
		r.From = e.From
	}
	if r.To == nil {
		r.To = e.To
	}
	if e.Outcome != nil {
		r.Outcome = e.Outcome
	}
	if e.Reason != "" {
		r.Reason = e.Reason
	}
	for _, m := range e.Messages {
		if at(m, exchange.ResponseDelivered) {
			r.Status = m.Status
		}
	}
}

// closes says whether the entry is the last word on its exchange, which a receipt then attests.
func (e *entry) closes() bool {
	return e.Kind == exchange.KindResponse || e.Kind == exchange.KindRefusal || e.Kind == exchange.KindFailure
}

func at(m message, p exchange.Point) bool { return exchange.Message{Points: m.Points}.At(p) }

// stemOf names the files of a message after where it was captured (docs/formats.md, section 1): the form that
// the caller sent or got has the short name. taken are the stems that the directory has already.
func stemOf(m message, taken func(string) bool) string {
	stem := "content"
	switch {
	case at(m, exchange.RequestReceived):
		stem = "request"
	case at(m, exchange.ResponseDelivered):
		stem = "response"
	case at(m, exchange.RequestForwarded):
		stem = "request-forwarded"
	case at(m, exchange.ResponseReceived):
		stem = "response-received"
	}
	if taken(stem) {
		return fmt.Sprintf("%s-%d", stem, m.I)
	}
	return stem
}

// headFields are the parts of a head that a package's file names and records depend on.
type headFields struct {
	Method  string          `json:"method"`
	Target  string          `json:"target"`
	Headers json.RawMessage `json:"headers"`
	Header  json.RawMessage `json:"header"`
	Fields  json.RawMessage `json:"fields"`
}

// readHead never fails: what a head does not say stays empty. The commitment has vouched for its bytes.
func readHead(head []byte) (h headFields) {
	if strictKeys(head) == nil {
		_ = json.Unmarshal(head, &h)
	}
	return h
}

// field is the first value of a header field, whether the head keeps them as pairs, as objects or as a map.
func (h headFields) field(name string) string {
	for _, raw := range []json.RawMessage{h.Headers, h.Header, h.Fields} {
		var pairs [][]string
		var objects []struct{ Name, Value string }
		var many map[string][]string
		var single map[string]string
		switch {
		case len(raw) == 0:
		case json.Unmarshal(raw, &pairs) == nil:
			for _, p := range pairs {
				if len(p) >= 2 && strings.EqualFold(p[0], name) {
					return p[1]
				}
			}
		case json.Unmarshal(raw, &objects) == nil:
			for _, o := range objects {
				if strings.EqualFold(o.Name, name) {
					return o.Value
				}
			}
		case json.Unmarshal(raw, &many) == nil:
			for k, v := range many {
				if strings.EqualFold(k, name) && len(v) > 0 {
					return v[0]
				}
			}
		case json.Unmarshal(raw, &single) == nil:
			for k, v := range single {
				if strings.EqualFold(k, name) {
					return v
				}
			}
		}
	}
	return ""
}

// extension is that of the body's file: xml and json only for what is so byte by byte, so never for a
// compressed body.
func (h headFields) extension() string {
	if c := strings.ToLower(strings.TrimSpace(h.field("Content-Encoding"))); c != "" && c != "identity" {
		return "bin"
	}
	media, _, _ := strings.Cut(strings.ToLower(h.field("Content-Type")), ";")
	media = strings.TrimSpace(media)
	switch {
	case media == "text/xml", media == "application/xml", strings.HasSuffix(media, "+xml"):
		return "xml"
	case media == "application/json", media == "text/json", strings.HasSuffix(media, "+json"):
		return "json"
	}
	return "bin"
}

// exchangeDir is the directory of an exchange's content.
func exchangeDir(n uint64) string { return path.Join("data/exchanges", fmt.Sprintf("%012d", n)) }
