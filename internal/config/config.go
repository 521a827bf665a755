package config

import "time"

// Config is the whole file. It never changes after Load; a reload loads another.
type Config struct {
	Node         string        `yaml:"node"`           // name of this gateway among several of one owner, required
	Origin       string        `yaml:"origin"`         // name of the log (C2SP tlog-checkpoint), at most 200 bytes, required; never changes
	Data         string        `yaml:"data" as:"path"` // folder of the ledger, required
	Disk         Disk          `yaml:"disk"`
	Keys         Keys          `yaml:"keys"`
	Anchors      Anchors       `yaml:"anchors"`
	Signing      Signing       `yaml:"signing"`
	Listeners    []Listener    `yaml:"listeners"` // at least one
	Admin        Admin         `yaml:"admin"`
	Classes      []Class       `yaml:"classes"` // zero: audit-10y, ten years
	Participants []Participant `yaml:"participants"`
	Routes       []Route       `yaml:"routes"` // at least one
	Server       Server        `yaml:"server"`
	Policies     Policies      `yaml:"policies"`
	Timestamp    Timestamp     `yaml:"timestamp"`
	Witnesses    Witnesses     `yaml:"witnesses"`
	Archive      Archive       `yaml:"archive"`

	file   string
	digest string
	lines  map[string]int
}

// Disk holds the watermarks of free space in the data folder's file system.
type Disk struct {
	Warn Size `yaml:"warn"` // below it readiness warns; zero: 2GiB
	Stop Size `yaml:"stop"` // below it new exchanges are refused; zero: 512MiB; less than warn
}

// Keys says where the signing keys live.
type Keys struct {
	Custody string `yaml:"custody"`       // "vault", or "file" for demonstrations; required
	Dir     string `yaml:"dir" as:"path"` // of key files, custody file only; zero: "keys" in the data folder
	Vault   Vault  `yaml:"vault"`         // custody vault only
}

// Vault is the HashiCorp Vault whose transit engine signs.
type Vault struct {
	Address    string        `yaml:"address"`      // https://HOST:PORT; http to a loopback address only
	CA         string        `yaml:"ca" as:"path"` // PEM roots for its certificate; zero: the system's
	Namespace  string        `yaml:"namespace"`
	Mount      string        `yaml:"mount"`       // transit mount of the signing keys; zero: "transit"
	ClassMount string        `yaml:"class_mount"` // transit mount of the class keys; zero: "sigillo-class"
	Auth       VaultAuth     `yaml:"auth"`
	Names      KeyNames      `yaml:"names"`
	Timeout    time.Duration `yaml:"timeout"` // of one call; zero: 5s
}

// VaultAuth is how the gateway shows Vault who it is.
type VaultAuth struct {
	Method   string `yaml:"method"`    // "approle" or "token"; zero: approle
	RoleID   string `yaml:"role_id"`   // approle
	SecretID Secret `yaml:"secret_id"` // approle
	Token    Secret `yaml:"token"`     // token
}

// KeyNames are the names of the transit keys, all different.
type KeyNames struct {
	Checkpoint string `yaml:"checkpoint"` // zero: "sigillo-checkpoint"
	Receipt    string `yaml:"receipt"`    // zero: "sigillo-receipt"
	Seal       string `yaml:"seal"`       // zero: "sigillo-seal"
}

// Signing bounds how long the gateway goes on without signatures.
type Signing struct {
	Timeout time.Duration `yaml:"timeout"` // wait for a receipt; then the answer goes with a pending one; zero: 2s
	Grace   time.Duration `yaml:"grace"`   // age of the oldest unsigned entry from which exchanges are refused; zero: 4h
}

// Listener is one HTTPS address that asks every caller for a certificate.
type Listener struct {
	Name        string `yaml:"name"`                  // lower-case letters, digits, "-"
	Address     string `yaml:"address"`               // HOST:PORT or :PORT
	Certificate string `yaml:"certificate" as:"path"` // PEM, leaf first, with its chain
	Key         string `yaml:"key" as:"path"`         // PEM, not readable by others
	ClientCA    string `yaml:"client_ca" as:"path"`   // PEM roots and intermediates of callers
	Principal   string `yaml:"principal"`             // participant to whose chain refusals without a route belong
	Class       string `yaml:"class"`                 // retention class of those; zero: the first class
}

