package signing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"
)

// minLoginGap is the least time between two logins: a token younger than that is not what is wrong, and a
// Vault that gives tokens of no use is not asked in a tight loop.
const minLoginGap = time.Second

// session is the login in force.
type session struct {
	secret   *api.Secret   // whose token is to be renewed; nil for a given token
	begun    time.Time     // by the monotonic clock
	replaced chan struct{} // closed when the next one is in force
}

func (v *Vault) current() session {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.session
}

func (v *Vault) begin(secret *api.Secret) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.session.replaced)
	v.session = session{secret: secret, begun: time.Now(), replaced: make(chan struct{})}
}

// login takes its turn among logins and begins a session.
func (v *Vault) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, v.o.Timeout)
	defer cancel()
	leave, err := v.enterLogin(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return v.logIn(ctx)
}

func (v *Vault) enterLogin(ctx context.Context) (leave func(), err error) {
	select {
	case v.loginSlot <- struct{}{}:
		return func() { <-v.loginSlot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("vault: logging in: %w: %w", ErrUnavailable, ctx.Err())
	}
}

func (v *Vault) logIn(ctx context.Context) error {
	a := v.o.Auth
	switch {
	case a.Token != nil && a.RoleID == "" && a.SecretID == nil:
		token, err := a.Token.reveal("the token")
		if err != nil {
			return err
		}
		v.client.SetToken(token)
		if err := v.lookUp(ctx); err != nil {
			return err
		}
		v.begin(nil)
		return nil
	case a.RoleID != "" && a.SecretID != nil && a.Token == nil:
		id, err := a.SecretID.reveal("the secret id of the AppRole")
		if err != nil {
			return err
		}
		secret, err := v.once(ctx, "logging in by AppRole", func(ctx context.Context) (*api.Secret, error) {
			return v.client.Logical().WriteWithContext(ctx, "auth/approle/login", map[string]any{"role_id": a.RoleID, "secret_id": id})
		})
		var refused *vaultRefusal
		if errors.As(err, &refused) && refused.status == http.StatusBadRequest { // Vault's answer to a wrong or used-up secret id
			return fmt.Errorf("vault: logging in by AppRole: %w (%s)", ErrForbidden, refused.text)
		}
		if err != nil {
			return err
		}
		if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
			return fmt.Errorf("vault: logging in by AppRole: %w", errEmptyAnswer)
		}
		v.client.SetToken(secret.Auth.ClientToken)
		v.begin(secret)
		return nil
	}
	return errors.New("vault: give a token, or a role id with its secret id")
}

// lookUp asks whether our token is good. The default policy, which tokens have, allows it.
func (v *Vault) lookUp(ctx context.Context) error {
	_, err := v.once(ctx, "looking up our own token", func(ctx context.Context) (*api.Secret, error) {
		return v.client.Auth().Token().LookupSelfWithContext(ctx)
	})
	return err
}

// replaceToken logs in again if the token that was refused is over. It says whether there is another token
// now; false when the refused one is good, so that the refusal stands.
func (v *Vault) replaceToken(ctx context.Context, refused string) (bool, error) {
	leave, err := v.enterLogin(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if v.client.Token() != refused {
		return true, nil // somebody else has logged in meanwhile
	}
	if time.Since(v.current().begun) < minLoginGap {
		return false, nil
	}
	if err := v.lookUp(ctx); !errors.Is(err, ErrForbidden) {
		return false, err
	}
	if a := v.o.Auth; a.Token != nil {
		token, err := a.Token.reveal("the token")
		if err != nil || token == refused {
			return false, err
		}
	}
	if err := v.logIn(ctx); err != nil {
		return false, err
	}
	return true, nil
}

// keepToken renews our token until ctx ends, and logs in again when it cannot be renewed any more.
func (v *Vault) keepToken(ctx context.Context) {
	for {
		s := v.current()
		v.watch(ctx, s)
		select {
		case <-ctx.Done():
			return
		case <-s.replaced:
		default:
			v.loginAgain(ctx, s)
		}
	}
}

// watch renews the token of s until that is over, or another session is in force. The library's watcher ends
// with a nil error when a token cannot be renewed any more: that means "log in again", not "fine".
func (v *Vault) watch(ctx context.Context, s session) {
	var over <-chan error // of a token without end: never
	if s.secret.Auth.LeaseDuration > 0 {
		w, err := v.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: s.secret})
		if err != nil {
			return
		}
		ended := make(chan struct{})
		go func() { defer close(ended); w.Start() }()
		defer func() { w.Stop(); <-ended }() // a renewal under way ends within the client's timeout
		over = w.DoneCh()
	}
	select {
	case <-ctx.Done():
	case <-s.replaced:
	case <-over:
	}
}

// loginAgain tries until another session than s is in force, or ctx ends.
func (v *Vault) loginAgain(ctx context.Context, s session) {
	timer := time.NewTimer(max(0, minLoginGap-time.Since(s.begun)))
	defer timer.Stop()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-s.replaced:
			return
		case <-timer.C:
		}
		err := v.login(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			v.log.Warn("vault: logging in again fails", "error", err.Error())
		}
		timer.Reset(wait)
	}
}
