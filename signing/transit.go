package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxBatch is how many signatures one call asks for.
const maxBatch = 512

func (v *Vault) keyName(use Use) (string, error) {
	switch use {
	case UseCheckpoint:
		return v.o.KeyNames.Checkpoint, nil
	case UseReceipt:
		return v.o.KeyNames.Receipt, nil
	case UseSeal:
		return v.o.KeyNames.Seal, nil
	}
	return "", fmt.Errorf("no key for use %q", use)
}

func (v *Vault) write(ctx context.Context, what, path string, data map[string]any) (map[string]any, error) {
	s, err := v.call(ctx, what, func(ctx context.Context) (*api.Secret, error) {
		return v.client.Logical().WriteWithContext(ctx, path, data)
	})
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, nil
	}
	return s.Data, nil
}

// versions reads the public halves of a transit key, oldest first.
func (v *Vault) versions(ctx context.Context, name string) ([]KeyVersion, error) {
	s, err := v.call(ctx, "reading the public key "+name, func(ctx context.Context) (*api.Secret, error) {
		return v.client.Logical().ReadWithContext(ctx, v.o.Mount+"/keys/"+name)
	})
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("vault: there is no key %s in the mount %s", name, v.o.Mount)
	}
	keys, ok := s.Data["keys"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("vault: reading the public key %s: %w", name, errEmptyAnswer)
	}
	var out []KeyVersion
	for number, k := range keys {
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("vault: key %s: version %q", name, number)
		}
		facts, ok := k.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("vault: key %s is not an asymmetric key", name)
		}
		text, _ := facts["public_key"].(string)
		public, err := parsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("vault: key %s, version %d: %w", name, n, err)
		}
		created, _ := facts["creation_time"].(string)
		at, _ := time.Parse(time.RFC3339Nano, created) // zero where Vault says none
		out = append(out, KeyVersion{Version: n, Public: public, Created: at})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("vault: key %s has no version", name)
	}
	slices.SortFunc(out, func(a, b KeyVersion) int { return a.Version - b.Version })
	return out, nil
}

// parsePublic reads what transit gives as a public key: PEM for EC and RSA, raw base64 for Ed25519.
func parsePublic(text string) (crypto.PublicKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return x509.ParsePKIXPublicKey(block.Bytes)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("a public key that is neither PEM nor Ed25519")
	}
	return ed25519.PublicKey(raw), nil
}

// Key implements Custody for the checkpoint and the receipt key.
func (v *Vault) Key(ctx context.Context, use Use) (Key, error) {
	name, err := v.keyName(use)
	if err != nil {
		return nil, err
	}
	versions, err := v.versions(ctx, name)
	if err != nil {
		return nil, err
	}
	newest := versions[len(versions)-1]
	k := &transitKey{v: v, name: name, version: newest.Version, public: newest.Public}
	switch pub := newest.Public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if pub.Params().BitSize != 256 {
			return nil, fmt.Errorf("vault: key %s: only the curve P-256", name)
		}
		k.jws = true
	default:
		return nil, fmt.Errorf("vault: key %s for use %s: must be ed25519 or ecdsa-p256", name, use)
	}
	if use == UseCheckpoint && k.jws {
		return nil, fmt.Errorf("vault: key %s: the checkpoint key must be ed25519", name)
	}
	k.id, err = Thumbprint(newest.Public)
	return k, err
}

// transitKey signs with one version of a transit key, so that what is signed belongs to Public whatever
// is rotated meanwhile.
type transitKey struct {
	v       *Vault
	name    string
	version int
	public  crypto.PublicKey
	id      string
	jws     bool // ECDSA: 64 bytes r||s
}

func (k *transitKey) KeyID() string            { return k.id }
func (k *transitKey) Version() int             { return k.version }
func (k *transitKey) Public() crypto.PublicKey { return k.public }

func (k *transitKey) Versions(ctx context.Context) ([]KeyVersion, error) {
	return k.v.versions(ctx, k.name)
}

func (k *transitKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	signed, err := k.SignBatch(ctx, [][]byte{message})
	if err != nil {
		return nil, err
	}
	return signed[0].Signature, signed[0].Err
}

// SignBatch asks for up to maxBatch signatures in one call. Vault answers 200 even when single items
// failed, so each is looked at. Signatures that were had stay when a later call fails.
func (k *transitKey) SignBatch(ctx context.Context, messages [][]byte) ([]Signed, error) {
	out := make([]Signed, 0, len(messages))
	for part := range slices.Chunk(messages, maxBatch) {
		signed, err := k.signPart(ctx, part)
		if err != nil && len(out) == 0 {
			return nil, err
		}
		if err != nil {
			return append(out, slices.Repeat([]Signed{{Err: err}}, len(messages)-len(out))...), nil
		}
		out = append(out, signed...)
	}
	return out, nil
}

