package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"sigillo/certs"
	"sigillo/internal/exchange"
	"sigillo/internal/pagopa"
)

// run is one exchange on its way through the gateway.
type run struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	listener Listener
	caller   caller
	begin    time.Time

	id        exchange.ID
	soap      bool
	route     *boundRoute
	rest      string // of the path, after the route's prefix
	claim     claim
	class     string
	operation string
	decision  *exchange.Decision
	request   exchange.Message
	keys      exchange.Keys
	ref       *exchange.RequestRef // of the request entry, once there is one

	instead answer        // what the caller got because an entry did not come in time
	given   chan struct{} // closed when instead is set

	status  int // of the answer, for the log
	reason  exchange.Reason
	cause   error
	outcome string
	waited  time.Duration // for the upstream
}

// serve is the way of one exchange: identify, capture, classify, decide, record, forward, capture, record,
// deliver. The entry comes before the next step, always.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, l Listener) {
	begin := s.o.Clock()
	c, err := s.identify(r, l, begin)
	if err != nil {
		s.unidentified.count(certs.ReasonOf(err))
		a := s.refuse(speaksSOAP(r), notIdentified, "unregistered", "")
		_ = deliver(w, r, a, "", "", true) // nobody we know: nothing to record
		return
	}
	x := &run{s: s, w: w, r: r, listener: l, caller: c, begin: begin, given: make(chan struct{}), soap: speaksSOAP(r), operation: "", class: l.Class,
		claim: claim{principal: l.Principal, from: exchange.Party{Participant: c.ID, Role: firstRole(c), Cert: c.chain.Fingerprint}}}
	id, err := uuid.NewV7()
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	x.id = exchange.ID(id.String())
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		x.pass()
	default:
		x.refused(exchange.ReasonUnavailable, captured{cut: true})
	}
	x.log()
}

func firstRole(c caller) string {
	if len(c.Roles) > 0 {
		return c.Roles[0]
	}
	return "ec"
}

// pass takes an identified caller's request through the steps.
func (x *run) pass() {
	s, r := x.s, x.r
	x.route, x.rest = s.match(x.listener.Name, r.URL.EscapedPath())
	if x.route == nil {
		x.refused(exchange.ReasonNoRoute, captured{cut: r.ContentLength != 0})
		return
	}
	x.class = x.route.Class
	x.claim.principal = x.route.Principal
	fromRole, _ := x.route.Direction.roles()
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace {
		x.refused(exchange.ReasonMethod, captured{cut: r.ContentLength != 0})
		return
	}
	body := capture(x.w, r, x.route.BodyLimit, x.route.BodyTimeout)
	if body.reason != "" {
		x.refused(body.reason, body)
		return
	}
	if !x.caller.MayCallAs(fromRole) {
		x.refused(exchange.ReasonRole, body)
		return
	}
	x.claim.from.Role = fromRole
	what, reason := x.classify(body.body)
	if reason != "" {
		x.refused(reason, body)
		return
	}
	x.claim = claims(x.route, x.caller, what.Keys)
	if x.claim.reason != "" {
		x.refused(x.claim.reason, body)
		return
	}
	d := s.o.Decider.Decide(exchange.Question{From: x.claim.from, To: x.claim.to, Principal: x.claim.principal, Route: x.route.Name,
		Direction: string(x.route.Direction), Protocol: what.Protocol, Operation: what.Operation, OperationDirection: what.Direction,
		Keys: what.Keys, Size: int64(len(body.body)), Time: x.begin})
	x.decision = &d
	if !d.Allow {
		x.refused(exchange.ReasonPolicy, body)
		return
	}
	x.forwardRecorded(body)
}

// classify finds operation and keys; a message that cannot be read without guessing is refused.
func (x *run) classify(body []byte) (pagopa.Classified, exchange.Reason) {
	h := x.r.Header
	if len(h["Content-Type"]) > 1 || len(h["Soapaction"]) > 1 {
		return pagopa.Classified{}, exchange.ReasonSyntax
	}
	what, err := x.s.o.Catalogue.Request(pagopa.Request{Method: x.r.Method, Path: x.rest, RawQuery: x.r.URL.RawQuery,
		ContentType: h.Get("Content-Type"), ContentEncoding: h.Get("Content-Encoding"), SOAPAction: h.Get("SOAPAction"), Body: body})
	if what.Operation != "" {
		x.operation = what.Operation
		x.class = x.route.class(what.Operation)
		x.keys = what.Keys
	}
	if what.Protocol == pagopa.SOAP {
		x.soap = true
	}
	switch {
	case errors.Is(err, pagopa.ErrActionMismatch):
		return what, exchange.ReasonActionMismatch
	case err != nil:
		x.cause = err
		return what, exchange.ReasonSyntax
	}
	return what, ""
}

