package config

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

func (v *validator) listeners() {
	c := v.config
	if len(c.Listeners) == 0 {
		v.add("listeners", "is required (declare at least one)")
	}
	names, addresses := make(map[string]string), make(map[string]string)
	for i, l := range c.Listeners {
		at := index("listeners", i)
		v.require(at+".name", l.Name, "for example public")
		v.match(at+".name", l.Name, nameShape, nameFix)
		v.unique(at+".name", l.Name, names, "routes find a listener by its name")
		v.address(at+".address", l.Address)
		if !strings.HasSuffix(l.Address, ":0") { // the system chooses another port for each
			v.unique(at+".address", l.Address, addresses, "an address serves one listener")
		}
		v.require(at+".certificate", l.Certificate, "a PEM file, leaf first, with its chain")
		v.require(at+".key", l.Key, "a PEM file")
		v.require(at+".client_ca", l.ClientCA, "a PEM file of the authorities that issue callers' certificates")
		v.principal(at+".principal", l.Principal, "")
		v.class(at+".class", l.Class)
	}
	v.address("admin.address", c.Admin.Address)
	if !loopback(c.Admin.Address) {
		v.add("admin.address", "must be a loopback address in this release (write 127.0.0.1:9640)")
	}
	v.unique("admin.address", c.Admin.Address, addresses, "an address serves one listener")
}

// directions is what a route may be, and the role of its principal.
var directions = map[string]string{"node->EC": "ec", "EC->node": "ec", "node->PSP": "psp", "PSP->node": "psp"}

var prefixShape = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()*+,;=:@-]+(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?)?$`)

func (v *validator) routes() {
	c := v.config
	if len(c.Routes) == 0 {
		v.add("routes", "is required (declare at least one)")
	}
	names, places := make(map[string]string), make(map[string]string)
	for i, r := range c.Routes {
		at := index("routes", i)
		v.require(at+".name", r.Name, "for example ec-in")
		v.match(at+".name", r.Name, nameShape, nameFix)
		v.unique(at+".name", r.Name, names, "entries and metrics name a route by it")
		if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Name == r.Listener }) {
			v.add(at+".listener", "names no listener (write the name of one in listeners)")
		}
		if !prefixShape.MatchString(r.Path) || slices.ContainsFunc(strings.Split(r.Path, "/"), dots) {
			v.add(at+".path", "must be a path without %, ?, #, // or .. (write / or /nodo-auth)")
		}
		v.unique(at+".path", r.Listener+" "+r.Path, places, "a path of a listener serves one route")
		v.serves(at, r)
		v.class(at+".class", r.Class)
		for operation, class := range r.ClassesByOperation {
			field := at + ".classes_by_operation." + printable(operation)
			v.match(field, operation, keyShape, "must be the name of an operation")
			v.class(field, class)
		}
		v.upstream(at+".upstream", r.Upstream)
		v.barrier(at+".barriers.request", r.Barriers.Request)
		v.barrier(at+".barriers.response", r.Barriers.Response)
		v.between(at+".timeouts.body", r.Timeouts.Body, 100*time.Millisecond, time.Hour)
		v.between(at+".timeouts.upstream", r.Timeouts.Upstream, 100*time.Millisecond, time.Hour)
		v.limit(at+".limits.body", r.Limits.Body)
		v.limit(at+".limits.response", r.Limits.Response)
	}
}

func dots(segment string) bool { return segment == "." || segment == ".." }

func (v *validator) limit(field string, s Size) {
	if s < 1<<10 || s > 1<<30 {
		v.add(field, "must be from 1KiB to 1GiB (write 16MiB)")
	}
}

func (v *validator) serves(at string, r Route) {
	role, ok := directions[r.Direction]
	if !ok {
		v.add(at+".direction", `must be "node->EC", "node->PSP", "EC->node" or "PSP->node"`)
	}
	v.principal(at+".principal", r.Principal, role)
	for i, id := range r.Serves {
		if v.config.lines[at+".serves"] == 0 {
			break // the default: the principal, checked above
		}
		v.principal(index(at+".serves", i), id, role)
		if slices.Contains(r.Serves[:i], id) {
			v.add(index(at+".serves", i), "stands twice: keep one")
		}
	}
	if r.Principal != "" && !slices.Contains(r.Serves, r.Principal) {
		v.add(at+".serves", "must contain the principal")
	}
	if ok && !v.canCall(r) {
		v.add(at, "nobody can call: no participant that may begin "+r.Direction+" here has a certificate (add certificates to the participant)")
	}
}

// canCall says whether any participant is known by a certificate that may begin the route's direction: the
// node, or one of whom the route serves, or a broker of it.
func (v *validator) canCall(r Route) bool {
	return slices.ContainsFunc(v.config.Participants, func(p Participant) bool {
		if len(p.Certificates) == 0 {
			return false
		}
		if strings.HasPrefix(r.Direction, "node->") {
			return idPrefix(p.ID) == "node"
		}
		return slices.ContainsFunc(r.Serves, func(id string) bool { return id == p.ID || slices.Contains(p.SpeaksFor, id) })
	})
}

// framing are the headers that HTTP or the gateway sets itself.
var framing = []string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Keep-Alive", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

var headerShape = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

func (v *validator) upstream(at string, u Upstream) {
	v.require(at+".url", u.URL, "https://HOST:PORT")
	if address := v.url(at+".url", u.URL); address != nil && address.Scheme != "https" {
		v.add(at+".url", "must be https (write https://…)")
	}
	v.pair(at, u.Certificate, u.Key)
	v.match(at+".server_name", u.ServerName, regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`), "must be a host name (write node.example.it)")
	seen := make(map[string]string)
	for _, name := range sorted(u.Headers) {
		field := at + ".headers." + printable(name)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !headerShape.MatchString(name):
			v.add(field, "must be the name of an HTTP header")
		case slices.Contains(framing, canonical) || strings.HasPrefix(canonical, "Sigillo-"):
			v.add(field, "must not be set: HTTP or the gateway sets this header itself")
		case u.Headers[name].IsZero():
			v.add(field, "is empty (write ${file:PATH} or ${env:NAME})")
		}
		v.unique(field, canonical, seen, "letter case does not tell headers apart")
	}
}

