package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"strings"
	"time"

	"sigillo/internal/exchange"
)

// roundTripper is what a route needs of a client.
type roundTripper interface {
	RoundTrip(*http.Request) (*http.Response, error)
	CloseIdleConnections()
}

// hopByHop are fields that end at each hop (RFC 9110, section 7.6.1).
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// endToEnd gives the fields that go on: hop-by-hop fields, those that Connection names and our own are taken off.
func endToEnd(h http.Header) http.Header {
	out := h.Clone()
	if out == nil {
		out = http.Header{}
	}
	for _, line := range h["Connection"] {
		for _, name := range strings.Split(line, ",") {
			if name = textproto.TrimString(name); name != "" {
				out.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		out.Del(name)
	}
	for name := range out {
		if strings.HasPrefix(name, "Sigillo-") {
			delete(out, name)
		}
	}
	return out
}

// outbound is the request that goes on: the caller's fields and bytes, the upstream's host, our secrets.
func (r *boundRoute) outbound(ctx context.Context, in *http.Request, rest string, body []byte) (*http.Request, error) {
	u := r.target(rest, in.URL.RawQuery)
	out := &http.Request{Method: in.Method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: endToEnd(in.Header)}
	out.Header.Del("Expect") // the body is here: there is nothing to expect
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // net/http would add its own
	}
	for name, secret := range r.Headers {
		value, err := secret.Reveal()
		if err != nil {
			return nil, fmt.Errorf("secret of header %s: %w", name, err)
		}
		out.Header.Set(name, strings.TrimSpace(string(value)))
	}
	out.Body, out.ContentLength = http.NoBody, 0
	if len(body) > 0 || in.ContentLength > 0 || len(in.TransferEncoding) > 0 {
		out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if len(in.Trailer) > 0 {
		out.Trailer, out.ContentLength = in.Trailer.Clone(), -1
	}
	return out.WithContext(ctx), nil
}

// received is what came from the upstream: an answer, whole or not, and why it cannot be delivered.
type received struct {
	answer
	arrived bool // at least a status line came
	cut     bool
	reason  exchange.Reason // "" when the answer is whole
	cause   error           // for the log
}

// forward sends the request on and reads the answer whole, up to the route's limit and within its time.
func (s *Server) forward(ctx context.Context, r *boundRoute, in *http.Request, rest string, body []byte) received {
	limited, cancel := context.WithTimeout(ctx, r.UpstreamTimeout)
	defer cancel()
	out, err := r.outbound(limited, in, rest, body)
	if err != nil {
		return received{reason: exchange.ReasonUnavailable, cause: err}
	}
	resp, err := r.client.RoundTrip(out)
	begin := s.o.Clock()
	if err != nil {
		return received{reason: whyFailed(ctx, limited, err, exchange.ReasonUpstreamUnreachable), cause: err}
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(resp.Body, r.ResponseLimit+1))
	got := received{arrived: true, answer: answer{status: resp.StatusCode, fields: endToEnd(resp.Header), body: b.Bytes()}}
	if len(resp.Trailer) > 0 {
		got.trailers = resp.Trailer
	}
	switch {
	case n > r.ResponseLimit:
		got.body, got.cut, got.reason = got.body[:r.ResponseLimit], true, exchange.ReasonUpstreamTooLarge
	case err != nil:
		got.cut, got.reason, got.cause = true, whyFailed(ctx, limited, err, exchange.ReasonUpstreamBroken), err
	}
	got.head = responseHead(resp.StatusCode, resp.Proto, resp.Header, resp.Trailer, r.Upstream.Host, resp.TLS, begin, s.o.Clock())
	return got
}

// whyFailed tells the caller's leaving from our patience from the upstream's faults.
func whyFailed(caller, limited context.Context, err error, otherwise exchange.Reason) exchange.Reason {
	switch {
	case caller.Err() != nil:
		return exchange.ReasonCallerGone
	case limited.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded):
		return exchange.ReasonUpstreamTimeout
	case otherwise == exchange.ReasonUpstreamUnreachable && !noConnection(err):
		return exchange.ReasonUpstreamBroken
	}
	return otherwise
}

// noConnection tells whether err says that there never was a connection over which the request went: no
// address, no listener, no TLS. Anything else broke off a connection.
func noConnection(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &dns) || errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &op) && op.Op != "read" && op.Op != "write"
}

// since is a duration for the log.
func since(now, then time.Time) time.Duration { return now.Sub(then).Round(10 * time.Microsecond) }
