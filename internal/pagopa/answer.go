package pagopa

import (
	"bufio"
	"errors"

	"encoding/xml"

	"sigillo/internal/exchange"
)

// The codes of an exchange.Outcome.
const (
	OK   = "OK"
	KO   = "KO"
	None = "none" // the answer says nothing of the outcome, or cannot be read
)

// Response is what the classifier looks at in an HTTP response.
type Response struct {
	Operation       string // of the request: name in the catalogue, or Unknown
	Status          int    // HTTP status; decides for REST, says nothing for SOAP
	ContentType     string
	ContentEncoding string
	Body            []byte
}

// Answer is what a response says.
type Answer struct {
	Outcome  exchange.Outcome
	Keys     exchange.Keys
	Name     string // local name in soap:Body, cut at 256 bytes: content, sealed with the message
	Findings []string
}

// Response is Answer without findings, for a caller that needs the outcome only: FindingOtherAnswer becomes
// an error that wraps ErrOtherAnswer. The outcome is usable beside every error.
func (c *Catalogue) Response(operation string, status int, contentType string, body []byte) (exchange.Outcome, exchange.Keys, error) {
	a, err := c.Answer(Response{Operation: operation, Status: status, ContentType: contentType, Body: body})
	if err == nil {
		for _, f := range a.Findings {
			if f == FindingOtherAnswer {
				err = ErrOtherAnswer
			}
		}
	}
	return a.Outcome, a.Keys, err
}

// Answer reads the outcome and the keys of a response. An error is a *SyntaxError: the outcome beside it is
// "none" for SOAP (an answer cut after its OK proves nothing) and by HTTP status for REST. Safe for concurrent use.
func (c *Catalogue) Answer(r Response) (Answer, error) {
	lines := c.byName[r.Operation]
	m, err := parseMediaType(r.ContentType)
	if err != nil {
		m = mediaType{malformed: true} // the answer came all the same: judge it by its body
	}
	body := bufio.NewReaderSize(decodeContent(r.ContentEncoding, r.Body), 4096)
	head, err := body.Peek(1024)
	var a Answer
	k := &collector{}
	if m.malformed {
		k.find(FindingContentType)
	}
	unread := errors.Is(err, errContentEncoding)
	switch {
	case unread:
	case len(lines) > 0 && lines[0].Protocol == REST:
		err = c.answerREST(r, lines[0].response, m, body, len(head) > 0, k, &a)
	case m.name == "multipart/related" || beginsWith(head, "<"):
		err = c.answerSOAP(r, lines, m, body, k, &a)
	case len(lines) > 0:
		// An APIM's JSON, a proxy's text, nothing at all.
		k.find(FindingNotSOAP)
		a.Outcome, err = exchange.Outcome{Code: KO, Fault: OtherFault}, nil
	default:
		a.Outcome, err = byStatus(r.Status), nil
	}
	if unread || errors.Is(err, errContentEncoding) {
		a, err = Answer{Outcome: exchange.Outcome{Code: None}}, nil
		k.find(FindingContentEncoding)
	}
	a.Findings = k.findings
	return a, err
}

func byStatus(status int) exchange.Outcome {
	if status >= 200 && status <= 299 {
		return exchange.Outcome{Code: OK}
	}
	return exchange.Outcome{Code: KO, Fault: OtherFault}
}

// answerREST judges by HTTP status; a fault code of the catalogue in the problem detail is kept.
func (c *Catalogue) answerREST(r Response, tree *node, m mediaType, body *bufio.Reader, filled bool, k *collector, a *Answer) error {
	a.Outcome = byStatus(r.Status)
	if !filled || !m.isJSON() {
		return nil
	}
	err := k.walkJSON(body, tree, func(s string) {
		if a.Outcome.Fault == OtherFault && len(s) <= maxFaultText {
			if code := c.faultIn(s); code != "" {
				a.Outcome.Fault = code
			}
		}
	})
	if err == nil {
		a.Keys = k.keys
	}
	return err
}

// answerSOAP reads a SOAP answer, or finds that it is none.
func (c *Catalogue) answerSOAP(r Response, lines []*Operation, m mediaType, body *bufio.Reader, k *collector, a *Answer) error {
	a.Outcome = exchange.Outcome{Code: None}
	reader := &soapReader{collector: *k, choose: func(root xml.Name) (*Operation, *node) {
		found := c.byResponse[root]
		if len(found) == 0 {
			return nil, nil
		}
		return found[0], found[0].response
	}}
	t, err := readSOAP(reader, m, body)
	*k = reader.collector
	var known *SyntaxError
	if errors.As(err, &known) && known.Code == NotWellFormed && !m.isXML() || err == nil && !reader.envelope {
		// HTML or another document: nobody called it SOAP.
		k.find(FindingNotSOAP)
		if a.Outcome = (exchange.Outcome{Code: KO, Fault: OtherFault}); len(lines) == 0 {
			a.Outcome = byStatus(r.Status)
		}
		return nil
	}
	if err != nil {
		return err
	}
	a.Name = clip(reader.root.Local)
	if t.conflict {
		k.find(FindingCharsetConflict)
	}
	if m.name != "multipart/related" && m.parameters["charset"] == "" {
		k.find(FindingNoCharset)
	}
	if reader.isFault {
		a.Outcome = exchange.Outcome{Code: KO, Fault: OtherFault}
		for _, text := range reader.texts {
			if code := c.faultIn(text); code != "" {
				a.Outcome.Fault = code
				break
			}
		}
		return nil
	}
	a.Keys = k.keys
	op := reader.operation
	if len(lines) == 0 {
		return nil
	}
	if op == nil || op.Name != r.Operation {
		k.find(FindingOtherAnswer)
		return nil
	}
	a.Outcome = c.outcomeOf(op, k)
	if a.Outcome.Code == None {
		k.find(FindingNoOutcome)
	}
	if a.Outcome.Code == OK && r.Status >= 400 {
		k.find(FindingStatus)
	}
	return nil
}

// outcomeOf reads the outcome as the catalogue says. An answer that has none by its schema is KO when its fault
// bean is there, else OK; an answer that lacks its outcome, or has another word than OK and KO there, is KO when
// its fault bean is there, else nothing is known.
func (c *Catalogue) outcomeOf(op *Operation, k *collector) exchange.Outcome {
	switch {
	case k.outcome == OK:
		return exchange.Outcome{Code: OK}
	case k.outcome == KO || k.fault:
		fault := OtherFault
		if _, known := c.faults[k.code]; known {
			fault = k.code
		}
		return exchange.Outcome{Code: KO, Fault: fault}
	}
	for _, key := range op.ResponseKeys {
		if key.Name == "outcome" {
			return exchange.Outcome{Code: None}
		}
	}
	return exchange.Outcome{Code: OK}
}
