package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"sigillo/certs"
	"sigillo/internal/exchange"
	"sigillo/internal/pagopa"
)

// Options are the parts that a gateway is made of. Zero limits mean the defaults that their comments give.
type Options struct {
	Listeners []Listener
	Routes    []Route
	Registry  *certs.Registry
	Recorder  Recorder
	Decider   Decider
	Catalogue *pagopa.Catalogue
	JWKS      []byte // served at /.well-known/jwks.json

	SigningTimeout time.Duration // wait for a receipt; past it the answer goes with "pending"; 0 means 2 s
	RecordTimeout  time.Duration // wait for an entry to be durable; 0 means 15 s
	HeaderBytes    int           // of one request; 0 means 64 KiB
	Concurrent     int           // exchanges at a time; 0 means 512
	Idle           time.Duration // before a kept connection closes; 0 means 60 s
	CountEvery     time.Duration // between two refusals entries; 0 means a minute

	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default()
}

// Listener is one HTTPS address. Callers without a certificate of its trust end in the handshake.
type Listener struct {
	Name        string
	Address     string // HOST:PORT; port 0 takes a free one
	Certificate *tls.Certificate
	Trust       *certs.Trust
	Principal   string // to whose chain refusals without a route belong
	Class       string
}

// Direction says who asks whom, as the catalogue writes it.
type Direction string

// The directions of routes.
const (
	NodeToEC  Direction = "node->EC"
	NodeToPSP Direction = "node->PSP"
	ECToNode  Direction = "EC->node"
	PSPToNode Direction = "PSP->node"
)

// roles gives the roles of caller and callee.
func (d Direction) roles() (from, to string) {
	switch d {
	case NodeToEC:
		return "node", "ec"
	case NodeToPSP:
		return "node", "psp"
	case ECToNode:
		return "ec", "node"
	case PSPToNode:
		return "psp", "node"
	}
	return "", ""
}

// Route passes exchanges of one direction on to one upstream.
type Route struct {
	Name      string
	Listener  string
	Path      string // prefix at a segment boundary; the longest that fits serves
	Direction Direction
	Principal string   // where a message names nobody
	Serves    []string // whom messages may name
	Class     string
	Classes   map[string]string // retention class by operation, where it differs
	Node      string            // participant id of the node

	Upstream *url.URL
	TLS      *tls.Config       // towards the upstream
	Headers  map[string]Secret // set on the way out, whatever the caller sent under these names

	// RequestBarrier is how far a request's entry must have come before the request goes on; "" means durable.
	// AnswerBarrier is the same for an answer; "" means signed. A signature is waited for up to SigningTimeout,
	// then things go on; a quorum of witnesses that is not had in that time is a 503.
	RequestBarrier, AnswerBarrier exchange.Barrier

	BodyTimeout     time.Duration // 0 means 30 s
	UpstreamTimeout time.Duration // 0 means 6 s from the node, 30 s to it
	BodyLimit       int64         // 0 means 16 MiB
	ResponseLimit   int64         // 0 means 16 MiB
}

// Secret gives a header's value when it is needed; what it gives never reaches a record or a log.
type Secret interface {
	Reveal() ([]byte, error)
}

const (
	defaultBody      = 16 << 20
	defaultSigning   = 2 * time.Second
	defaultRecord    = 15 * time.Second
	defaultHeader    = 64 << 10
	defaultAtOnce    = 512
	defaultIdle      = time.Minute
	defaultBodyTime  = 30 * time.Second
	defaultFromNode  = 6 * time.Second
	defaultToNode    = 30 * time.Second
	headerTimeout    = 10 * time.Second
	handshakeTimeout = 10 * time.Second
)

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// setDefaults fills zero limits and refuses what cannot work.
func (o *Options) setDefaults() error {
	if o.Registry == nil || o.Recorder == nil || o.Decider == nil || o.Catalogue == nil {
		return errors.New("a gateway needs a registry, a recorder, a decider and a catalogue")
	}
	orDefault(&o.SigningTimeout, defaultSigning)
	orDefault(&o.RecordTimeout, defaultRecord)
	orDefault(&o.HeaderBytes, defaultHeader)
	orDefault(&o.Concurrent, defaultAtOnce)
	orDefault(&o.Idle, defaultIdle)
	orDefault(&o.CountEvery, time.Minute)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	listeners := map[string]bool{}
	for i, l := range o.Listeners {
		if l.Certificate == nil || l.Trust == nil || l.Principal == "" || l.Class == "" {
			return fmt.Errorf("listener %d (%s): needs certificate, trust, principal and class", i, l.Name)
		}
		listeners[l.Name] = true
	}
	for i := range o.Routes {
		r := &o.Routes[i]
		from, _ := r.Direction.roles()
		if from == "" || r.Upstream == nil || r.Principal == "" || r.Class == "" || !listeners[r.Listener] {
			return fmt.Errorf("route %s: needs a listener, a direction, an upstream, a principal and a class", r.Name)
		}
		if len(r.Serves) == 0 {
			r.Serves = []string{r.Principal}
		}
		orDefault(&r.Node, "node:pagopa")
		orDefault(&r.RequestBarrier, exchange.BarrierDurable)
		orDefault(&r.AnswerBarrier, exchange.BarrierSigned)
		orDefault(&r.BodyTimeout, defaultBodyTime)
		orDefault(&r.BodyLimit, defaultBody)
		orDefault(&r.ResponseLimit, defaultBody)
		if from == "node" {
			orDefault(&r.UpstreamTimeout, defaultFromNode)
		} else {
			orDefault(&r.UpstreamTimeout, defaultToNode)
		}
	}
	return nil
}

// class is the retention class of an operation on this route.
func (r *Route) class(operation string) string {
	if c, ok := r.Classes[operation]; ok {
		return c
	}
	return r.Class
}

// transport is a client of the route's upstream that changes nothing on the way: no compression asked for
// or undone, no redirect followed.
func (r *Route) transport() *http.Transport {
	return &http.Transport{TLSClientConfig: r.TLS, DisableCompression: true, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 256,
		IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: handshakeTimeout, ExpectContinueTimeout: time.Second, MaxResponseHeaderBytes: 256 << 10}
}
