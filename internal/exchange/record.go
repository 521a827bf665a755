package exchange

import "time"

// Kind is the kind of a ledger entry that an exchange can cause. The ledger has further kinds of its own.
type Kind string

// The kinds that the gateway records. Every exchange has one refusal, or one request and exactly one
// of response, failure or (written by the ledger at start) recovery.
const (
	KindRequest     Kind = "request"     // captured, identified, allowed; blocks the forward
	KindResponse    Kind = "response"    // upstream answered; blocks the delivery
	KindRefusal     Kind = "refusal"     // we said no to an identified caller; blocks our answer
	KindFailure     Kind = "failure"     // upstream error, timeout or abort after a request entry
	KindUndelivered Kind = "undelivered" // the response entry stands, the caller was gone
)

// Reason is why an exchange was refused or failed: a closed list, written into entries and metrics.
type Reason string

// Reasons of a refusal.
const (
	ReasonNoRoute        Reason = "no-route"        // 404: no route of this listener serves the path
	ReasonMethod         Reason = "method"          // 405: method not served
	ReasonSyntax         Reason = "syntax"          // 400: not well-formed, or an ambiguity that we do not guess at
	ReasonActionMismatch Reason = "action-mismatch" // 400: SOAPAction contradicts the body
	ReasonTooLarge       Reason = "too-large"       // 413: body over the route's limit; recorded cut
	ReasonBodyTimeout    Reason = "body-timeout"    // 408: the body did not arrive in time; recorded cut
	ReasonBodyAborted    Reason = "body-aborted"    // 400: the caller went away while sending; recorded cut
	ReasonRole           Reason = "role"            // 403: the participant has not the role that the route asks for
	ReasonClaim          Reason = "claim"           // 403: the message claims an identity that is not the caller's
	ReasonNotServed      Reason = "not-served"      // 403: the message names an EC or PSP that the route does not serve
	ReasonPolicy         Reason = "policy"          // 403: policy denied
	ReasonUnavailable    Reason = "unavailable"     // 503: evidence is not possible now; of a failure: was not in time
	ReasonMisdirected    Reason = "misdirected"     // 421: SNI and Host differ
)

// Reasons of a failure.
const (
	ReasonUpstreamUnreachable Reason = "upstream-unreachable" // 502: no connection, or TLS refused
	ReasonUpstreamBroken      Reason = "upstream-broken"      // 502: broke off, or answered no HTTP
	ReasonUpstreamTooLarge    Reason = "upstream-too-large"   // 502: response over the route's limit; recorded cut
	ReasonUpstreamTimeout     Reason = "upstream-timeout"     // 504: no answer in time
	ReasonCallerGone          Reason = "caller-gone"          // nobody to answer: the caller left before the upstream answered
)

// Party is one side of an exchange as an entry names it. Participants are legal persons.
type Party struct {
	Participant string `json:"participant"`          // "ec:77777777777", "psp:ABI12345", "node:pagopa"
	Via         string `json:"via,omitempty"`        // the broker that speaks for it
	Role        string `json:"role"`                 // ec, psp or node
	Cert        string `json:"cert,omitempty"`       // lower-case hex SHA-256 of the certificate's DER
	Revocation  string `json:"revocation,omitempty"` // lower-case hex SHA-256 of the evidence used
}

// Outcome is what the operation's answer says of itself, whatever its HTTP status.
type Outcome struct {
	Code  string `json:"code"`            // OK, KO, or "none" where the answer has no outcome
	Fault string `json:"fault,omitempty"` // fault code of the catalogue, else "other"
}

// Decision is what policy said, and by which rules.
type Decision struct {
	Allow    bool     `json:"allow"`
	Policies []string `json:"policies"` // ids of the deciding policies, sorted; empty: denied by default
	Pack     string   `json:"pack"`     // lower-case hex SHA-256 of the policy pack in force
}

// Question is what policy is asked about one request.
type Question struct {
	From      Party
	To        Party
	Principal string // the EC or PSP on whose behalf this gateway acts
	Route     string
	Direction string // direction of the route, as the catalogue writes it: "EC->node", "PSP->node", "node->EC", "node->PSP"
	Protocol  string // "SOAP" or "REST"
	Operation string // name in the catalogue, or "unknown"
	// OperationDirection is the direction that the catalogue gives the operation; "" when it is unknown.
	OperationDirection string
	Keys               Keys
	Size               int64 // bytes of the body
	Time               time.Time
}

// RequestRef ties the entry that closes an exchange to the entry that opened it.
type RequestRef struct {
	N     uint64   // entry number
	Entry [32]byte // SHA-256 of the entry's bytes
	Body  [32]byte // SHA-256 of the request body as received
}

// Record is what the gateway asks the ledger to keep: it becomes exactly one entry.
type Record struct {
	Kind      Kind
	Exchange  ID
	Principal string    // "ec:77777777777": names the own chain together with Class
	Class     string    // retention class, e.g. "audit-10y"
	Captured  time.Time // capture of the request: its UTC month is the class-month of all messages
	Request   *RequestRef
	Route     string
	Operation string // "" only where no request was read
	From      Party
	To        Party
	// Messages captured since the exchange's previous record, in order of capture. FirstIndex is the
	// number of the first of them within the exchange.
	Messages   []Message
	FirstIndex int
	Outcome    *Outcome
	Decision   *Decision
	Reason     Reason // of a refusal, failure or undelivered
	Keys       Keys   // for the index
	// Late, when set, is told of an entry that became durable after its caller was told that it had not in
	// time. It must not block.
	Late func(Recorded)
}

// Recorded says where a record stands, once it is durable.
type Recorded struct {
	N     uint64
	Entry [32]byte // SHA-256 of the entry's bytes
	Time  time.Time
}

// Barrier says how far an entry must have come before somebody goes on.
type Barrier string

// The barriers, each further than the one before.
const (
	BarrierDurable   Barrier = "durable"   // on disk, and synced
	BarrierSigned    Barrier = "signed"    // a signed checkpoint that is stored covers it
	BarrierWitnessed Barrier = "witnessed" // so does one that a quorum of witnesses cosigned
)