// forwardRecorded records the request, sends it on, and records and delivers what comes back.
func (x *run) forwardRecorded(body captured) {
	points := []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded}
	x.request = exchange.Message{Points: points, Head: requestHead(x.r, x.begin, x.s.o.Clock()), Body: body.body}
	rec := x.record(exchange.KindRequest, 0, x.request)
	rec.Decision, rec.Keys, rec.Late = x.decision, x.keys, x.lateRequest
	at, err := x.keep(rec)
	if err != nil {
		x.unrecorded(err)
		return
	}
	x.ref = &exchange.RequestRef{N: at.N, Entry: at.Entry, Body: sha256.Sum256(body.body)}
	if !x.passed(at.N, x.route.RequestBarrier) {
		x.failed(received{reason: exchange.ReasonUnavailable})
		return
	}
	sent := x.s.o.Clock()
	got := x.s.forward(x.r.Context(), x.route, x.r, x.rest, body.body)
	x.waited = since(x.s.o.Clock(), sent)
	if got.reason != "" {
		x.failed(got)
		return
	}
	rec = x.record(exchange.KindResponse, 1, exchange.Message{Points: []exchange.Point{exchange.ResponseReceived, exchange.ResponseDelivered},
		Status: got.status, Head: got.head, Body: got.body})
	said, err := x.s.o.Catalogue.Answer(pagopa.Response{Operation: x.operation, Status: got.status, ContentType: got.fields.Get("Content-Type"),
		ContentEncoding: got.fields.Get("Content-Encoding"), Body: got.body})
	if err != nil {
		x.cause = err // an answer that cannot be read is delivered as it is; its outcome is "none"
	}
	rec.Outcome, rec.Decision, rec.Keys, rec.Late = &said.Outcome, x.decision, said.Keys, x.lateAnswer
	x.outcome = said.Outcome.Code
	at, err = x.keep(rec)
	if err != nil {
		x.unrecorded(err)
		return
	}
	if !x.passed(at.N, x.route.AnswerBarrier) {
		x.unwitnessed()
		return
	}
	x.deliver(got.answer, false)
}

// failed closes an exchange whose upstream gave nothing that can be delivered.
func (x *run) failed(got received) {
	x.reason, x.cause = got.reason, got.cause
	var messages []exchange.Message
	if got.arrived {
		messages = append(messages, exchange.Message{Points: []exchange.Point{exchange.ResponseReceived}, Status: got.status, Head: got.head, Body: got.body, Cut: got.cut})
	}
	var ours answer
	if got.reason != exchange.ReasonCallerGone {
		ours = x.s.refuse(x.soap, answers[got.reason], got.reason, x.id)
		messages = append(messages, exchange.Message{Points: []exchange.Point{exchange.ResponseDelivered}, Status: ours.status, Head: ours.head, Body: ours.body})
	}
	rec := x.record(exchange.KindFailure, 1, messages...)
	rec.Decision, rec.Reason, rec.Late = x.decision, got.reason, x.lateAnswer
	if _, err := x.keep(rec); err != nil {
		x.unrecorded(err)
		return
	}
	if got.reason != exchange.ReasonCallerGone {
		x.deliver(ours, false)
	}
}

// refused records what an identified caller sent and our answer, and gives the answer.
func (x *run) refused(reason exchange.Reason, body captured) {
	x.reason = reason
	ours := x.s.refuse(x.soap, answers[reason], reason, x.id)
	rec := x.record(exchange.KindRefusal, 0,
		exchange.Message{Points: []exchange.Point{exchange.RequestReceived}, Head: requestHead(x.r, x.begin, x.s.o.Clock()), Body: body.body, Cut: body.cut},
		exchange.Message{Points: []exchange.Point{exchange.ResponseDelivered}, Status: ours.status, Head: ours.head, Body: ours.body})
	rec.Decision, rec.Reason, rec.Keys = x.decision, reason, x.keys
	if _, err := x.keep(rec); err != nil {
		x.unrecorded(err)
		return
	}
	x.deliver(ours, body.cut)
}

// record is a record of this exchange with its messages.
func (x *run) record(kind exchange.Kind, first int, messages ...exchange.Message) exchange.Record {
	rec := exchange.Record{Kind: kind, Exchange: x.id, Principal: x.claim.principal, Class: x.class, Captured: x.begin, Request: x.ref,
		Operation: x.operation, From: x.claim.from, To: x.claim.to, Messages: messages, FirstIndex: first}
	if x.route != nil {
		rec.Route = x.route.Name
	}
	return rec
}

// keep makes an entry, whatever the caller does meanwhile.
func (x *run) keep(rec exchange.Record) (exchange.Recorded, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), x.s.o.RecordTimeout)
	defer cancel()
	return x.s.o.Recorder.Record(ctx, rec)
}

// deliver gives the caller its answer with the receipt, or the word that it is pending.
func (x *run) deliver(a answer, closing bool) {
	wait := x.s.o.SigningTimeout
	if x.route != nil && x.route.AnswerBarrier == exchange.BarrierDurable {
		wait = 0 // the receipt goes along if it is there
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), wait)
	receipt, err := x.s.o.Recorder.Receipt(ctx, x.id)
	cancel()
	if err != nil {
		receipt = "pending"
	}
	x.status = a.status
	if deliver(x.w, x.r, a, x.id, receipt, closing) == nil {
		return
	}
	if x.ref == nil {
		return // a refusal: its one entry says all that there is to say
	}
	rec := x.record(exchange.KindUndelivered, 0)
	rec.Reason = exchange.ReasonCallerGone
	if _, err := x.keep(rec); err != nil {
		x.cause = errors.Join(x.cause, err)
	}
	x.reason = exchange.ReasonCallerGone
}
