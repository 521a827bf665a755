package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Writer makes the messages of one writer: one request after the other, each of a fresh exchange, or whole
// exchanges, request and response. One goroutine uses it.
//
// A message is one record: a head of about half a KiB, a body of the workload's size, the parties, policy's
// decision, and the business keys that the catalogue finds (four in a request, two in a response).
type Writer struct {
	principal string
	class     string
	body      []byte
	head      []byte
	serial    uint64
	exchanges bool
	open      *exchange.Record // a request that is durable, and where
	at        exchange.Recorded
	digest    [32]byte
}

// Workload says whose messages the writers make, and how large.
type Workload struct {
	Size       int // bytes of a body
	Principals int // own chains by principal; zero: one
	Classes    int // retention classes of each; zero: one
	// Exchanges makes responses too. A response brings a receipt, whose signature costs more than the rest:
	// what signing takes is measured apart.
	Exchanges bool
}

// NewWriter gives writer number i of a workload.
func NewWriter(i int, of Workload) (*Writer, error) {
	principals, classes := max(of.Principals, 1), max(of.Classes, 1)
	w := &Writer{principal: fmt.Sprintf("ec:%011d", 77777777777-i%principals), class: fmt.Sprintf("audit-%dy", 10-i/principals%classes),
		body: make([]byte, of.Size), serial: uint64(i) << 40, exchanges: of.Exchanges}
	if _, err := rand.Read(w.body); err != nil {
		return nil, err
	}
	w.head = append(w.head, requestHead...)
	return w, nil
}

const requestHead = `{"method":"POST","target":"/ec/services/paForNode","protocol":"HTTP/1.1","headers":[["Host","ec.bench.sigillo.test"],` +
	`["Content-Type","text/xml; charset=utf-8"],["Content-Length","2048"],["SOAPAction","\"paGetPaymentV2\""],["Accept","text/xml, multipart/related"],` +
	`["User-Agent","nodo-spc/3.17 (bench)"],["X-Request-Id","3f5b6c1e-8a94-4f0e-9a55-1f0f6f6f2a10"],["Traceparent","00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],` +
	`["Connection","keep-alive"],["Authorization","sha256:redacted"]]}`

var (
	pack     = fmt.Sprintf("%x", sha256.Sum256([]byte("pack")))
	cert     = fmt.Sprintf("%x", sha256.Sum256([]byte("certificate")))
	decision = &exchange.Decision{Allow: true, Policies: []string{"node-may-call-ec"}, Pack: pack}
	outcome  = &exchange.Outcome{Code: "OK"}
	asked    = []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded}
	answered = []exchange.Point{exchange.ResponseReceived, exchange.ResponseDelivered}
)

// Next gives the writer's next record. Written must be told where it stands before Next is called again.
func (w *Writer) Next() (exchange.Record, error) {
	w.serial++
	if len(w.body) >= 8 {
		binary.BigEndian.PutUint64(w.body, w.serial)
	}
	creditor := w.principal[3:]
	if w.open != nil {
		r := *w.open
		r.Kind, r.FirstIndex, r.Outcome = exchange.KindResponse, 1, outcome
		r.Request = &exchange.RequestRef{N: w.at.N, Entry: w.at.Entry, Body: w.digest}
		r.Keys = exchange.Keys{{Name: "creditor", Value: creditor}, {Name: "iuv", Value: fmt.Sprintf("%018d", w.serial)}}
		r.Messages = []exchange.Message{{Points: answered, Status: 200, Head: w.head, Body: w.body}}
		w.open = nil
		return r, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return exchange.Record{}, err
	}
	w.digest = sha256.Sum256(w.body[:min(len(w.body), 32)]) // stands for the body's: both subjects copy it
	r := exchange.Record{Kind: exchange.KindRequest, Exchange: exchange.ID(id.String()), Principal: w.principal, Class: w.class,
		Captured: time.Now(), Route: "ec-in", Operation: "paGetPaymentV2",
		From: exchange.Party{Participant: "node:pagopa", Role: "node", Cert: cert}, To: exchange.Party{Participant: w.principal, Role: "ec"},
		Decision: decision, Messages: []exchange.Message{{Points: asked, Head: w.head, Body: w.body}},
		Keys: exchange.Keys{{Name: "creditor", Value: creditor}, {Name: "notice", Value: fmt.Sprintf("3%017d", w.serial)},
			{Name: "idBrokerPA", Value: creditor}, {Name: "idStation", Value: creditor + "_01"}}}
	return r, nil
}

// Refused gives the record of a request that was refused: an exchange of one entry.
func (w *Writer) Refused() (exchange.Record, error) {
	w.open = nil
	r, err := w.Next()
	r.Kind, r.Reason = exchange.KindRefusal, exchange.ReasonPolicy
	r.Decision = &exchange.Decision{Policies: []string{}, Pack: pack}
	r.Messages[0].Points = []exchange.Point{exchange.RequestReceived}
	return r, err
}

// Written says where the record that Next gave stands.
func (w *Writer) Written(r *exchange.Record, at exchange.Recorded) {
	if r.Kind == exchange.KindRequest && w.exchanges {
		w.open, w.at = r, at
	}
}
