package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// socketName is the unix socket of a running instance: mode 0600, in the ledger's directory.
const socketName = "sigillo.sock"

// Bounds of one answer over the socket.
const (
	maxRecord = 16 << 20
	maxAppend = 256 << 10
)

// Socket serves a ledger to the verbs of this machine's user: raw records, sealed as they are, and the
// few entries that a verb may cause. Who may use it is decided by the file system.
type Socket struct {
	l      *Ledger
	server *http.Server
	done   chan error

	stopping context.Context // ends long answers
	stop     context.CancelFunc

	release func() error // of the path, after the listener has removed it
}

// appendRequest is a verb's wish for an entry.
type appendRequest struct {
	Own    string  `json:"own"`
	By     Actor   `json:"by"`
	Access *Access `json:"access,omitempty"`
	Export *Export `json:"export,omitempty"`

	Verification *Verification `json:"verification,omitempty"`
}

// ListenSocket starts serving; Close ends it and waits.
func (l *Ledger) ListenSocket() (*Socket, error) {
	path, release, err := socketAddress(l.opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("listening on the ledger's socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("removing the socket of a dead instance: %w", err), release())
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on the ledger's socket: %w", err), release())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close(), release())
	}
	s := &Socket{l: l, done: make(chan error, 1), release: release}
	s.stopping, s.stop = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /get", s.get)
	mux.HandleFunc("GET /scan", s.scan)
	mux.HandleFunc("GET /backup", s.backup)
	mux.HandleFunc("POST /append", s.append)
	mux.HandleFunc("POST /stamp", s.stamp)
	s.eraseRoutes(mux)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	go func() { s.done <- s.server.Serve(ln) }()
	return s, nil
}

// Close stops serving, waits for requests in progress until ctx ends (a backup is broken off), and removes
// the socket.
func (s *Socket) Close(ctx context.Context) error {
	s.stop()
	err := s.server.Shutdown(ctx)
	if serr := <-s.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return errors.Join(err, s.release())
}

func hexParam(r *http.Request, name string) ([]byte, error) {
	b, err := hex.DecodeString(r.URL.Query().Get(name))
	if err != nil || len(b) > 1024 {
		return nil, fmt.Errorf("%s: hexadecimal of at most 1024 bytes", name)
	}
	return b, nil
}

func (s *Socket) get(w http.ResponseWriter, r *http.Request) {
	key, err := hexParam(r, "key")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	value, err := s.l.View().Get(r.Context(), key)
	switch {
	case errors.Is(err, ErrNotFound):
		http.Error(w, "not found", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(value) // a reader that left is the reader's affair
	}
}

// scan streams records as two length-prefixed fields each, and ends with an empty key: a stream that
// ends otherwise was cut off.
func (s *Socket) scan(w http.ResponseWriter, r *http.Request) {
	prefix, err := hexParam(r, "prefix")
	from, err2 := hexParam(r, "from")
	if err = errors.Join(err, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(from) == 0 {
		from = nil
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	err = s.l.View().Scan(r.Context(), prefix, from, func(key, value []byte) error {
		return errors.Join(writeField(w, key), writeField(w, value))
	})
	if err != nil {
		panic(http.ErrAbortHandler) // the reader sees a broken stream, not a short one
	}
	_ = writeField(w, nil)
}

func writeField(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

func (s *Socket) append(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAppend))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var q appendRequest
	if err := d.Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case q.Verification != nil:
		if q.Access != nil || q.Export != nil || q.Own != LogChain {
			http.Error(w, "a verification entry stands alone, in the log's chain", http.StatusBadRequest)
			return
		}
		err = s.l.Verified(r.Context(), q.By, *q.Verification)
	case q.Access != nil && q.Export == nil && q.Own == LogChain:
		err = s.l.Accessed(r.Context(), q.By, *q.Access)
	case q.Export != nil && q.Access == nil && q.Own != LogChain && checkOwn(q.Own) == nil:
		err = s.l.Exported(r.Context(), q.Own, q.By, *q.Export)
	default:
		http.Error(w, "an access entry in the log's chain or an export entry in a principal's", http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (s *Socket) stamp(w http.ResponseWriter, r *http.Request) {
	var n uint64
	if _, err := fmt.Sscanf(r.URL.Query().Get("n"), "%d", &n); err != nil {
		http.Error(w, "n: an entry number", http.StatusBadRequest)
		return
	}
	if _, err := s.l.EnsureStamped(r.Context(), n); err != nil {
		status := http.StatusServiceUnavailable
		if errors.Is(err, ErrNoStamper) {
			status = http.StatusNotImplemented
		}
		http.Error(w, err.Error(), status)
	}
}
