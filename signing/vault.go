package signing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
)

// Defaults of VaultOptions.
const (
	defaultMount      = "transit"
	defaultClassMount = "sigillo-class"
	defaultTimeout    = 5 * time.Second
	maxCalls          = 8 // calls to Vault that are in flight at once
)

// KeyNames are the names of the transit keys; empty ones take the defaults sigillo-checkpoint,
// sigillo-receipt and sigillo-seal.
type KeyNames struct{ Checkpoint, Receipt, Seal string }

// VaultAuth is how to log in: Token, or RoleID with SecretID (AppRole). Exactly one of the two.
type VaultAuth struct {
	Token            string
	RoleID, SecretID string
}

// VaultOptions say where Vault is and who we are there. Nothing is read from the environment.
type VaultOptions struct {
	Address    string // https://…
	CAFile     string // PEM; "" means the system's roots
	Namespace  string
	Mount      string // transit mount of the signing keys; "" means transit
	ClassMount string // transit mount of the class keys; "" means sigillo-class
	KeyNames   KeyNames
	Auth       VaultAuth
	Timeout    time.Duration // of one call; 0 means 5 s
	Logger     *slog.Logger  // nil: slog.Default()
}

// Vault keeps keys in HashiCorp Vault's transit engine: they never come out. It renews its token, and
// logs in again when that is over. Safe for concurrent use.
type Vault struct {
	o      VaultOptions
	client *api.Client
	slots  chan struct{}
	log    *slog.Logger

	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu    sync.Mutex
	known map[string]bool // class keys that exist
}

// DialVault logs in and looks whether the token is good. The context bounds the login only.
func DialVault(ctx context.Context, o VaultOptions) (*Vault, error) {
	client, err := newVaultClient(o)
	if err != nil {
		return nil, err
	}
	setDefault := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	setDefault(&o.Mount, defaultMount)
	setDefault(&o.ClassMount, defaultClassMount)
	setDefault(&o.KeyNames.Checkpoint, "sigillo-checkpoint")
	setDefault(&o.KeyNames.Receipt, "sigillo-receipt")
	setDefault(&o.KeyNames.Seal, "sigillo-seal")
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	v := &Vault{o: o, client: client, slots: make(chan struct{}, maxCalls), log: o.Logger, known: map[string]bool{}}
	if v.log == nil {
		v.log = slog.Default()
	}
	secret, err := v.login(ctx)
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	v.cancel = cancel
	if secret != nil {
		v.workers.Add(1)
		go func() { defer v.workers.Done(); v.keepToken(run, secret) }()
	}
	return v, nil
}

// newVaultClient wraps the library's habits once: its defaults carry an error inside and read the
// environment unasked.
func newVaultClient(o VaultOptions) (*api.Client, error) {
	if !strings.HasPrefix(o.Address, "https://") {
		return nil, fmt.Errorf("vault address %q: must begin with https://", o.Address)
	}
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		return nil, errors.New("vault: the environment variables VAULT_… are not readable; unset them, Sigillo does not use them")
	}
	cfg.Address = o.Address
	cfg.MaxRetries = 0 // retries are the callers' affair: they know what may be done twice
	cfg.Timeout = 0    // each call has its deadline
	cfg.HttpClient.Transport.(*http.Transport).MaxIdleConnsPerHost = maxCalls
	if o.CAFile != "" {
		if err := cfg.ConfigureTLS(&api.TLSConfig{CACert: o.CAFile}); err != nil {
			return nil, fmt.Errorf("vault CA: %w", err)
		}
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("vault client: %w", err)
	}
	client.ClearToken() // of VAULT_TOKEN
	client.ClearNamespace()
	if o.Namespace != "" {
		client.SetNamespace(o.Namespace)
	}
	return client, nil
}

// login gives the secret whose token is to be renewed; nil for a given token, which its giver renews.
func (v *Vault) login(ctx context.Context) (*api.Secret, error) {
	a := v.o.Auth
	switch {
	case a.Token != "" && a.RoleID == "":
		v.client.SetToken(a.Token)
		_, err := v.call(ctx, "looking up our own token", func(ctx context.Context) (*api.Secret, error) {
			return v.client.Auth().Token().LookupSelfWithContext(ctx)
		})
		return nil, err
	case a.RoleID != "" && a.SecretID != "" && a.Token == "":
		secret, err := v.call(ctx, "logging in by AppRole", func(ctx context.Context) (*api.Secret, error) {
			return v.client.Logical().WriteWithContext(ctx, "auth/approle/login", map[string]any{"role_id": a.RoleID, "secret_id": a.SecretID})
		})
		if err != nil {
			return nil, err
		}
		if secret == nil || secret.Auth == nil {
			return nil, fmt.Errorf("vault: logging in by AppRole: %w", errEmptyAnswer)
		}
		v.client.SetToken(secret.Auth.ClientToken)
		return secret, nil
	}
	return nil, errors.New("vault: give a token, or a role id with its secret id")
}

var errEmptyAnswer = errors.New("an answer without data")

// keepToken renews our token until ctx ends. The library's watcher ends with a nil error when a token
// cannot be renewed any more: that means "log in again", not "fine".
func (v *Vault) keepToken(ctx context.Context, secret *api.Secret) {
	for ctx.Err() == nil {
		w, err := v.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
		if err == nil {
			go w.Start()
			v.watch(ctx, w)
			w.Stop()
		}
		secret = v.loginAgain(ctx)
	}
}

func (v *Vault) watch(ctx context.Context, w *api.LifetimeWatcher) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.DoneCh():
			return
		case <-w.RenewCh():
		}
	}
}

func (v *Vault) loginAgain(ctx context.Context) *api.Secret {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		secret, err := v.login(ctx)
		if err == nil {
			return secret
		}
		v.log.Warn("vault: logging in again fails", "error", err.Error())
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

// Kind implements Custody.
func (v *Vault) Kind() string { return "vault" }

// Close stops renewing and waits; the token runs out by itself.
func (v *Vault) Close() error {
	v.cancel()
	v.workers.Wait()
	return nil
}

// call does one call with its deadline, a bounded number at once, and gives its errors our names. No
// error of it holds a token or a secret: Vault's answers do not, and what we sent is not repeated.
func (v *Vault) call(ctx context.Context, what string, f func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, v.o.Timeout)
	defer cancel()
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
