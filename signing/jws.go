package signing

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// receiptType is the "typ" of a receipt's protected header.
const receiptType = "sigillo-receipt+jwt"

// SignedReceipt is one signed payload, or why it could not be signed.
type SignedReceipt struct {
	Compact string // compact JWS (RFC 7515, section 7.1)
	Err     error
}

// Receipts signs receipt payloads with one key, in batches. Safe for concurrent use.
type Receipts struct {
	key    Key
	header string // base64url of the protected header
	size   int    // bytes of a signature
}

// NewReceipts prepares the protected header for key: ES256 for P-256, EdDSA for Ed25519.
func NewReceipts(_ context.Context, key Key) (*Receipts, error) {
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	h := jws.NewHeaders()
	for name, value := range map[string]any{jws.AlgorithmKey: alg, jws.KeyIDKey: key.KeyID(), jws.TypeKey: receiptType} {
		if err := h.Set(name, value); err != nil {
			return nil, fmt.Errorf("protected header of receipts: %w", err)
		}
	}
	b, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("protected header of receipts: %w", err)
	}
	return &Receipts{key: key, header: base64.RawURLEncoding.EncodeToString(b), size: 64}, nil
}

func algorithmOf(public any) (jwa.SignatureAlgorithm, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jwa.ES256, nil
		}
	case ed25519.PublicKey:
		return jwa.EdDSA, nil
	}
	return "", fmt.Errorf("receipts are signed with P-256 or Ed25519, not with a key of kind %T", public)
}

// SignReceipts signs each payload as a compact JWS, results in order.
func (r *Receipts) SignReceipts(ctx context.Context, payloads [][]byte) ([]SignedReceipt, error) {
	inputs := make([][]byte, len(payloads))
	for i, p := range payloads {
		inputs[i] = []byte(r.header + "." + base64.RawURLEncoding.EncodeToString(p))
	}
	signed, err := r.key.SignBatch(ctx, inputs)
	if err != nil {
		return nil, err
	}
	if len(signed) != len(inputs) {
		return nil, fmt.Errorf("%d signatures for %d payloads", len(signed), len(inputs))
	}
	out := make([]SignedReceipt, len(inputs))
	for i, s := range signed {
		switch {
		case s.Err != nil:
			out[i].Err = s.Err
		case len(s.Signature) != r.size:
			out[i].Err = fmt.Errorf("a signature of %d bytes instead of %d", len(s.Signature), r.size)
		default:
			out[i].Compact = string(inputs[i]) + "." + base64.RawURLEncoding.EncodeToString(s.Signature)
		}
	}
	return out, nil
}

// PublicJWKS is the JWK set (RFC 7517) of every version of the given keys, newest last: what
// /.well-known/jwks.json publishes and packages hold. "sigillo_from" is when a version was made
// (RFC 3339), where the custody knows.
func PublicJWKS(ctx context.Context, keys ...Key) ([]byte, error) {
	set := jwk.NewSet()
	for _, k := range keys {
		versions, err := k.Versions(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the versions of key %s: %w", k.KeyID(), err)
		}
		for _, v := range versions {
			j, err := publicJWK(v)
			if err != nil {
				return nil, err
			}
			if err := set.AddKey(j); err != nil {
				return nil, err
			}
		}
	}
	return json.MarshalIndent(set, "", "  ")
}

func publicJWK(v KeyVersion) (jwk.Key, error) {
	alg, err := algorithmOf(v.Public)
	if err != nil {
		return nil, err
	}
	kid, err := Thumbprint(v.Public)
	if err != nil {
		return nil, err
	}
	j, err := jwk.FromRaw(v.Public)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{jwk.KeyIDKey: kid, jwk.AlgorithmKey: alg, jwk.KeyUsageKey: "sig"}
	if !v.Created.IsZero() {
		fields["sigillo_from"] = v.Created.UTC().Format("2006-01-02T15:04:05Z")
	}
	for name, value := range fields {
		if err := j.Set(name, value); err != nil {
			return nil, err
		}
	}
	return j, nil
}
