package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a gateway. Start listens, Drain ends; both are called once.
type Server struct {
	o            Options
	routes       []*boundRoute
	unidentified *unidentified
	slots        chan struct{}
	draining     atomic.Bool

	servers []*http.Server
	addrs   map[string]net.Addr
	workers sync.WaitGroup
	late    sync.WaitGroup // entries made after their exchange had its answer
	stop    chan struct{}
	failed  chan error
}

// New makes a gateway of its parts. It listens only from Start on.
func New(o Options) (*Server, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	s := &Server{o: o, unidentified: &unidentified{from: o.Clock(), counts: map[string]uint64{}}, slots: make(chan struct{}, o.Concurrent),
		addrs: map[string]net.Addr{}, stop: make(chan struct{}), failed: make(chan error, len(o.Listeners)+1)}
	for _, r := range o.Routes {
		s.routes = append(s.routes, &boundRoute{Route: r, client: r.transport()})
	}
	return s, nil
}

// Start listens on every address and serves. When one address cannot be had, none is kept.
func (s *Server) Start(ctx context.Context) error {
	var open []net.Listener
	for _, l := range s.o.Listeners {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.Address)
		if err != nil {
			for _, o := range open {
				err = errors.Join(err, o.Close())
			}
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
		open = append(open, ln)
		s.addrs[l.Name] = ln.Addr()
	}
	for i, l := range s.o.Listeners {
		server := s.httpServer(l)
		s.servers = append(s.servers, server)
		s.workers.Add(1)
		go func() {
			defer s.workers.Done()
			if err := server.Serve(tls.NewListener(open[i], server.TLSConfig)); !errors.Is(err, http.ErrServerClosed) {
				s.failed <- fmt.Errorf("listener %s: %w", l.Name, err)
			}
		}()
	}
	s.workers.Add(1)
	go func() { defer s.workers.Done(); s.countLoop() }()
	return nil
}

func (s *Server) httpServer(l Listener) *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handle(w, r, l) }),
		TLSConfig:         s.tlsConfig(l),
		ConnContext:       connContext,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       s.o.Idle,
		MaxHeaderBytes:    s.o.HeaderBytes,
		ErrorLog:          log.New(io.Discard, "", 0), // failed handshakes are counted; their text names addresses
	}
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request, l Listener) {
	if r.Method == http.MethodGet && r.URL.Path == JWKSPath {
		WriteJWKS(w, s.o.JWKS)
		return
	}
	s.serve(w, r, l)
}

// JWKSPath is where the public keys of receipts are (RFC 7517), on every listener.
const JWKSPath = "/.well-known/jwks.json"

// WriteJWKS answers with a key set.
func WriteJWKS(w http.ResponseWriter, jwks []byte) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(jwks) // a reader that left is the reader's affair
}

// Addr is the address of a listener, once Start has returned.
func (s *Server) Addr(listener string) net.Addr { return s.addrs[listener] }

// Failed tells when a listener ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Draining tells whether the gateway takes no new exchanges.
func (s *Server) Draining() bool { return s.draining.Load() }

// Drain takes no new connections, lets the exchanges in progress end until ctx does, and writes the last
// refusals entry. Exchanges that ctx cuts off are closed by their own goroutines as caller-gone.
func (s *Server) Drain(ctx context.Context) error {
	s.draining.Store(true)
	var err error
	for _, server := range s.servers {
		if serr := server.Shutdown(ctx); serr != nil {
			err = errors.Join(err, serr, server.Close())
		}
	}
	close(s.stop)
	s.workers.Wait()
	// Every exchange holds a slot until its last entry is made.
	for range s.o.Concurrent {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
	s.late.Wait() // each waits no longer than an entry may take
	for _, r := range s.routes {
		r.client.CloseIdleConnections()
	}
	return err
}

// countLoop writes the counts of unidentified callers, and once more at the end.
func (s *Server) countLoop() {
	tick := time.NewTicker(s.o.CountEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.writeCounts()
		case <-s.stop:
			s.writeCounts()
			return
		}
	}
}

func (s *Server) writeCounts() {
	from, counts := s.unidentified.take(s.o.Clock())
	if len(counts) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.RecordTimeout)
	defer cancel()
	if err := s.o.Recorder.Refusals(ctx, from, counts); err != nil {
		s.unidentified.giveBack(from, counts)
		s.o.Logger.Warn("counts of unidentified callers could not be recorded; they are kept", "error", err.Error())
	}
}

// log writes one line for an exchange: ids and figures, nothing of its content.
func (x *run) log() {
	a := []slog.Attr{slog.String("exchange", string(x.id)), slog.String("caller", x.caller.ID), slog.String("principal", x.claim.principal),
		slog.String("operation", x.operation), slog.Int("status", x.status), slog.Duration("took", since(x.s.o.Clock(), x.begin)), slog.Duration("upstream", x.waited)}
	if x.route != nil {
		a = append(a, slog.String("route", x.route.Name))
	}
	if x.outcome != "" {
		a = append(a, slog.String("outcome", x.outcome))
	}
	level := slog.LevelInfo
	if x.reason != "" {
		a = append(a, slog.String("reason", string(x.reason)))
	}
	if x.cause != nil {
		a = append(a, slog.String("cause", x.cause.Error()))
		level = slog.LevelWarn
	}
	x.s.o.Logger.LogAttrs(context.Background(), level, "exchange", a...)
}
