package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrUnreachable says that a remote log did not answer: nothing can be said about what it holds.
var ErrUnreachable = errors.New("the log cannot be reached")

// ErrBadAnswer says that a remote log answered with what no honest log serves: that is a verdict.
var ErrBadAnswer = errors.New("the log serves what no log does")

// Bounds of one request to a remote log.
const (
	fetchTimeout  = 60 * time.Second
	fetchAttempts = 3
	fetchRetry    = 100 * time.Millisecond // before the second attempt; four times that before the third
)

// fetcher reads the resources of a remote log below its monitoring prefix.
type fetcher struct {
	base   string // without a slash at its end
	client *http.Client
}

func newFetcher(base string, client *http.Client) (*fetcher, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("the log's URL: http or https, a host and a path, nothing else")
	}
	c := http.Client{}
	if client != nil {
		c = *client
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &fetcher{base: strings.TrimSuffix(base, "/"), client: &c}, nil
}

// get gives a resource of at most limit bytes: ErrNotFound, ErrUnreachable after some attempts,
// ErrBadAnswer. It follows no redirect: who is asked is who was named.
func (f *fetcher) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	wait := fetchRetry
	for attempt := 1; ; attempt++ {
		b, err := f.once(ctx, path, limit)
		if !errors.Is(err, ErrUnreachable) || attempt == fetchAttempts || ctx.Err() != nil {
			return b, err
		}
		timer := time.NewTimer(wait)
		wait *= 4
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (f *fetcher) once(ctx context.Context, path string, limit int64) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }() // what is wanted of it was read
	switch {
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%s: %w", path, ErrNotFound)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("%w: %s: status %d, a redirect: give the URL that it leads to, if that is the log", ErrUnreachable, path, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s: status %d", ErrUnreachable, path, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrBadAnswer, path, limit)
	}
	return b, nil
}

// bundle gives the first width entries of entry bundle n.
func (f *fetcher) bundle(ctx context.Context, n uint64, width int) ([][]byte, error) {
	r := tileRef{entries: true, n: n, width: width}
	b, err := f.get(ctx, r.path(), maxBundle)
	if errors.Is(err, ErrNotFound) && width < tileWidth { // a log may drop a partial one that is full by now
		r.width = tileWidth
		b, err = f.get(ctx, r.path(), maxBundle)
	}
	if err != nil {
		return nil, err
	}
	es, err := parseBundle(b, r.width)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadAnswer, r.path(), err)
	}
	return es[:width], nil
}

// tile gives a full tile.
func (f *fetcher) tile(ctx context.Context, level uint, n uint64) ([]byte, error) {
	r := tileRef{level: level, n: n, width: tileWidth}
	b, err := f.get(ctx, r.path(), 32*tileWidth)
	if err == nil && len(b) != 32*tileWidth {
		return nil, fmt.Errorf("%w: %s has %d bytes instead of %d", ErrBadAnswer, r.path(), len(b), 32*tileWidth)
	}
	return b, err
}