// Admin is the listener of probes and metrics.
type Admin struct {
	Address string `yaml:"address"` // loopback only in this release; zero: 127.0.0.1:9640
}

// Class is a retention class.
type Class struct {
	Name  string `yaml:"name"`  // lower-case letters, digits, "-"; at most 32; never reused with other years
	Years int    `yaml:"years"` // 1 to 99
}

// Participant is a legal person that takes part in pagoPA.
type Participant struct {
	ID           string        `yaml:"id"`                   // "ec:" or "broker:" and 11 digits, "psp:" and at most 35 characters, "node:pagopa"
	Name         string        `yaml:"name"`                 // for people
	Roles        []string      `yaml:"roles"`                // ec, psp, node; zero: what the id and speaks_for say
	Certificates []Certificate `yaml:"certificates"`         // by which it is known as a caller; none: it never calls
	SpeaksFor    []string      `yaml:"speaks_for"`           // ids for which it may carry messages, besides itself
	Stations     []string      `yaml:"stations"`             // idStation, EC side
	Channels     []string      `yaml:"channels"`             // idChannel, PSP side
	ValidFrom    time.Time     `yaml:"valid_from"`           // date (from its beginning in Rome) or RFC 3339 time; zero: always
	ValidUntil   time.Time     `yaml:"valid_until" as:"end"` // first instant no longer valid; a date in the file is its last day; zero: never ends
}

// Certificate pins one client certificate: by digest, or by issuer and subject or SAN.
type Certificate struct {
	SHA256  string `yaml:"sha256"`  // of the DER, 64 hex digits; colons and upper case are accepted, kept without
	Subject string `yaml:"subject"` // RFC 4514, as `openssl x509 -subject -nameopt RFC2253` prints it
	SAN     string `yaml:"san"`     // one subject alternative name, as it stands
	Issuer  string `yaml:"issuer"`  // RFC 4514; with subject or san
}

// Route passes exchanges of one direction on to one upstream.
type Route struct {
	Name      string   `yaml:"name"`      // lower-case letters, digits, "-"
	Listener  string   `yaml:"listener"`  // name of the listener
	Path      string   `yaml:"path"`      // prefix, begins with "/"; the longest that fits serves
	Direction string   `yaml:"direction"` // "node->EC", "node->PSP", "EC->node" or "PSP->node"
	Principal string   `yaml:"principal"` // the EC or PSP on whose behalf the route acts when a message names none
	Serves    []string `yaml:"serves"`    // the ECs or PSPs that messages may name; zero: the principal alone
	Class     string   `yaml:"class"`     // retention class; zero: the first class
	// ClassesByOperation gives single operations another class. Keys are names of the catalogue or "unknown".
	ClassesByOperation map[string]string `yaml:"classes_by_operation"`
	Upstream           Upstream          `yaml:"upstream"`
	Barriers           Barriers          `yaml:"barriers"`
	Timeouts           Timeouts          `yaml:"timeouts"`
	Limits             Limits            `yaml:"limits"`
}

// Upstream is where a route's requests go.
type Upstream struct {
	URL         string            `yaml:"url"`                   // https://HOST[:PORT][/PATH]
	CA          string            `yaml:"ca" as:"path"`          // PEM roots for its certificate; zero: the system's
	Certificate string            `yaml:"certificate" as:"path"` // our client certificate, PEM with chain; zero: none
	Key         string            `yaml:"key" as:"path"`         // its key, not readable by others
	ServerName  string            `yaml:"server_name"`           // name expected in its certificate; zero: the host of url
	Headers     map[string]Secret `yaml:"headers"`               // added to each request, e.g. Ocp-Apim-Subscription-Key
}

// Barriers say how far an entry must have come before its exchange goes on. A signature is waited for up to
// signing.timeout; a quorum of witnesses that is not had in that time is a 503.
type Barriers struct {
	Request  string `yaml:"request"`  // before a request goes on: "durable", "signed" or "witnessed"; zero: durable
	Response string `yaml:"response"` // before an answer is delivered; zero: signed
}

// Timeouts of a route.
type Timeouts struct {
	Body     time.Duration `yaml:"body"`     // for the whole request body to arrive; zero: 30s
	Upstream time.Duration `yaml:"upstream"` // for the whole answer; zero: 6s from the node (it leaves after 7s), 30s to it
}

