package signing

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/api"
)

// DataKey implements Custody. It asks first and makes the class key only when there is none: so the
// archivist, who wraps keys under a new generation that the gateway has made, needs no right to make one.
func (v *Vault) DataKey(ctx context.Context, name string) (DataKey, error) {
	var out DataKey
	data, err := v.askDataKey(ctx, name)
	if errors.Is(err, ErrNoClassKey) {
		if err := v.makeClassKey(ctx, name); err != nil {
			return out, err
		}
		data, err = v.askDataKey(ctx, name)
	}
	if err != nil {
		return out, err
	}
	plain, _ := data["plaintext"].(string)
	wrapped, _ := data["ciphertext"].(string)
	raw, err := base64.StdEncoding.DecodeString(plain)
	if err != nil || len(raw) != 32 || wrapped == "" {
		return out, fmt.Errorf("vault: asking a data key of %s: %w", name, errEmptyAnswer)
	}
	copy(out.Plain[:], raw)
	clear(raw)
	out.Wrapped = []byte(wrapped)
	return out, nil
}

func (v *Vault) askDataKey(ctx context.Context, name string) (map[string]any, error) {
	if !classKeyName.MatchString(name) {
		return nil, fmt.Errorf("class key name %q: lower-case letters, digits and . _ - only", name)
	}
	data, err := v.write(ctx, "asking a data key of "+name, v.o.ClassMount+"/datakey/plaintext/"+name, map[string]any{"bits": 256})
	if err != nil {
		return nil, v.classError(name, err)
	}
	return data, nil
}

// makeClassKey makes a class key: with its type and nothing else, which is all that the gateway's policy
// allows. Of one that is there already Vault changes nothing.
func (v *Vault) makeClassKey(ctx context.Context, name string) error {
	_, err := v.write(ctx, "making class key "+name, v.o.ClassMount+"/keys/"+name, map[string]any{"type": "aes256-gcm96"})
	return err
}

// classError tells a class key that is gone from other refusals. Vault has no code for it, only texts. A 404 is
// not one: it says that the mount is missing or misnamed, and nobody may take that for a disposal.
func (v *Vault) classError(name string, err error) error {
	var refused *vaultRefusal
	if !errors.As(err, &refused) || refused.status != http.StatusBadRequest {
		return err
	}
	for _, text := range []string{"encryption key not found", "no existing key named"} {
		if strings.Contains(refused.text, text) {
			return fmt.Errorf("class key %s: %w", name, ErrNoClassKey)
		}
	}
	return err
}

// Unwrap implements Custody.
func (v *Vault) Unwrap(ctx context.Context, name string, wrapped []byte) (plain [32]byte, err error) {
	data, err := v.write(ctx, "opening a data key of "+name, v.o.ClassMount+"/decrypt/"+name, map[string]any{"ciphertext": string(wrapped)})
	if err != nil {
		return plain, v.classError(name, err)
	}
	text, _ := data["plaintext"].(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != 32 {
		return plain, fmt.Errorf("vault: opening a data key of %s: %w", name, errEmptyAnswer)
	}
	copy(plain[:], raw)
	clear(raw)
	return plain, nil
}

// MAC implements Custody.
func (v *Vault) MAC(ctx context.Context, name string, input []byte) (out [32]byte, err error) {
	data, err := v.write(ctx, "authenticating under "+name, v.o.ClassMount+"/hmac/"+name+"/sha2-256",
		map[string]any{"input": base64.StdEncoding.EncodeToString(input), "key_version": 1})
	if err != nil {
		return out, v.classError(name, err)
	}
	text, _ := data["hmac"].(string)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "vault:v1:"))
	if err != nil || len(raw) != 32 {
		return out, fmt.Errorf("vault: authenticating under %s: %w", name, errEmptyAnswer)
	}
	copy(out[:], raw)
	return out, nil
}

// ClassKeyExists implements Custody. It asks for a MAC, which every role may do, so that it needs no right
// of its own.
func (v *Vault) ClassKeyExists(ctx context.Context, name string) (bool, error) {
	_, err := v.MAC(ctx, name, []byte("sigillo/exists/v1\n"))
	if errors.Is(err, ErrNoClassKey) {
		return false, nil
	}
	return err == nil, err
}

// DeleteClassKey implements Custody; it needs the archivist's rights.
func (v *Vault) DeleteClassKey(ctx context.Context, name string) error {
	if _, err := v.write(ctx, "allowing the deletion of "+name, v.o.ClassMount+"/keys/"+name+"/config", map[string]any{"deletion_allowed": true}); err != nil {
		return v.classError(name, err)
	}
	_, err := v.call(ctx, "deleting class key "+name, func(ctx context.Context) (*api.Secret, error) {
		return v.client.Logical().DeleteWithContext(ctx, v.o.ClassMount+"/keys/"+name)
	})
	return err
}
