package testbed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// foreignEC is a creditor that belongs to nobody in the test bed.
const foreignEC = "99999999999"

// Bad says through which gateway the callers misbehave.
type Bad struct {
	PSPOut, ECOut string  // base URLs of the routes PSP → node and EC → node, as in Life
	Clients       Clients // PSP and EC are used
	Unregistered  *http.Client
	Unknown       *http.Client // its certificate comes from a CA that the gateway does not trust
	BodyLimit     int64        // of route PSP → node, in bytes
	// Node is the fake node behind the gateway: it tells when a request hangs in it, so that the caller leaves
	// exactly then. Without it the caller leaves after half a second.
	Node *Peer
}

// BadCase is one row of the table: what was tried, what should come of it, and what came. Exchange and Receipt are
// those of the answer: a refused caller that was identified holds the proof of it.
type BadCase struct {
	Name, Expected, Got string
	Exchange            string
	Receipt             bool
	Good                bool // Got is what was expected, and proof is there where it must be
}

// badTry is one case before it is run.
type badTry struct {
	name    string
	client  *http.Client
	message message
	status  int  // expected
	proof   bool // the answer must have Sigillo-Exchange and Sigillo-Receipt
}

// BadCases runs the bad ones, one after the other, and returns a row for each. The case of the hanging upstream takes
// as long as the route's time-out. An error means that a case could not be put together, not that it went wrong.
func BadCases(ctx context.Context, b Bad) ([]BadCase, error) {
	verify, err := soapRequest("verifyPaymentNotice", nil)
	if err != nil {
		return nil, fmt.Errorf("bad cases: %w", err)
	}
	outcome, err := soapRequest("sendPaymentOutcome", nil)
	if err != nil {
		return nil, fmt.Errorf("bad cases: %w", err)
	}
	flows, err := soapRequest("nodeForPa.nodoChiediElencoFlussiRendicontazione", map[string]string{"identificativoDominio": foreignEC})
	if err != nil {
		return nil, fmt.Errorf("bad cases: %w", err)
	}
	toPSP := message{method: http.MethodPost, url: b.PSPOut + pathNodeForPSP, contentType: xmlContentType, action: "verifyPaymentNotice", body: verify}
	toPA := message{method: http.MethodPost, url: b.ECOut + pathNodeForPA, contentType: xmlContentType}
	with := func(m message, action string, body []byte) message {
		m.action, m.body = action, body
		return m
	}
	hanging := toPSP
	hanging.behaviour = BehaviourHang
	// Little more than the limit, so that the rest fits into the sockets' buffers and the answer can be read.
	tooLong := append(bytes.Clone(verify), bytes.Repeat([]byte{' '}, int(max(0, b.BodyLimit+1024-int64(len(verify)))))...)

	rows := []BadCase{badHandshake(ctx, b.Unknown, toPSP)}
	for _, t := range []badTry{
		{name: "certificate registered for nobody", client: b.Unregistered, message: toPSP, status: http.StatusForbidden},
		{name: "forbidden operation", client: b.Clients.EC, message: with(toPA, "sendPaymentOutcome", outcome), status: http.StatusForbidden, proof: true},
		{name: "EC that is not the caller's", client: b.Clients.EC, message: with(toPA, "nodoChiediElencoFlussiRendicontazione", flows), status: http.StatusForbidden, proof: true},
		{name: "body over the limit", client: b.Clients.PSP, message: with(toPSP, "verifyPaymentNotice", tooLong), status: http.StatusRequestEntityTooLarge, proof: true},
		{name: "malformed XML", client: b.Clients.PSP, message: with(toPSP, "verifyPaymentNotice", verify[:len(verify)-len(envelopeTail)]), status: http.StatusBadRequest, proof: true},
		{name: "upstream that hangs", client: b.Clients.PSP, message: hanging, status: http.StatusGatewayTimeout, proof: true},
	} {
		rows = append(rows, t.run(ctx))
	}
	return append(rows, badCallerLeaves(ctx, b, hanging)), nil
}

func (t badTry) run(ctx context.Context) BadCase {
	row := BadCase{Name: t.name, Expected: fmt.Sprintf("status %d", t.status)}
	if t.proof {
		row.Expected += " with receipt"
	}
	answer, err := send(ctx, t.client, t.message)
	if err != nil {
		row.Got = "no answer: " + withoutAddress(err)
		return row
	}
	row.Got = fmt.Sprintf("status %d", answer.status)
	row.Exchange, row.Receipt = answer.exchange, answer.receipt != ""
	if row.Receipt {
		row.Got += " with receipt"
	}
	row.Good = answer.status == t.status && (!t.proof || row.Receipt && row.Exchange != "")
	return row
}

// badHandshake calls with a certificate of an unknown CA. In TLS 1.3 the caller learns of the refusal only when it
// reads, and then as an alert or as a broken connection: either will do, but not that nobody listens.
func badHandshake(ctx context.Context, client *http.Client, m message) BadCase {
	row := BadCase{Name: "certificate of an unknown CA", Expected: "handshake refused"}
	answer, err := send(ctx, client, m)
	var dial *net.OpError
	var server *tls.CertificateVerificationError
	switch {
	case err == nil:
		row.Got, row.Exchange, row.Receipt = fmt.Sprintf("status %d", answer.status), answer.exchange, answer.receipt != ""
	case errors.As(err, &dial) && dial.Op == "dial", errors.As(err, &server), ctx.Err() != nil:
		row.Got = "no connection: " + withoutAddress(err)
	default:
		row.Got, row.Good = "handshake refused", true
	}
	return row
}

// badCallerLeaves hangs up while the upstream has not answered.
func badCallerLeaves(ctx context.Context, b Bad, m message) BadCase {
	row := BadCase{Name: "caller that goes away", Expected: "no answer"}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	before := 0
	if b.Node != nil {
		before = b.Node.Hung()
	}
	answers := make(chan error, 1)
	waiting, answeredEarly := context.WithCancel(ctx)
	go func() {
		defer answeredEarly()
		_, err := send(ctx, b.Clients.PSP, m)
		answers <- err
	}()
	if b.Node == nil {
		select {
		case <-time.After(500 * time.Millisecond): // the caller's own patience
		case <-waiting.Done():
		}
	} else if err := b.Node.WaitHung(waiting, before+1); err != nil {
		leave()
		<-answers
		row.Got = "the upstream was never asked"
		return row
	}
	leave()
	if err := <-answers; errors.Is(err, context.Canceled) {
		row.Got, row.Good = "no answer", true
	} else if err != nil {
		row.Got = "no connection: " + withoutAddress(err)
	} else {
		row.Got = "an answer"
	}
	return row
}

// withoutAddress is the cause of a client's error without method and address.
func withoutAddress(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}