// Limits of a route, in bytes of body. Room for a response is reserved before a request goes on.
type Limits struct {
	Body     Size `yaml:"body"`     // zero: 16MiB; at most 1GiB
	Response Size `yaml:"response"` // zero: 16MiB; at most 1GiB
}

// Server bounds what all listeners accept.
type Server struct {
	HeaderBytes   Size          `yaml:"header_bytes"`   // of one request; zero: 64KiB; 4KiB to 1MiB
	Concurrent    int           `yaml:"concurrent"`     // exchanges at a time; zero: 512; at most 65536
	Idle          time.Duration `yaml:"idle"`           // before a kept connection closes; zero: 60s
	ShutdownGrace time.Duration `yaml:"shutdown_grace"` // for open exchanges to end; zero: 30s
}

// Policies says which Cedar pack decides.
type Policies struct {
	Dir string `yaml:"dir" as:"path"` // folder of *.cedar files; zero: the default pack inside sigillo
}

// Timestamp says who attests the time (RFC 3161). Either test, or at least one authority.
type Timestamp struct {
	Interval    time.Duration `yaml:"interval"`           // between tokens while entries arrive; zero: 60s
	Grace       time.Duration `yaml:"grace"`              // age of the oldest unstamped entry from which exchanges are refused; zero: 4h
	Test        bool          `yaml:"test"`               // the built-in authority, worth nothing as evidence
	TestDir     string        `yaml:"test_dir" as:"path"` // its keys; zero: "test-tsa" in the data folder
	Authorities []Authority   `yaml:"authorities"`        // asked in this order
}

// Authority is one RFC 3161 time-stamp authority.
type Authority struct {
	URL      string        `yaml:"url"`  // https, or http without a password: tokens are signed
	User     string        `yaml:"user"` // HTTP basic authentication
	Password Secret        `yaml:"password"`
	Policy   string        `yaml:"policy"`          // object identifier to ask for; zero: the authority's own choice
	Roots    string        `yaml:"roots" as:"path"` // PEM certificates that its tokens must lead to
	Timeout  time.Duration `yaml:"timeout"`         // zero: 10s
}

// Archive says how conservation packages are made. Without dir none are made.
type Archive struct {
	Dir     string `yaml:"dir" as:"path"`     // of packages
	Schemas string `yaml:"schemas" as:"path"` // folder of official XSD files that replace our own; zero: our own
	// Producers are the legal persons that packages belong to, one for each principal that routes serve.
	Producers []Producer `yaml:"producers"`
	Seal      Seal       `yaml:"seal"`
	Trust     string     `yaml:"trust" as:"path"` // PEM roots by which packages verify
}

// Producer is the "soggetto produttore" of the packages of one principal.
type Producer struct {
	Principal  string `yaml:"principal"`   // the EC or PSP, as participants and routes name it
	Name       string `yaml:"name"`        // denominazione
	FiscalCode string `yaml:"fiscal_code"` // codice fiscale, 11 digits
	IPACode    string `yaml:"ipa_code"`    // codice IPA of a public body; zero: a private one (most PSPs)
	AOO        string `yaml:"aoo"`         // code of the area organizzativa omogenea; with ipa_code
	AOOName    string `yaml:"aoo_name"`    // its denomination; zero: the producer's name
	Email      string `yaml:"email"`       // digital address (PEC); required with ipa_code
	// Classification says where the series stands in a public body's piano di classificazione; required with ipa_code.
	Classification Classification `yaml:"classification"`
}

// Classification is an entry of a piano di classificazione.
type Classification struct {
	Index string `yaml:"index"` // e.g. "04.02"
	Name  string `yaml:"name"`
}

// Seal is the certificate of the key that seals packages; the key itself stays in custody.
type Seal struct {
	Certificate string   `yaml:"certificate" as:"path"` // PEM, the leaf
	Chain       string   `yaml:"chain" as:"path"`       // PEM, intermediates
	CRLs        []string `yaml:"crls" as:"path"`        // PEM or DER, kept in each package
}

// Digest is the lower-case hex SHA-256 of the file's bytes (64 characters).
func (c *Config) Digest() string { return c.digest }
