package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// The faults that a caller can ask of a peer, as values of the request header Demo-Behaviour.
const (
	BehaviourHang  = "hang"  // no answer until the caller leaves
	BehaviourBreak = "break" // the connection breaks off in the middle of the answer's body
	BehaviourBig   = "big"   // the answer is padded to PeerOptions.BigAnswer bytes
	BehaviourKO    = "ko"    // the operation answers KO with a fault code
)

// PeerOptions describes one fake system.
type PeerOptions struct {
	Role Role
	// TLS holds the certificate and whom to trust as callers; it is cloned. HTTP/2 is offered.
	TLS *tls.Config
	// Log is a file that gets one line of JSON per request; "" keeps none.
	Log string
	// ECURL is where the node calls the EC, Client what it calls with; ECURL "" makes no nested calls. Where the
	// gateway's address is not known yet, see Peer.CallEC.
	ECURL  string
	Client *http.Client
	// BigAnswer is the size in bytes of an answer under BehaviourBig; 0 means 32 MiB.
	BigAnswer int64
}

// Peer is one fake system: an HTTPS server on a free port of 127.0.0.1.
type Peer struct {
	options  PeerOptions
	answerer *Answerer
	server   *http.Server
	listener net.Listener
	stop     context.CancelFunc // ends hanging answers
	served   chan struct{}      // closed when Serve has returned
	requests sync.WaitGroup

	mu      sync.Mutex // guards what follows
	log     *os.File
	logErr  error         // the first failed write
	hung    int           // requests that have begun to hang, ever
	changed chan struct{} // closed and replaced when hung changes
}

// NewPeer starts a peer. Close must be called.
func NewPeer(o PeerOptions) (*Peer, error) {
	if o.TLS == nil {
		return nil, errors.New("start peer: TLS configuration missing: peers serve mutual TLS only")
	}
	if o.ECURL != "" && o.Client == nil {
		return nil, errors.New("start peer: Client missing: ECURL is called with the node's client certificate")
	}
	if o.BigAnswer == 0 {
		o.BigAnswer = 32 << 20
	}
	answerer, err := NewAnswerer(o.Role)
	if err != nil {
		return nil, fmt.Errorf("start peer: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Peer{options: o, answerer: answerer, stop: stop, served: make(chan struct{}), changed: make(chan struct{})}
	p.CallEC(o.ECURL, o.Client)
	if o.Log != "" {
		if p.log, err = os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			stop()
			return nil, fmt.Errorf("start peer: open log: %w", err)
		}
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("start peer: %w", err), p.closeLog())
	}
	p.server = &http.Server{
		Handler:           http.HandlerFunc(p.serve),
		TLSConfig:         o.TLS.Clone(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // refused handshakes are part of the demonstration
	}
	go func() {
		defer close(p.served)
		_ = p.server.ServeTLS(p.listener, "", "") // ends with ErrServerClosed; a broken listener shows in every caller
	}()
	return p, nil
}

// URL is the peer's base URL, without a path.
func (p *Peer) URL() string { return "https://" + p.listener.Addr().String() }

// CallEC says where and with what the node makes its nested calls from now on; url "" or no client stops them.
func (p *Peer) CallEC(url string, client *http.Client) {
	p.answerer.node.mu.Lock()
	defer p.answerer.node.mu.Unlock()
	p.answerer.node.ecURL, p.answerer.node.client = url, client
}

// Close ends hanging answers, waits for all others (5 seconds, then it cuts them off) and returns the first error
// of the log.
func (p *Peer) Close() error {
	p.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if err != nil {
		err = p.server.Close()
	}
	<-p.served
	p.requests.Wait()
	return errors.Join(err, p.closeLog())
}

func (p *Peer) closeLog() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log == nil {
		return nil
	}
	err := errors.Join(p.logErr, p.log.Close())
	p.log = nil
	return err
}

// Hung is how many requests have begun to hang so far.
func (p *Peer) Hung() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hung
}

