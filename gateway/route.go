package gateway

import (
	"net/url"
	"strings"
)

// boundRoute is a route with its client.
type boundRoute struct {
	Route
	client roundTripper
}

// match finds the route of a listener with the longest prefix of an escaped path, at a segment boundary,
// and gives the rest of the path as it stands on the wire.
func (s *Server) match(listener, path string) (*boundRoute, string) {
	var best *boundRoute
	for _, r := range s.routes {
		if r.Listener == listener && hasPrefix(path, r.Path) && (best == nil || len(r.Path) > len(best.Path)) {
			best = r
		}
	}
	if best == nil {
		return nil, ""
	}
	return best, strings.TrimPrefix(path, strings.TrimSuffix(best.Path, "/"))
}

func hasPrefix(path, prefix string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

// target is the upstream's URL with the rest of a caller's path and its query, byte for byte.
func (r *boundRoute) target(rest, rawQuery string) *url.URL {
	u := *r.Upstream
	raw := strings.TrimSuffix(u.EscapedPath(), "/") + rest
	if raw == "" {
		raw = "/"
	}
	u.RawQuery = rawQuery
	u.Opaque = raw // sent as it is; net/url would write some of it anew
	return &u
}
