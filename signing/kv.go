package signing

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/api"
)

// What a KV record can say.
var (
	ErrNoRecord    = errors.New("nothing was ever written there")
	ErrStaleRecord = errors.New("the record has another version")
)

// KV is one record of a KV version 2 mount, written by check-and-set only. Safe for concurrent use.
type KV struct {
	v           *Vault
	mount, path string
}

// kvPath keeps a record's path to what needs no escape in a URL.
var kvPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$`)

// OpenKV names a record. It calls nothing yet.
func OpenKV(v *Vault, mount, path string) (*KV, error) {
	if !kvPath.MatchString(mount) || !kvPath.MatchString(path) {
		return nil, fmt.Errorf("vault: KV mount %q, path %q: letters, digits and . _ - /", mount, path)
	}
	return &KV{v, mount, path}, nil
}

// Path is the record's place as Vault's own tools name it.
func (k *KV) Path() string { return k.mount + "/" + k.path }

// kvAnswer is Vault's answer to a reading. Of a version that was deleted or destroyed it has the metadata only.
type kvAnswer struct {
	Data struct {
		Data     map[string]string `json:"data"`
		Metadata struct {
			Version   uint64 `json:"version"`
			Deleted   string `json:"deletion_time"`
			Destroyed bool   `json:"destroyed"`
		} `json:"metadata"`
	} `json:"data"`
	Errors []string `json:"errors"`
}

// Get gives the newest version and its number. ErrNoRecord: nothing was ever written, or all of it was
// removed with its metadata. A newest version that was deleted, and a mount that is missing, are errors
// of their own: nobody may take them for an empty record.
func (k *KV) Get(ctx context.Context) (data map[string]string, version uint64, err error) {
	var a kvAnswer
	status := 0
	_, err = k.v.call(ctx, "reading "+k.Path(), func(ctx context.Context) (*api.Secret, error) {
		resp, err := k.v.client.Logical().ReadRawWithContext(ctx, k.mount+"/data/"+k.path)
		if resp == nil || resp.Body == nil {
			return nil, err
		}
		defer resp.Body.Close()
		status, a = resp.StatusCode, kvAnswer{}
		if err != nil && status != http.StatusNotFound {
			return nil, err
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&a); err != nil {
			return nil, fmt.Errorf("an answer that is no JSON: %w", err)
		}
		return nil, nil
	})
	if err != nil {
		return nil, 0, err
	}
	m := a.Data.Metadata
	switch {
	case m.Destroyed || m.Deleted != "":
		return nil, 0, fmt.Errorf("vault: %s: its newest version %d was deleted", k.Path(), m.Version)
	case status == http.StatusNotFound && len(a.Errors) > 0:
		return nil, 0, fmt.Errorf("vault: %s: %s (is the KV version 2 mount there?)", k.Path(), strings.Join(a.Errors, "; "))
	case status == http.StatusNotFound:
		return nil, 0, ErrNoRecord
	case m.Version == 0 || a.Data.Data == nil:
		return nil, 0, fmt.Errorf("vault: reading %s: %w (is the mount KV version 2?)", k.Path(), errEmptyAnswer)
	}
	return a.Data.Data, m.Version, nil
}

// Put writes data as the version after the given one (0: as the first). ErrStaleRecord: the record is at
// another version, and nothing was written.
func (k *KV) Put(ctx context.Context, data map[string]string, after uint64) error {
	_, err := k.v.write(ctx, "writing "+k.Path(), k.mount+"/data/"+k.path,
		map[string]any{"data": data, "options": map[string]any{"cas": after}})
	var refused *vaultRefusal
	if errors.As(err, &refused) && refused.status == http.StatusBadRequest && strings.Contains(refused.text, "check-and-set parameter did not match") {
		return fmt.Errorf("vault: %s after version %d: %w", k.Path(), after, ErrStaleRecord)
	}
	return err
}

// AccessorDigest is the SHA-256 of our token's accessor: it names the person whose token it is, and lets
// nobody use it.
func (v *Vault) AccessorDigest(ctx context.Context) (out [32]byte, err error) {
	s, err := v.call(ctx, "looking up our own token", func(ctx context.Context) (*api.Secret, error) {
		return v.client.Auth().Token().LookupSelfWithContext(ctx)
	})
	if err != nil {
		return out, err
	}
	accessor := ""
	if s != nil {
		accessor, _ = s.Data["accessor"].(string)
	}
	if accessor == "" {
		return out, fmt.Errorf("vault: looking up our own token: %w (a batch token has no accessor: use a service token)", errEmptyAnswer)
	}
	return sha256.Sum256([]byte(accessor)), nil
}
