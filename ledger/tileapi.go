package ledger

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
)

// logPath is where the read API stands on a listener; it is the monitoring prefix of C2SP tlog-tiles.
const logPath = "/log/"

// Caching: what a tile of some width holds never changes, but its readers have a role, so only their own
// caches may keep it.
const (
	cacheForEver = "private, max-age=31536000, immutable"
	cacheNever   = "no-cache"
)

// logHandler is the read API of C2SP tlog-tiles over a view.
type logHandler struct {
	view   View
	log    *slog.Logger
	signed atomic.Uint64 // size of the newest signed checkpoint that was seen: it only grows
}

// NewLogHandler serves GET and HEAD of /log/checkpoint, /log/tile/<L>/<N>[.p/<W>] and
// /log/tile/entries/<N>[.p/<W>]: entries, their tree and its signed checkpoint, no content. It serves
// nothing beyond the newest signed checkpoint, any partial width below it, and 404 for all other paths.
// An answer reads at most 256 records besides the checkpoint. It is safe for concurrent use; what goes
// wrong while reading goes to log, and the reader gets 500 without a reason.
func NewLogHandler(v View, log *slog.Logger) http.Handler {
	return &logHandler{view: v, log: log}
}

func (h *logHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), logPath) // a percent sign is in no name of ours
	if !ok {
		http.NotFound(w, r)
		return
	}
	body, kind, cache, err := h.resource(r.Context(), path)
	switch {
	case errors.Is(err, errTilePath), errors.Is(err, ErrNoCheckpoint):
		w.Header().Set("Cache-Control", cacheNever) // it may be there after the next checkpoint
		http.NotFound(w, r)
		return
	case err != nil:
		if r.Context().Err() == nil {
			h.log.Error("serving the log", "resource", path, "error", err.Error())
		}
		http.Error(w, "cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a reader that left is the reader's affair
	}
}

func (h *logHandler) resource(ctx context.Context, path string) (body []byte, kind, cache string, err error) {
	if path == "checkpoint" {
		_, body, err = h.checkpoint(ctx)
		return body, "text/plain; charset=utf-8", cacheNever, err
	}
	r, err := parseTilePath(path)
	if err != nil {
		return nil, "", "", err
	}
	if !r.within(h.signed.Load()) {
		size, _, err := h.checkpoint(ctx)
		if err != nil {
			return nil, "", "", err
		}
		if !r.within(size) {
			return nil, "", "", errTilePath
		}
	}
	body, err = readResource(ctx, h.view, r)
	return body, "application/octet-stream", cacheForEver, err
}

func (h *logHandler) checkpoint(ctx context.Context) (size uint64, note []byte, err error) {
	size, note, err = NewestNote(ctx, h.view)
	for err == nil {
		was := h.signed.Load()
		if size <= was || h.signed.CompareAndSwap(was, size) {
			break
		}
	}
	return size, note, err
}
