package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Admin is the handler of the admin listener: probes, public keys and the log, no content.
type Admin struct {
	JWKS   []byte
	Checks map[string]func() error // readiness: what must hold, by name
	Log    http.Handler            // what lies under /log/; nil: nothing does

	Warnings map[string]func() string // what to look after soon, by name; "" when all is well. Readiness stands
}

// ServeHTTP answers /livez, /readyz[?verbose], /.well-known/jwks.json and /log/….
func (a Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if a.Log != nil && strings.HasPrefix(r.URL.Path, "/log/") {
		a.Log.ServeHTTP(w, r)
		return
	}
	switch r.URL.Path {
	case "/livez":
		fmt.Fprintln(w, "ok")
	case "/readyz":
		a.ready(w, r.URL.Query().Has("verbose"))
	case JWKSPath:
		WriteJWKS(w, a.JWKS)
	default:
		http.NotFound(w, r)
	}
}

func (a Admin) ready(w http.ResponseWriter, verbose bool) {
	var lines []string
	good := true
	for name, check := range a.Checks {
		if err := check(); err != nil {
			good = false
			lines = append(lines, fmt.Sprintf("[-] %s: %v", name, err))
		} else {
			lines = append(lines, "[+] "+name)
		}
	}
	warned := false
	for name, warning := range a.Warnings {
		if text := warning(); text != "" {
			warned = true
			lines = append(lines, fmt.Sprintf("[!] %s: %s", name, text))
		}
	}
	slices.Sort(lines)
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if verbose || !good || warned {
		fmt.Fprintln(w, strings.Join(lines, "\n"))
		return
	}
	fmt.Fprintln(w, "ok")
}
