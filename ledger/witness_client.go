package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	witnessTimeout = 10 * time.Second // of asking one witness, with all it answers
	witnessTries   = 4                // of requests in it: a witness may say several times where it stands
)

// errOtherHistory says that a witness refuses the log because it knows another one under its name.
var errOtherHistory = errors.New("it knows another history of this log")

// busyError is a witness's wish to be left alone for a while.
type busyError struct {
	status string
	after  time.Duration
}

func (e *busyError) Error() string { return "it answers " + e.status }

// newWitnessClient speaks HTTP to witnesses. A redirect is not followed: the address is configured.
func newWitnessClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true}}
}

// ask offers a checkpoint to one witness, which is thought to hold the given size, until it has cosigned
// it (C2SP tlog-witness, add-checkpoint). It gives its cosignature and the size at which it stands now.
func (c *cosigner) ask(ctx context.Context, p *peer, held uint64, at Checkpoint, note []byte) (cosignature, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
	defer cancel()
	for range witnessTries {
		proof, err := witnessConsistency(ctx, badgerView{c.n.l.db}, held, at.Size, at.Root)
		if err != nil {
			return cosignature{}, held, err
		}
		answer, err := c.post(ctx, p.url, addCheckpoint(held, proof, note))
		if err != nil {
			return cosignature{}, held, err
		}
		sig, stands, err := readAnswer(answer, p.key, held, at)
		if err != nil || sig.line != "" {
			return sig, stands, err
		}
		held = stands
	}
	return cosignature{}, held, errors.New("it names another size each time it is asked")
}

// addCheckpoint is the body of the request.
func addCheckpoint(old uint64, proof []Hash, note []byte) []byte {
	b := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range proof {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), note...)
}

// witnessAnswer is what a witness answered, in bounds.
type witnessAnswer struct {
	status     int
	kind       string // media type
	retryAfter string
	body       []byte
}

func (c *cosigner) post(ctx context.Context, url string, body []byte) (witnessAnswer, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return witnessAnswer{}, err
	}
	q.Header.Set("Content-Type", "text/plain; charset=utf-8")
	q.Header.Set("User-Agent", c.n.l.opts.Software)
	resp, err := c.client.Do(q)
	if err != nil {
		return witnessAnswer{}, fmt.Errorf("it cannot be reached: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxCosignatures+1))
	if err != nil {
		return witnessAnswer{}, fmt.Errorf("reading its answer: %w", err)
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	return witnessAnswer{resp.StatusCode, kind, resp.Header.Get("Retry-After"), text}, nil
}

// readAnswer gives the cosignature (200), or the size at which the witness stands (409) as long as a
// proof from there can be made. errOtherHistory where what it says cannot be true of this log.
func readAnswer(a witnessAnswer, key witnessKey, held uint64, at Checkpoint) (sig cosignature, stands uint64, err error) {
	switch a.status {
	case http.StatusOK:
		lines, err := parseCosignatures(a.body)
		if err != nil {
			return cosignature{}, held, err
		}
		for _, l := range lines {
			if l.verify(key, at.text()) {
				return l, at.Size, nil
			}
		}
		return cosignature{}, held, errors.New("none of its signatures is a cosignature of this checkpoint by its configured key")
	case http.StatusConflict:
		if a.kind != "text/x.tlog.size" {
			if held == at.Size {
				return cosignature{}, held, fmt.Errorf("%w: another root at size %d", errOtherHistory, at.Size)
			}
			return cosignature{}, held, errors.New("it answers 409 without the size that it holds")
		}
		stands, err := parseTreeSize(a.body)
		switch {
		case err != nil:
			return cosignature{}, held, err
		case stands > at.Size:
			return cosignature{}, held, fmt.Errorf("%w: it holds %d entries, signed here are %d", errOtherHistory, stands, at.Size)
		case stands == held:
			return cosignature{}, held, fmt.Errorf("it refuses the size %d that it says it holds", held)
		}
		return cosignature{}, stands, nil
	case http.StatusUnprocessableEntity:
		if held == 0 {
			return cosignature{}, held, errors.New("it answers 422 to a checkpoint without proof")
		}
		return cosignature{}, held, fmt.Errorf("%w: another root at size %d", errOtherHistory, held)
	case http.StatusNotFound:
		return cosignature{}, held, errors.New("it does not serve this log (404): give its operator the origin and the verifier key")
	case http.StatusForbidden:
		return cosignature{}, held, errors.New("it knows the log under another key (403): give its operator the verifier key")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		seconds, err := strconv.ParseUint(a.retryAfter, 10, 16)
		if err != nil {
			seconds = 0 // a date, nonsense or nothing: our own pace
		}
		return cosignature{}, held, &busyError{http.StatusText(a.status), time.Duration(seconds) * time.Second}
	}
	return cosignature{}, held, fmt.Errorf("it answers with status %d", a.status)
}

// parseTreeSize reads a decimal size without leading zeros, on a line of its own.
func parseTreeSize(body []byte) (uint64, error) {
	text, ended := strings.CutSuffix(string(body), "\n")
	size, err := strconv.ParseUint(text, 10, 63)
	if !ended || err != nil || strconv.FormatUint(size, 10) != text {
		return 0, errors.New("the size that it answers is no decimal number on one line")
	}
	return size, nil
}
