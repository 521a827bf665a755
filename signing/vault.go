package signing

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// Defaults and bounds.
const (
	defaultMount      = "transit"
	defaultClassMount = "sigillo-class"
	defaultTimeout    = 5 * time.Second
	maxCalls          = 8       // calls to Vault that are in flight at once
	maxAnswer         = 8 << 20 // bytes of one answer; a batch of 512 signatures is under 100 KiB
	maxErrorText      = 300     // bytes of Vault's own words in an error
)

// KeyNames are the names of the transit keys; empty ones take the defaults sigillo-checkpoint,
// sigillo-receipt and sigillo-seal.
type KeyNames struct{ Checkpoint, Receipt, Seal string }

// VaultAuth is how to log in: by Token, or by AppRole with RoleID and SecretID. Exactly one of the two.
// A token is its giver's to renew (Vault Agent renews the one in its file); that of an AppRole is ours.
type VaultAuth struct {
	Token    Secret
	RoleID   string
	SecretID Secret
}

// VaultOptions say where Vault is and who we are there. Nothing is taken from the environment.
type VaultOptions struct {
	Address    string // https://…; http:// to a loopback address only
	CAFile     string // PEM; "" means the system's roots
	Namespace  string
	Mount      string // transit mount of the signing keys; "" means transit
	ClassMount string // transit mount of the class keys; "" means sigillo-class
	KeyNames   KeyNames
	Auth       VaultAuth
	Timeout    time.Duration // of one call, a login that it needs included; 0 means 5 s
	Logger     *slog.Logger  // nil: slog.Default()
}

// Vault keeps keys in HashiCorp Vault's transit engine: they never come out. It renews the token of its
// AppRole and logs in again when a token is over. Safe for concurrent use.
type Vault struct {
	o         VaultOptions
	client    *api.Client
	transport *http.Transport
	slots     chan struct{} // calls in flight
	log       *slog.Logger

	cancel  context.CancelFunc
	workers sync.WaitGroup

	loginSlot chan struct{} // one login at a time

	mu      sync.Mutex
	session session
}

// DialVault logs in and looks whether the token is good. The context bounds the login only.
func DialVault(ctx context.Context, o VaultOptions) (*Vault, error) {
	for _, d := range []struct {
		field *string
		value string
	}{{&o.Mount, defaultMount}, {&o.ClassMount, defaultClassMount}, {&o.KeyNames.Checkpoint, "sigillo-checkpoint"},
		{&o.KeyNames.Receipt, "sigillo-receipt"}, {&o.KeyNames.Seal, "sigillo-seal"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	client, transport, err := newVaultClient(o)
	if err != nil {
		return nil, err
	}
	v := &Vault{o: o, client: client, transport: transport, slots: make(chan struct{}, maxCalls), loginSlot: make(chan struct{}, 1),
		log: o.Logger, session: session{replaced: make(chan struct{})}}
	if v.log == nil {
		v.log = slog.Default()
	}
	if err := v.login(ctx); err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	v.cancel = cancel
	if o.Auth.RoleID != "" {
		v.workers.Go(func() { v.keepToken(run) })
	}
	return v, nil
}

// newVaultClient wraps the library's habits once. Its default configuration reads the environment unasked
// (VAULT_SKIP_VERIFY switches verification off, VAULT_AGENT_ADDR sends the token elsewhere), so ours is made
// from nothing. HTTP/1.1 on purpose: a call that hangs takes one connection with it, not all that share it.
func newVaultClient(o VaultOptions) (*api.Client, *http.Transport, error) {
	if err := checkVaultAddress(o.Address); err != nil {
		return nil, nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("vault CA: %w", err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("vault CA: %s holds no certificate in PEM", o.CAFile)
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	transport := &http.Transport{TLSClientConfig: trust, Protocols: protocols, MaxIdleConnsPerHost: maxCalls,
		DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
		TLSHandshakeTimeout: o.Timeout, IdleConnTimeout: 90 * time.Second}
	client, err := api.NewClient(&api.Config{
		Address: o.Address,
		HttpClient: &http.Client{Transport: boundedAnswers{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, // the library follows one, to https only
		MaxRetries: 0,         // retries are the callers' affair: they know what may be done twice
		Timeout:    o.Timeout, // for the library's own renewals; calls of ours carry their deadline
	})
	if err != nil {
		// It looks into the environment even so, only to check it; the cause may repeat what stands there.
		return nil, nil, errors.New("vault client: an environment variable VAULT_… is malformed; unset them, Sigillo does not use them")
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}}) // nothing of VAULT_HEADERS
	client.ClearToken()
	client.ClearNamespace()
	if o.Namespace != "" {
		client.SetNamespace(o.Namespace)
	}
	return client, transport, nil
}

func checkVaultAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("vault address: must be https://HOST:PORT")
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || !ip.IsLoopback() && u.Hostname() != "localhost") {
		return fmt.Errorf("vault address %q: must begin with https:// (http:// to a loopback address only)", address)
	}
	return nil
}

// boundedAnswers cuts answers that no Vault gives.
type boundedAnswers struct{ http.RoundTripper }

func (b boundedAnswers) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(q)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

var errEmptyAnswer = errors.New("an answer without data")

// Kind implements Custody.
func (v *Vault) Kind() string { return "vault" }

// Close stops renewing, waits at most the timeout of a renewal that is under way, and closes idle
// connections; the token runs out by itself.
func (v *Vault) Close() error {
	v.cancel()
	v.workers.Wait()
	v.transport.CloseIdleConnections()
	return nil
}

// call does one call within its deadline. A refusal may mean that the token is over (revoked, or Vault
// restored to an older state): then it logs in and tries once more.
func (v *Vault) call(ctx context.Context, what string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, v.o.Timeout)
	defer cancel()
	token := v.client.Token()
	secret, err := v.once(ctx, what, f)
	if !errors.Is(err, ErrForbidden) {
		return secret, err
	}
	replaced, lerr := v.replaceToken(ctx, token)
	if lerr != nil {
		return nil, fmt.Errorf("vault: %s: the token is over: %w", what, lerr)
	}
	if !replaced {
		return nil, err
	}
	return v.once(ctx, what, f)
}

// once takes one of a bounded number of places and gives Vault's errors our names. No error of it holds a
// token or a secret: Vault's answers do not, and what we sent is not repeated.
func (v *Vault) once(ctx context.Context, what string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("vault: %s: %w: %w", what, ErrUnavailable, ctx.Err())
	}
	secret, err := f(ctx)
	if err == nil {
		return secret, nil
	}
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return nil, fmt.Errorf("vault: %s: %w: %w", what, ErrUnavailable, err)
	}
	text := strings.Join(answer.Errors, "; ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "") + "…"
	}
	switch {
	case answer.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("vault: %s: %w (%s)", what, ErrForbidden, text)
	case answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("vault: %s: %w (status %d, %s)", what, ErrUnavailable, answer.StatusCode, text)
	}
	return nil, &vaultRefusal{what: what, status: answer.StatusCode, text: text}
}

// vaultRefusal is an answer of 400 or 404: what it means depends on what was asked.
type vaultRefusal struct {
	what   string
	status int
	text   string
}

func (e *vaultRefusal) Error() string {
	return fmt.Sprintf("vault: %s: status %d, %s", e.what, e.status, e.text)
}