// sorted returns the keys of m in order, so that findings do not depend on chance.
func sorted(m map[string]Secret) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pair checks that a certificate and its key come together.
func (v *validator) pair(at, certificate, key string) {
	switch {
	case certificate != "" && key == "":
		v.add(at+".key", "is required with certificate (write the PEM file of its key)")
	case certificate == "" && key != "":
		v.add(at+".certificate", "is required with key (write the PEM file of the certificate)")
	}
}

func (v *validator) timestamp() {
	t := v.config.Timestamp
	v.between("timestamp.interval", t.Interval, time.Second, 24*time.Hour)
	v.between("timestamp.grace", t.Grace, time.Minute, 72*time.Hour)
	if t.Grace < t.Interval {
		v.add("timestamp.grace", "must not be less than interval")
	}
	switch {
	case t.Test && len(t.Authorities) > 0:
		v.add("timestamp.test", "excludes authorities: keep one of the two")
	case !t.Test && len(t.Authorities) == 0:
		v.add("timestamp.authorities", "is required (name an RFC 3161 authority; for a demonstration write test: true)")
	}
	for i, a := range t.Authorities {
		at := index("timestamp.authorities", i)
		v.require(at+".url", a.URL, "https://HOST/PATH")
		if u := v.url(at+".url", a.URL); u != nil && u.Scheme != "https" && !a.Password.IsZero() {
			v.add(at+".url", "must be https where a password is sent (write https://…)")
		}
		if (a.User == "") != a.Password.IsZero() {
			v.add(at+".user", "and password must come together")
		}
		v.match(at+".policy", a.Policy, oidShape, "must be an object identifier (write 1.2.3.4)")
		v.require(at+".roots", a.Roots, "a PEM file of the certificates that its tokens must lead to")
		v.between(at+".timeout", a.Timeout, 100*time.Millisecond, 5*time.Minute)
	}
}

func (v *validator) archive() {
	a := v.config.Archive
	if a.Dir == "" {
		if v.config.lines["archive"] != 0 {
			v.add("archive.dir", "is required in this section (write a folder, or take archive away: then no packages are made)")
		}
		return
	}
	seen := map[string]string{}
	for i, p := range a.Producers {
		at := index("archive.producers", i)
		v.principal(at+".principal", p.Principal, "")
		v.unique(at+".principal", p.Principal, seen, "a principal has one producer")
		v.producer(at, p)
	}
	for i, r := range v.config.Routes {
		for _, id := range r.Serves {
			if _, ok := seen[id]; !ok {
				v.add("archive.producers", "lacks "+id+", which "+index("routes", i)+" serves: its packages must say whose they are")
				seen[id] = ""
			}
		}
	}
	v.require("archive.seal.certificate", a.Seal.Certificate, "the PEM file of the certificate of the seal key")
	v.require("archive.trust", a.Trust, "a PEM file of the roots by which packages verify")
}

func (v *validator) producer(at string, p Producer) {
	v.require(at+".name", p.Name, "the denomination of the body or company")
	v.require(at+".fiscal_code", p.FiscalCode, "11 digits")
	v.match(at+".fiscal_code", p.FiscalCode, code11, "must be 11 digits")
	v.match(at+".email", p.Email, regexp.MustCompile(`^[^@\s]{1,64}@[^@\s]{1,255}$`), "must be an e-mail address")
	if p.IPACode != "" {
		v.require(at+".aoo", p.AOO, "the code of the area organizzativa omogenea")
		v.require(at+".email", p.Email, "the digital address of the area organizzativa omogenea")
		v.require(at+".classification.index", p.Classification.Index, "the place in the piano di classificazione")
		v.require(at+".classification.name", p.Classification.Name, "the name of that place")
	} else if p.AOO != "" || p.AOOName != "" {
		v.add(at+".ipa_code", "is required with aoo (write the codice IPA)")
	}
}

// barrier is one of three words; the last wants somebody who witnesses.
func (v *validator) barrier(at, barrier string) {
	switch {
	case barrier == "witnessed" && len(v.config.Witnesses.List) == 0:
		v.add(at, "witnessed needs witnesses (write them under witnesses.list)")
	case barrier != "durable" && barrier != "signed" && barrier != "witnessed":
		v.add(at, fmt.Sprintf("%q is no barrier (write durable, signed or witnessed)", barrier))
	}
}
