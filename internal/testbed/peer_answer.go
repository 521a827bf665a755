package testbed

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Role says whose system a peer plays, and so which operations it serves.
type Role string

// The roles. RoleAny serves every operation of the catalogue, for tests of a gateway with one upstream.
const (
	RoleEC   Role = "ec"
	RolePSP  Role = "psp"
	RoleNode Role = "node"
	RoleAny  Role = ""
)

// serves reports whether r answers operations of a direction, as operations.tsv writes directions.
func (r Role) serves(direction string) bool {
	switch r {
	case RoleEC:
		return strings.HasSuffix(direction, "->EC")
	case RolePSP:
		return strings.HasSuffix(direction, "->PSP")
	case RoleNode:
		return strings.HasSuffix(direction, "->node") || strings.HasPrefix(direction, "node<->") || strings.Contains(direction, "pagoPA")
	}
	return true
}

// Request is what a peer is asked. Body is as received, after HTTP framing only.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   []byte
	KO     bool // answer that the operation failed
}

// Answer is what a peer answers. Pattern is the path without identifiers and Operation the catalogue's name (both
// may be ""); Nested tells how the calls went that the node made because of it.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	Operation string
	Pattern   string
	Nested    []Nested
}

// Answerer answers the operations of one role out of the templates in messages/. Safe for concurrent use.
type Answerer struct {
	role Role
	soap map[xml.Name]soapRow
	rest []restRow
	node node
}

// soapRow is one row of messages/soap.tsv.
type soapRow struct {
	direction, operation   string
	answerRoot, answerFile string
}

// NewAnswerer reads the templates for role.
func NewAnswerer(role Role) (*Answerer, error) {
	a := &Answerer{role: role, soap: map[xml.Name]soapRow{}}
	rows, err := table("soap.tsv", 6)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		a.soap[xml.Name{Space: r[2], Local: r[3]}] = soapRow{direction: r[0], operation: r[1], answerRoot: r[4], answerFile: r[5]}
	}
	if a.rest, err = restRows(); err != nil {
		return nil, err
	}
	a.node.sessions.limit = maxSessions
	return a, nil
}

// table reads a tab-separated file of messages/ without its heading.
func table(name string, columns int) ([][]string, error) {
	text, err := messages.ReadFile("messages/" + name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var rows [][]string
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		row := strings.Split(line, "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("read %s: line %d has %d columns, want %d", name, i+1, len(row), columns)
		}
		if i > 0 {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// Answer answers one request: a SOAP operation by the name of Body's child, a REST operation by method and path.
// It never fails; what it cannot serve is answered with a SOAP fault or a JSON problem. ctx bounds the node's nested calls.
func (a *Answerer) Answer(ctx context.Context, r Request) Answer {
	path := strings.ReplaceAll(r.Path, "//", "/") // the catalogue's GPD paths have two slashes
	row, params, known := a.findREST(r.Method, path)
	if known && row.method == r.Method {
		return a.answerREST(row, params, r)
	}
	text, err := plainText(r.Header, r.Body)
	kind := r.Header.Get("Content-Type")
	if strings.Contains(kind, "xml") || strings.HasPrefix(kind, "multipart/related") || bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) {
		if err != nil {
			return soapFault(http.StatusBadRequest, "soapenv:Client", "message cannot be read: "+err.Error())
		}
		return a.answerSOAP(ctx, r, text)
	}
	if known {
		answer := problem(http.StatusMethodNotAllowed, "method not served")
		answer.Header.Set("Allow", row.method)
		return answer
	}
	return problem(http.StatusNotFound, "no such resource")
}

func (a *Answerer) answerSOAP(ctx context.Context, r Request, text []byte) Answer {
	root, request, err := parseSOAP(text)
	if err != nil {
		return soapFault(http.StatusBadRequest, "soapenv:Client", "message cannot be read")
	}
	row, ok := a.soap[root]
	if !ok || !a.role.serves(row.direction) {
		return soapFault(http.StatusInternalServerError, "PPT_SOAPACTION_ERRATA", "operation not served here")
	}
	outcome := result{values: carry(request)}
	switch {
	case r.KO:
		outcome.ko = true
	case row.operation == "paVerifyPaymentNotice" && request.first("noticeNumber") == standInProbe:
		outcome.ko = true // the template's code is the wanted PAA_PAGAMENTO_SCONOSCIUTO
	case a.role == RoleNode || a.role == RoleAny:
		outcome = a.node.handle(ctx, row.operation, request, outcome.values)
	}
	kind := ".ok"
	if outcome.ko {
		kind = ".ko"
	}
	body, err := filled("answers/"+row.answerFile+kind, row.answerRoot, outcome.values)
	if err != nil {
		return soapFault(http.StatusInternalServerError, "soapenv:Server", "no answer template")
	}
	return Answer{Status: http.StatusOK, Header: xmlHeader(), Body: envelope(body), Operation: row.operation, Nested: outcome.nested}
}

// standInProbe is the notice with which the node asks whether a station is back (SANP, stand-in).
const standInProbe = "000000000000000000"

func xmlHeader() http.Header {
	return http.Header{"Content-Type": {"text/xml; charset=utf-8"}}
}

func soapFault(status int, code, text string) Answer {
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(text)) // a bytes.Buffer does not fail
	body := "<soapenv:Fault><faultcode>" + code + "</faultcode><faultstring>" + escaped.String() + "</faultstring></soapenv:Fault>\n"
	return Answer{Status: status, Header: xmlHeader(), Body: envelope([]byte(body))}
}