// WaitHung waits until Hung is at least n.
func (p *Peer) WaitHung(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		hung, changed := p.hung, p.changed
		p.mu.Unlock()
		if hung >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for a request that hangs: %w", ctx.Err())
		}
	}
}

// received is one line of a peer's log. Path is the catalogue's, without identifiers.
type received struct {
	Time         time.Time `json:"time"`
	Peer         Role      `json:"peer"`
	Method       string    `json:"method"`
	Path         string    `json:"path"`
	Operation    string    `json:"operation,omitempty"`
	SHA256       string    `json:"sha256"`
	Size         int       `json:"size"`
	Status       int       `json:"status"`                  // 0: no answer
	AnswerSHA256 string    `json:"answer_sha256,omitempty"` // of what was sent, or was to be sent
	Nested       []string  `json:"nested,omitempty"`
}

func (p *Peer) serve(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	defer p.requests.Done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	sum := sha256.Sum256(body)
	line := received{Time: time.Now().UTC(), Peer: p.options.Role, Method: r.Method, SHA256: hex.EncodeToString(sum[:]), Size: len(body)}
	if err != nil { // the caller left, or sends too much
		line.Status = http.StatusRequestEntityTooLarge
		p.write(line)
		w.Header().Set("Connection", "close")
		w.WriteHeader(line.Status)
		return
	}
	w.Header().Set("Demo-Received-SHA256", line.SHA256)
	behaviour := r.Header.Get("Demo-Behaviour")
	if behaviour == BehaviourHang {
		p.write(line)
		p.hang(r.Context())
		panic(http.ErrAbortHandler) // net/http's way to leave without an answer
	}
	answer := p.answerer.Answer(r.Context(), Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(),
		Header: r.Header, Body: body, KO: behaviour == BehaviourKO})
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	for _, n := range answer.Nested {
		w.Header().Add("Demo-Nested", n.String())
		line.Nested = append(line.Nested, fmt.Sprintf("%s %d %s", n.Operation, n.Status, n.Outcome))
	}
	line.Status, line.Operation, line.Path = answer.Status, answer.Operation, answer.Pattern
	if line.Path == "" && line.Operation != "" {
		line.Path = r.URL.Path // the one of a SOAP service
	}
	p.answer(w, behaviour, answer, line)
}

// answer logs and then sends, so that who has the answer finds its line in the log.
func (p *Peer) answer(w http.ResponseWriter, behaviour string, answer Answer, line received) {
	body, pad := answer.Body, int64(0)
	switch behaviour {
	case BehaviourBreak:
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		body = body[:len(body)/2]
	case BehaviourBig:
		pad = max(0, p.options.BigAnswer-int64(len(body)))
	}
	digest := sha256.New()
	writePadded(digest, body, pad)
	line.AnswerSHA256 = hex.EncodeToString(digest.Sum(nil))
	p.write(line)
	w.WriteHeader(answer.Status)
	writePadded(w, body, pad)
	if behaviour == BehaviourBreak {
		_ = http.NewResponseController(w).Flush() // whatever arrives, it breaks off here
		panic(http.ErrAbortHandler)
	}
}

// writePadded writes body and then pad blanks, which change nothing in XML or JSON. It stops when the reader has left.
func writePadded(w io.Writer, body []byte, pad int64) {
	blanks := bytes.Repeat([]byte{' '}, 64<<10)
	_, err := w.Write(body)
	for n := 0; pad > 0 && err == nil; pad -= int64(n) {
		n, err = w.Write(blanks[:min(pad, int64(len(blanks)))])
	}
}

func (p *Peer) hang(ctx context.Context) {
	p.mu.Lock()
	p.hung++
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	<-ctx.Done()
}

func (p *Peer) write(line received) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log == nil {
		return
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = p.log.Write(append(text, '\n'))
	}
	if err != nil && p.logErr == nil {
		p.logErr = fmt.Errorf("write peer log: %w", err)
	}
}
