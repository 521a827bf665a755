package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Bounds of what VerifyReceipt reads, in bytes.
const (
	maxReceipt = 16 << 10
	maxJWKS    = 1 << 20
)

// What can be wrong with a receipt.
var (
	ErrReceiptForm      = errors.New("not a receipt in compact JWS form")
	ErrReceiptKey       = errors.New("signed by a key that is not in the key set")
	ErrReceiptSignature = errors.New("the receipt's signature does not hold")
)

// VerifyReceipt checks a compact JWS against a JWK set (RFC 7517) and gives its payload and the key's id. It
// takes the algorithm from the kind of the key, never from the token; it wants the type of a receipt and knows
// no critical header (RFC 7515, section 4.1.11). Errors: ErrReceiptForm, ErrReceiptKey (another key set may
// help), ErrReceiptSignature; any other is about the key set. At most 16 KiB of receipt and 1 MiB of keys.
func VerifyReceipt(compact string, jwks []byte) (payload []byte, kid string, err error) {
	if len(compact) > maxReceipt {
		return nil, "", fmt.Errorf("%w: longer than %d bytes", ErrReceiptForm, maxReceipt)
	}
	if len(jwks) > maxJWKS {
		return nil, "", fmt.Errorf("the key set is larger than %d bytes", maxJWKS)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return nil, "", ErrReceiptForm
	}
	// One spelling only: strict base64url, so that a receipt cannot be written in two ways.
	var head []byte
	for i, p := range parts {
		b, err := base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil {
			return nil, "", ErrReceiptForm
		}
		if i == 0 {
			head = b
		}
	}
	var h struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
		Typ string `json:"typ"`
	}
	d := json.NewDecoder(bytes.NewReader(head))
	d.DisallowUnknownFields() // also refuses "crit", "jku", "x5u" and "jwk"
	if err := d.Decode(&h); err != nil || d.More() {
		return nil, "", fmt.Errorf("%w: protected header", ErrReceiptForm)
	}
	if h.Typ != receiptType {
		return nil, "", fmt.Errorf("%w: typ is not %s", ErrReceiptForm, receiptType)
	}
	set, err := jwk.Parse(jwks)
	if err != nil {
		return nil, "", errors.New("the key set is not a JWK set")
	}
	key, ok := set.LookupKeyID(h.KID)
	if !ok || h.KID == "" {
		return nil, "", ErrReceiptKey
	}
	public, err := publicOf(key)
	if err != nil {
		return nil, "", fmt.Errorf("key %s of the key set: %w", h.KID, err)
	}
	alg, err := algorithmOf(public)
	if err != nil || string(alg) != h.Alg {
		return nil, "", fmt.Errorf("%w: algorithm %q is not the key's", ErrReceiptForm, h.Alg)
	}
	payload, err = jws.Verify([]byte(compact), jws.WithKey(alg, public))
	if err != nil {
		return nil, "", ErrReceiptSignature
	}
	return payload, h.KID, nil
}

// publicOf is the public half of a key of a set. A set that holds private or symmetric keys is a mishap of
// whoever published it, and no reason to sign with them: the public half serves.
func publicOf(key jwk.Key) (crypto.PublicKey, error) {
	half, err := key.PublicKey()
	if err != nil {
		return nil, errors.New("not a public key")
	}
	var raw any
	if err := half.Raw(&raw); err != nil {
		return nil, errors.New("not a public key")
	}
	switch k := raw.(type) {
	case *ecdsa.PublicKey:
		return k, nil
	case ecdsa.PublicKey:
		return &k, nil
	}
	return raw, nil
}
