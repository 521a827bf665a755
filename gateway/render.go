package gateway

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sigillo/internal/exchange"
)

// answer is an HTTP answer, ours or the upstream's, as it will be delivered.
type answer struct {
	status   int
	fields   http.Header
	trailers http.Header
	body     []byte
	head     []byte
}

// speaksSOAP tells whether a caller wants a SOAP fault: it sent one of SOAP's content types or fields.
func speaksSOAP(r *http.Request) bool {
	if _, ok := r.Header["Soapaction"]; ok {
		return true
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "xml")
	}
	return kind == "text/xml" || kind == "application/soap+xml" || kind == "multipart/related" && strings.Contains(params["type"], "xml")
}

// refuse makes our own answer: a SOAP 1.1 fault or a problem (RFC 9457), with a stable type, the exchange
// and nothing else.
func (s *Server) refuse(soap bool, a answerOf, reason exchange.Reason, id exchange.ID) answer {
	kind := "urn:sigillo:refusal:" + string(reason)
	out := answer{status: a.status, fields: http.Header{}}
	var b bytes.Buffer
	if soap {
		out.fields.Set("Content-Type", "text/xml; charset=utf-8")
		who := "soapenv:Server"
		if a.status < 500 {
			who = "soapenv:Client"
		}
		b.WriteString(xml.Header + `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault><faultcode>` + who + `</faultcode><faultstring>`)
		_ = xml.EscapeText(&b, []byte(a.title)) // a buffer takes everything
		b.WriteString(`</faultstring><detail><refusal xmlns="urn:sigillo"><type>` + kind + `</type><exchange>` + string(id) + `</exchange></refusal></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`)
	} else {
		out.fields.Set("Content-Type", "application/problem+json")
		problem := struct {
			Type     string      `json:"type"`
			Title    string      `json:"title"`
			Status   int         `json:"status"`
			Exchange exchange.ID `json:"exchange,omitempty"`
		}{kind, a.title, a.status, id}
		if err := json.NewEncoder(&b).Encode(problem); err != nil {
			panic(err) // a struct of strings always encodes
		}
	}
	if a.status == http.StatusServiceUnavailable {
		out.fields.Set("Retry-After", "5")
	}
	out.body = b.Bytes()
	out.fields.Set("Content-Length", strconv.Itoa(len(out.body)))
	now := s.o.Clock()
	out.head = responseHead(out.status, "HTTP/1.1", out.fields, nil, "", nil, now, now)
	return out
}

// Fields that the gateway adds to every answer to an identified caller.
const (
	fieldExchange = "Sigillo-Exchange"
	fieldReceipt  = "Sigillo-Receipt"
)

// deliver writes an answer. An error says that the caller is gone.
func deliver(w http.ResponseWriter, r *http.Request, a answer, id exchange.ID, receipt string, closing bool) error {
	if err := r.Context().Err(); err != nil {
		return err // gone already; what a socket buffer would still take, nobody reads
	}
	h := w.Header()
	for name, values := range a.fields {
		h[name] = values
	}
	// net/http adds what is missing; an upstream that sent no date or type did not say any.
	for _, name := range []string{"Date", "Content-Type"} {
		if _, ok := h[name]; !ok {
			h[name] = nil
		}
	}
	if id != "" {
		h.Set(fieldExchange, string(id))
	}
	if receipt != "" {
		h.Set(fieldReceipt, receipt)
	}
	if closing {
		h.Set("Connection", "close")
	}
	bodyless := r.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified || a.status < 200
	switch {
	case bodyless:
	case len(a.trailers) > 0:
		h.Del("Content-Length")
		for name, values := range a.trailers {
			h[http.TrailerPrefix+name] = values
		}
	default:
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	c := http.NewResponseController(w)
	if err := c.SetWriteDeadline(time.Now().Add(deliverTimeout)); err != nil {
		return err
	}
	w.WriteHeader(a.status)
	if !bodyless {
		if _, err := w.Write(a.body); err != nil {
			return err
		}
	}
	return c.Flush()
}

// deliverTimeout bounds how long a caller may take to receive its answer.
const deliverTimeout = time.Minute
