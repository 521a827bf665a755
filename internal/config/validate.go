package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// validator collects what is wrong with the decoded file.
type validator struct {
	config    *Config
	findings  []Finding // those of the decoder first
	undecoded int       // how many those are
}

// add notes a finding at the line of the field or, where it is absent, of what it should stand in.
func (v *validator) add(field, problem string) {
	line := v.config.line(field)
	for i, f := range v.findings {
		// What could not be decoded was said already; that it, or what stands in it, is absent is no second finding.
		inside, ok := strings.CutPrefix(field, f.Field)
		if ok && f.Field != "" && (inside == "" || i < v.undecoded && (inside[0] == '.' || inside[0] == '[')) {
			return
		}
	}
	v.findings = append(v.findings, Finding{Line: line, Field: field, Problem: problem})
}

// line is the line of the field, or of the nearest section around it.
func (c *Config) line(field string) int {
	for {
		if line, ok := c.lines[field]; ok {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return c.lines[""]
		}
		field = field[:i]
	}
}

var (
	nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	keyShape  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	pathShape = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)
	oidShape  = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]{0,15})){1,30}$`)
	code11    = regexp.MustCompile(`^[0-9]{11}$`)
)

const nameFix = `must be at most 63 lower-case letters, digits and - (write for example "ec-in")`

func (v *validator) validate() {
	c := v.config
	v.require("node", c.Node, "a name for this gateway, e.g. gw-1")
	v.match("node", c.Node, nameShape, nameFix)
	v.origin()
	v.require("data", c.Data, "the folder of the ledger, e.g. /var/lib/sigillo")
	if c.Disk.Stop >= c.Disk.Warn {
		v.add("disk.stop", "must be less than disk.warn, or nobody is warned (write 512MiB, and 2GiB for warn)")
	}
	v.keys()
	v.anchors()
	v.between("signing.timeout", c.Signing.Timeout, 10*time.Millisecond, time.Minute)
	v.between("signing.grace", c.Signing.Grace, time.Minute, 72*time.Hour)
	v.classes()
	v.participants()
	v.listeners()
	v.routes()
	if c.Server.HeaderBytes < 4<<10 || c.Server.HeaderBytes > 1<<20 {
		v.add("server.header_bytes", "must be from 4KiB to 1MiB")
	}
	if c.Server.Concurrent < 1 || c.Server.Concurrent > 65536 {
		v.add("server.concurrent", "must be from 1 to 65536")
	}
	v.between("server.idle", c.Server.Idle, time.Second, time.Hour)
	v.between("server.shutdown_grace", c.Server.ShutdownGrace, time.Second, time.Hour)
	v.timestamp()
	v.witnesses()
	v.archive()
}

func (v *validator) require(field, value, what string) {
	if value == "" {
		v.add(field, "is required (write "+what+")")
	}
}

// match checks the shape of a value that is there.
func (v *validator) match(field, value string, shape *regexp.Regexp, fix string) {
	if value != "" && !shape.MatchString(value) {
		v.add(field, fix)
	}
}

func (v *validator) between(field string, d, low, high time.Duration) {
	if d < low || d > high {
		v.add(field, "must be from "+low.String()+" to "+high.String())
	}
}

// origin is a key name of a C2SP signed-note, which forbids spaces and plus signs.
func (v *validator) origin() {
	o := v.config.Origin
	v.require("origin", o, "the name of the log, e.g. sigillo.example.it/ec-77777777777")
	switch {
	case len(o) > 200:
		v.add("origin", "must be at most 200 bytes")
	case strings.Contains(o, "+") || strings.ContainsFunc(o, unicode.IsSpace):
		v.add("origin", "must contain no space and no + (write for example sigillo.example.it/ec-77777777777)")
	}
}

func (v *validator) keys() {
	k := v.config.Keys
	switch k.Custody {
	case "file":
		return
	case "vault":
	default:
		v.add("keys.custody", "must be vault, or file for demonstrations (write custody: vault)")
		return
	}
	vault := k.Vault
	v.require("keys.vault.address", vault.Address, "https://vault.example.it:8200")
	u := v.url("keys.vault.address", vault.Address)
	if u != nil && u.Scheme != "https" && !loopback(u.Host) {
		v.add("keys.vault.address", "must be https, http serves to a loopback address only (write https://…)")
	}
	v.match("keys.vault.namespace", strings.Trim(vault.Namespace, "/"), pathShape, "must be letters, digits, . _ - and / (as Vault prints it)")
	v.match("keys.vault.mount", vault.Mount, pathShape, "must be the mount's path without / at its ends (write transit)")
	v.match("keys.vault.class_mount", vault.ClassMount, pathShape, "must be the mount's path without / at its ends (write sigillo-class)")
	if vault.Mount == vault.ClassMount {
		v.add("keys.vault.class_mount", "must differ from mount: class keys are deleted, signing keys are not")
	}
	switch vault.Auth.Method {
	case "approle":
		v.require("keys.vault.auth.role_id", vault.Auth.RoleID, "the role's id")
		if vault.Auth.SecretID.IsZero() {
			v.add("keys.vault.auth.secret_id", "is required with approle (write ${file:PATH} or ${env:NAME})")
		}
	case "token":
		if vault.Auth.Token.IsZero() {
			v.add("keys.vault.auth.token", "is required with method token (write ${file:PATH} or ${env:NAME})")
		}
	default:
		v.add("keys.vault.auth.method", "must be approle or token")
	}
	seen := make(map[string]string)
	for _, x := range [][2]string{{"checkpoint", vault.Names.Checkpoint}, {"receipt", vault.Names.Receipt}, {"seal", vault.Names.Seal}} {
		field := "keys.vault.names." + x[0]
		v.match(field, x[1], keyShape, "must be at most 63 letters, digits, . _ -")
		v.unique(field, x[1], seen, "each purpose has a key of its own")
	}
	v.between("keys.vault.timeout", vault.Timeout, 100*time.Millisecond, time.Minute)
}

// unique notes value in seen, or a finding when another field has it.
func (v *validator) unique(field, value string, seen map[string]string, why string) {
	if value == "" {
		return
	}
	if first, taken := seen[value]; taken {
		v.add(field, "is the same as "+first+": "+why)
		return
	}
	seen[value] = field
}

// url checks an address and returns it, nil if it is absent or no address. It repeats nothing of the
// address: it might contain a password.
func (v *validator) url(field, text string) *url.URL {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		v.add(field, "must be an address (write https://HOST:PORT)")
		return nil
	case u.User != nil:
		v.add(field, "must contain no user or password: this file holds no secrets")
		return nil
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		v.add(field, "must contain no ? and no #")
		return nil
	case u.Port() == "" && strings.HasSuffix(u.Host, ":") || u.Port() != "" && !portValid(u.Port()):
		v.add(field, "must have a port from 1 to 65535, or none")
		return nil
	}
	return u
}

func portValid(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// address checks HOST:PORT to listen on; port 0 lets the system choose.
func (v *validator) address(field, text string) {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		v.add(field, "must be HOST:PORT or :PORT (write 0.0.0.0:8443)")
	}
}

// loopback says whether host or host:port stays on this machine.
func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

func (v *validator) classes() {
	seen := make(map[string]string)
	for i, class := range v.config.Classes {
		at := index("classes", i)
		v.require(at+".name", class.Name, "for example audit-10y")
		if len(class.Name) > 32 || class.Name != "" && !nameShape.MatchString(class.Name) {
			v.add(at+".name", "must be at most 32 lower-case letters, digits and - (write audit-10y)")
		}
		v.unique(at+".name", class.Name, seen, "one class has one name")
		if class.Years < 1 || class.Years > 99 {
			v.add(at+".years", "must be from 1 to 99 (write years: 10)")
		}
	}
}

// class checks that a named class is declared.
func (v *validator) class(field, name string) {
	for _, class := range v.config.Classes {
		if class.Name == name {
			return
		}
	}
	v.add(field, "names a class that classes does not have (add it there, or name one of them)")
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
