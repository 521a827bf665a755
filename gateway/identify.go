package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"sigillo/certs"
	"sigillo/internal/exchange"
)

// chainKey is under which a connection's verified chain is found in a request's context.
type chainKey struct{}

// connChain keeps the chain of one connection: verified in the handshake, its validity asked anew on every
// request, since connections outlive certificates.
type connChain struct {
	mu    sync.Mutex
	chain *certs.Chain
}

// tlsConfig makes a listener's configuration. The chain is verified by us, in the handshake, so that each
// reason for which a caller is turned away can be counted.
func (s *Server) tlsConfig(l Listener) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{*l.Certificate},
		MinVersion:   tls.VersionTLS12,
		ClientAuth:   tls.RequestClientCert,
		ClientCAs:    l.Trust.Anchors(),
		NextProtos:   []string{"h2", "http/1.1"},
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := l.Trust.Verify(cs.PeerCertificates, s.o.Clock())
			if err != nil {
				s.unidentified.count(certs.ReasonOf(err))
			}
			return err
		},
	}
}

// connContext gives each connection a place for its verified chain.
func connContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, chainKey{}, &connChain{})
}

// caller is who asks.
type caller struct {
	*certs.Participant
	chain *certs.Chain
}

// identify finds the participant of a request's connection, at the given time.
func (s *Server) identify(r *http.Request, l Listener, at time.Time) (caller, error) {
	kept, ok := r.Context().Value(chainKey{}).(*connChain)
	if !ok || r.TLS == nil {
		return caller{}, errors.New("not a connection of this gateway")
	}
	kept.mu.Lock()
	defer kept.mu.Unlock()
	if kept.chain == nil || !kept.chain.ValidAt(at) {
		chain, err := l.Trust.Verify(r.TLS.PeerCertificates, at)
		if err != nil {
			return caller{}, err
		}
		kept.chain = chain
	}
	p, err := s.o.Registry.Identify(kept.chain, at)
	if err != nil {
		return caller{}, err
	}
	return caller{Participant: p, chain: kept.chain}, nil
}

// unidentified counts the callers that could not be identified, by reason: nothing else of theirs is kept.
type unidentified struct {
	mu     sync.Mutex
	from   time.Time
	counts map[string]uint64
}

func (u *unidentified) count(reason exchange.Reason) {
	if reason == "" {
		reason = "tls"
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.counts[string(reason)]++
}

// take gives what was counted since the last time and begins anew.
func (u *unidentified) take(now time.Time) (from time.Time, counts map[string]uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	from, counts = u.from, u.counts
	u.from, u.counts = now, map[string]uint64{}
	return from, counts
}

// giveBack returns counts whose entry could not be made.
func (u *unidentified) giveBack(from time.Time, counts map[string]uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.from = from
	for reason, n := range counts {
		u.counts[reason] += n
	}
}
