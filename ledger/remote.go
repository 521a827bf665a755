package ledger

import (
	"bufio"
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
	"strings"
	"time"
)

// Remote reads, and asks entries of, a running instance through its unix socket. It is the other part
// of View.
type Remote struct {
	client *http.Client
}

// running tells whether an instance answers on the socket of the ledger in dir.
func running(dir string) bool {
	path, release, err := socketAddress(dir)
	if err != nil {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		_ = release() // nobody answers: that is the answer
		return false
	}
	return errors.Join(c.Close(), release()) == nil
}

// Dial reaches the running instance of the ledger in dir and opens its log. ErrNotRunning when nobody
// answers.
func Dial(ctx context.Context, dir string) (*Log, *Remote, error) {
	if !running(dir) {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	path, release, err := socketAddress(dir)
	if err != nil {
		return nil, nil, err
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	r := &Remote{client: &http.Client{Transport: t}}
	l, err := newLog(ctx, r, func() error { t.CloseIdleConnections(); return release() })
	if err != nil {
		t.CloseIdleConnections()
		return nil, nil, errors.Join(err, release())
	}
	return l, r, nil
}

// ErrNotRunning says that no instance answers on the ledger's socket.
var ErrNotRunning = errors.New("no running instance")

func (r *Remote) do(ctx context.Context, method, url string, body io.Reader) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://ledger"+url, body)
	if err != nil {
		return nil, err
	}
	resp, err := r.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("asking the running instance: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	err = errors.New(strings.TrimSpace(string(text)))
	if resp.StatusCode == http.StatusNotFound {
		err = ErrNotFound
	}
	if resp.StatusCode == http.StatusNotImplemented {
		err = ErrNoStamper
	}
	if resp.StatusCode == http.StatusConflict {
		err = ErrOtherHistory
	}
	return nil, errors.Join(err, resp.Body.Close())
}

// Get is View.Get.
func (r *Remote) Get(ctx context.Context, key []byte) ([]byte, error) {
	resp, err := r.do(ctx, http.MethodGet, "/get?key="+hex.EncodeToString(key), nil)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxRecord))
	return b, errors.Join(err, resp.Body.Close())
}

// Scan is View.Scan.
func (r *Remote) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) (err error) {
	resp, err := r.do(ctx, http.MethodGet, "/scan?prefix="+hex.EncodeToString(prefix)+"&from="+hex.EncodeToString(from), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	in := bufio.NewReaderSize(resp.Body, 1<<16)
	for {
		key, err := readField(in)
		if err != nil {
			return fmt.Errorf("reading from the running instance: %w", err)
		}
		if len(key) == 0 {
			return nil
		}
		value, err := readField(in)
		if err != nil {
			return fmt.Errorf("reading from the running instance: %w", err)
		}
		if err := fn(key, value); err != nil {
			return err
		}
	}
}

func readField(in io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(in, b)
	return b, err
}

// Accessed asks for an access entry; it blocks the reading.
func (r *Remote) Accessed(ctx context.Context, by Actor, a Access) error {
	return r.append(ctx, appendRequest{Own: LogChain, By: by, Access: &a})
}

// Exported asks for an export entry in a principal's own chain.
func (r *Remote) Exported(ctx context.Context, own string, by Actor, e Export) error {
	return r.append(ctx, appendRequest{Own: own, By: by, Export: &e})
}

func (r *Remote) append(ctx context.Context, q appendRequest) error {
	b, err := json.Marshal(q)
	if err != nil {
		return err
	}
	resp, err := r.do(ctx, http.MethodPost, "/append", bytes.NewReader(b))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// EnsureStamped asks that a signed checkpoint with a token cover entry n.
func (r *Remote) EnsureStamped(ctx context.Context, n uint64) (*StampedCheckpoint, error) {
	resp, err := r.do(ctx, http.MethodPost, fmt.Sprintf("/stamp?n=%d", n), nil)
	if err != nil {
		return nil, err
	}
	if err := resp.Body.Close(); err != nil {
		return nil, err
	}
	return After(ctx, r, n)
}
