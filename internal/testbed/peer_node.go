package testbed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"
)

// maxSessions bounds how many payments the fake node remembers; the oldest is forgotten first.
const maxSessions = 4096

// Nested tells how a call went that the fake node made to the EC because of a PSP's call.
type Nested struct {
	Operation string
	Status    int           // HTTP status; 0: no answer
	Outcome   string        // OK, KO with its code, or what went wrong; no identifiers
	Exchange  string        // Sigillo-Exchange of the answer
	Receipt   bool          // the answer had Sigillo-Receipt
	Digest    string        // "same", "differs" (Demo-Received-SHA256 against what was sent) or "" if not told
	Took      time.Duration // whole call
}

// String is the form of header Demo-Nested.
func (n Nested) String() string {
	return fmt.Sprintf("%s; status=%d; outcome=%s; exchange=%s; receipt=%t; digest=%s; us=%d",
		n.Operation, n.Status, n.Outcome, n.Exchange, n.Receipt, n.Digest, n.Took.Microseconds())
}

// result is what the node decided on an operation.
type result struct {
	ko     bool
	values map[string]string
	nested []Nested
}

// node is the memory and the outgoing side of the fake pagoPA node. The zero value calls nobody.
type node struct {
	mu       sync.Mutex
	ecURL    string
	client   *http.Client
	sessions sessions
}

func (n *node) target() (string, *http.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client == nil {
		return "", nil
	}
	return n.ecURL, n.client
}

// handle does what the node does besides answering: it asks the EC, chooses the token, sends the receipt.
func (n *node) handle(ctx context.Context, operation string, request leaves, values map[string]string) result {
	switch operation {
	case "verifyPaymentNotice":
		return n.ask(ctx, "paVerifyPaymentNotice", values)
	case "activatePaymentNotice":
		return n.activate(ctx, "paGetPayment", request, values)
	case "activatePaymentNoticeV2":
		return n.activate(ctx, "paGetPaymentV2", request, values)
	case "sendPaymentOutcome":
		return n.outcome(ctx, "paSendRT", request, values)
	case "sendPaymentOutcomeV2":
		return n.outcome(ctx, "paSendRTV2", request, values)
	}
	return result{values: values}
}

// ask makes one call to the EC and carries its answer over.
func (n *node) ask(ctx context.Context, operation string, values map[string]string) result {
	url, client := n.target()
	if url == "" {
		return result{values: values}
	}
	done, answer := callEC(ctx, client, url, operation, values)
	r := result{values: maps.Clone(values), nested: []Nested{done}}
	if done.Outcome == "OK" {
		maps.Copy(r.values, carry(answer))
		return r
	}
	r.ko = true
	r.values["faultCode"], r.values["faultString"] = "PPT_STAZIONE_INT_PA_IRRAGGIUNGIBILE", "Errore di connessione verso la stazione"
	if done.Status == http.StatusOK {
		r.values["faultCode"], r.values["faultString"] = "PPT_ERRORE_EMESSO_DA_PAA", "Errore restituito dall'ente creditore"
	}
	r.values["description"] = done.Operation + ": " + done.Outcome
	return r
}

// activate opens a session of payment; a repeat with the same key and notice gets the first answer again.
func (n *node) activate(ctx context.Context, operation string, request leaves, values map[string]string) result {
	key := ""
	if k := request.first("idempotencyKey"); k != "" {
		key = k + " " + values["noticeNumber"]
	}
	if again, ok := n.sessions.byIdempotency(key); ok {
		return result{values: again}
	}
	r := n.ask(ctx, operation, values)
	if r.ko {
		return r
	}
	r.values["paymentToken"] = newToken()
	n.sessions.remember(key, r.values)
	return r
}

// outcome closes a session: a paid one sends the receipt to the EC before the PSP is answered. That the EC did not
// take it does not change the answer: the real node would try again for two days.
func (n *node) outcome(ctx context.Context, operation string, request leaves, values map[string]string) result {
	r := result{values: values}
	url, client := n.target()
	if url == "" || request.first("outcome") != "OK" {
		return r
	}
	for _, token := range request["paymentToken"] {
		paid, ok := n.sessions.unreceipted(token)
		if !ok {
			continue
		}
		now := time.Now()
		paid["receiptId"] = token
		paid["paymentDateTime"] = now.Format("2006-01-02T15:04:05")
		paid["applicationDate"] = now.Format(time.DateOnly)
		paid["transferDate"] = now.AddDate(0, 0, 1).Format(time.DateOnly)
		done, _ := callEC(ctx, client, url, operation, paid)
		if done.Outcome == "OK" {
			n.sessions.receipted(token)
		}
		r.nested = append(r.nested, done)
	}
	return r
}

func callEC(ctx context.Context, client *http.Client, url, operation string, values map[string]string) (Nested, leaves) {
	done := Nested{Operation: operation}
	body, err := soapRequest(operation, values)
	if err != nil {
		done.Outcome = "no request template"
		return done, nil
	}
	begin := time.Now()
	answer, err := send(ctx, client, message{method: http.MethodPost, url: url, contentType: xmlContentType, action: operation, body: body})
	done.Took = time.Since(begin)
	if err != nil {
		done.Outcome = "no answer"
		return done, nil
	}
	done.Status, done.Exchange, done.Receipt, done.Digest = answer.status, answer.exchange, answer.receipt != "", answer.digest
	if answer.status != http.StatusOK {
		done.Outcome = "refused"
		return done, nil
	}
	texts, outcome := soapOutcome(answer.body)
	done.Outcome = outcome
	return done, texts
}

// soapOutcome reads a SOAP answer: "OK", "KO" with the fault code, or "unreadable".
func soapOutcome(body []byte) (leaves, string) {
	text, err := toUTF8(body, "")
	if err != nil {
		return nil, "unreadable"
	}
	_, texts, err := parseSOAP(text)
	switch {
	case err != nil:
		return nil, "unreadable"
	case texts.first("faultCode", "faultcode") != "":
		return texts, "KO " + texts.first("faultCode", "faultcode")
	case texts.first("outcome", "esito") == "KO":
		return texts, "KO"
	}
	return texts, "OK"
}

// newToken is 32 hexadecimal digits, as the node's tokens are.
func newToken() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return hex.EncodeToString(random[:])
}

// sessions are the payments that the node has activated, at most limit of them.
type sessions struct {
	mu      sync.Mutex
	limit   int
	byToken map[string]*session
	byKey   map[string]string // idempotency key and notice → token
	order   []string          // tokens, oldest first
}

type session struct {
	key       string
	values    map[string]string
	receipted bool
}

func (s *sessions) remember(key string, values map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byToken == nil {
		s.byToken, s.byKey = map[string]*session{}, map[string]string{}
	}
	if len(s.order) >= s.limit {
		oldest := s.order[0]
		s.order = s.order[1:]
		if k := s.byToken[oldest].key; s.byKey[k] == oldest {
			delete(s.byKey, k)
		}
		delete(s.byToken, oldest)
	}
	token := values["paymentToken"]
	s.order = append(s.order, token)
	s.byToken[token] = &session{key: key, values: maps.Clone(values)}
	if key != "" {
		s.byKey[key] = token
	}
}

func (s *sessions) byIdempotency(key string) (map[string]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.byKey[key]
	if key == "" || !ok {
		return nil, false
	}
	return maps.Clone(s.byToken[token].values), true
}

func (s *sessions) unreceipted(token string) (map[string]string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byToken[token]
	if !ok || found.receipted {
		return nil, false
	}
	return maps.Clone(found.values), true
}

func (s *sessions) receipted(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.byToken[token]; ok {
		found.receipted = true
	}
}
