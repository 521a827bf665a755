package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"sigillo/internal/exchange"
)

// captured is a request's body as it was received.
type captured struct {
	body   []byte
	cut    bool
	reason exchange.Reason // why the body is not whole; "" when it is
}

// capture reads a request's body whole, up to limit bytes, within timeout. What arrived is kept in every case.
func capture(w http.ResponseWriter, r *http.Request, limit int64, timeout time.Duration) captured {
	c := http.NewResponseController(w)
	deadline := time.Now().Add(timeout)
	if err := c.SetReadDeadline(deadline); err != nil {
		return captured{cut: true, reason: exchange.ReasonBodyAborted}
	}
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength, limit)))
	}
	n, err := io.Copy(&b, io.LimitReader(r.Body, limit+1))
	switch {
	case n > limit:
		return captured{body: b.Bytes()[:limit], cut: true, reason: exchange.ReasonTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return captured{body: b.Bytes(), cut: true, reason: exchange.ReasonBodyTimeout}
	case err != nil:
		return captured{body: b.Bytes(), cut: true, reason: exchange.ReasonBodyAborted}
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return captured{body: b.Bytes(), cut: true, reason: exchange.ReasonBodyAborted}
	}
	return captured{body: b.Bytes()}
}