func (k *transitKey) signPart(ctx context.Context, messages [][]byte) ([]Signed, error) {
	batch := make([]map[string]any, len(messages))
	for i, m := range messages {
		batch[i] = map[string]any{"input": base64.StdEncoding.EncodeToString(m)}
	}
	body := map[string]any{"batch_input": batch, "key_version": k.version}
	path := k.v.o.Mount + "/sign/" + k.name
	if k.jws {
		path += "/sha2-256"
		body["marshaling_algorithm"] = "jws"
	}
	data, err := k.v.write(ctx, "signing with key "+k.name, path, body)
	if err != nil {
		return nil, err
	}
	results, ok := data["batch_results"].([]any)
	if !ok || len(results) != len(messages) {
		return nil, fmt.Errorf("vault: signing with key %s: %d results for %d messages", k.name, len(results), len(messages))
	}
	out := make([]Signed, len(results))
	for i, r := range results {
		fields, _ := r.(map[string]any)
		if text, _ := fields["error"].(string); text != "" {
			out[i].Err = fmt.Errorf("vault: signing with key %s: %s", k.name, text)
			continue
		}
		text, _ := fields["signature"].(string)
		signature, err := parseSignature(text, k.version, k.jws)
		if err == nil && len(signature) != 64 { // both of Ed25519 and of P-256 as r||s
			err = fmt.Errorf("a signature of %d bytes", len(signature))
		}
		if err != nil {
			out[i].Err = fmt.Errorf("vault: signing with key %s: %w", k.name, err)
			continue
		}
		out[i].Signature = signature
	}
	return out, nil
}

// parseSignature reads "vault:v<version>:<base64>"; in the JWS form it is base64url without padding.
func parseSignature(text string, version int, jws bool) ([]byte, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || parts[0] != "vault" {
		return nil, errors.New("a signature in an unknown form")
	}
	if parts[1] != "v"+strconv.Itoa(version) {
		return nil, fmt.Errorf("signed with version %s instead of v%d", parts[1], version)
	}
	if jws {
		return base64.RawURLEncoding.DecodeString(parts[2])
	}
	return base64.StdEncoding.DecodeString(parts[2])
}

// CryptoSigner implements Custody: digests, for the seal.
func (v *Vault) CryptoSigner(ctx context.Context, use Use) (crypto.Signer, error) {
	if use != UseSeal {
		return nil, fmt.Errorf("no digest signer for use %q", use)
	}
	name, err := v.keyName(use)
	if err != nil {
		return nil, err
	}
	versions, err := v.versions(ctx, name)
	if err != nil {
		return nil, err
	}
	newest := versions[len(versions)-1]
	if err := fitForSeals(newest.Public); err != nil {
		return nil, fmt.Errorf("vault: key %s: %w", name, err)
	}
	return &transitDigestSigner{ctx: ctx, v: v, name: name, version: newest.Version, public: newest.Public}, nil
}

// transitDigestSigner is a crypto.Signer, whose interface has no context: it keeps the one of its making.
type transitDigestSigner struct {
	ctx     context.Context
	v       *Vault
	name    string
	version int
	public  crypto.PublicKey
}

func (s *transitDigestSigner) Public() crypto.PublicKey { return s.public }

func (s *transitDigestSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
		return nil, errors.New("vault: only SHA-256 digests are signed")
	}
	body := map[string]any{"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "key_version": s.version}
	switch s.public.(type) {
	case *rsa.PublicKey:
		if _, pss := opts.(*rsa.PSSOptions); pss {
			return nil, errors.New("vault: seals are RSA PKCS#1 v1.5, not PSS")
		}
		body["signature_algorithm"] = "pkcs1v15"
	case *ecdsa.PublicKey:
		body["marshaling_algorithm"] = "asn1"
	default:
		return nil, fmt.Errorf("vault: key %s: seals are made with RSA or ECDSA", s.name)
	}
	data, err := s.v.write(s.ctx, "signing with key "+s.name, s.v.o.Mount+"/sign/"+s.name+"/sha2-256", body)
	if err != nil {
		return nil, err
	}
	text, _ := data["signature"].(string)
	signature, err := parseSignature(text, s.version, false)
	if err != nil {
		return nil, fmt.Errorf("vault: signing with key %s: %w", s.name, err)
	}
	return signature, nil
}
