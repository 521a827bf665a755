package signing

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwa"
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

// VerifyReceipt checks a compact JWS against a JWK set and gives its payload and the key's id. It takes
// the algorithm from the key, never from the token; it wants the type of a receipt and knows no critical
// header.
func VerifyReceipt(compact string, jwks []byte) (payload []byte, kid string, err error) {
	if len(compact) > maxReceipt || len(jwks) > maxJWKS {
		return nil, "", fmt.Errorf("%w: too long", ErrReceiptForm)
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
	alg, ok := key.Algorithm().(jwa.SignatureAlgorithm)
	if !ok || alg != jwa.ES256 && alg != jwa.EdDSA || string(alg) != h.Alg {
		return nil, "", fmt.Errorf("%w: algorithm %q is not the key's", ErrReceiptForm, h.Alg)
	}
	payload, err = jws.Verify([]byte(compact), jws.WithKey(alg, key))
	if err != nil {
		return nil, "", ErrReceiptSignature
	}
	return payload, h.KID, nil
}
