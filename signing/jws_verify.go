package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"
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
// Who checks many receipts uses NewReceiptVerifier.
func VerifyReceipt(compact string, jwks []byte) (payload []byte, kid string, err error) {
	p, err := splitReceipt(compact)
	if err != nil {
		return nil, "", err
	}
	v, err := NewReceiptVerifier(jwks)
	if err != nil {
		return nil, "", err
	}
	return v.verify(p)
}

// ReceiptVerifier checks receipts against one key set. Safe for concurrent use.
type ReceiptVerifier struct {
	keys map[string]receiptKey
}

// receiptKey is a key of the set, or why it is none that signs receipts.
type receiptKey struct {
	alg    string
	public crypto.PublicKey
	err    error
}

// NewReceiptVerifier reads a JWK set (RFC 7517) of at most 1 MiB. A key in it that cannot sign receipts is an
// error only of the receipts that name it.
func NewReceiptVerifier(jwks []byte) (*ReceiptVerifier, error) {
	if len(jwks) > maxJWKS {
		return nil, fmt.Errorf("the key set is larger than %d bytes", maxJWKS)
	}
	set, err := jwk.Parse(jwks)
	if err != nil {
		return nil, errors.New("the key set is not a JWK set")
	}
	v := &ReceiptVerifier{keys: map[string]receiptKey{}}
	for i := range set.Len() {
		key, ok := set.Key(i)
		if !ok || key.KeyID() == "" {
			continue
		}
		if _, twice := v.keys[key.KeyID()]; twice {
			continue // the first counts, as in jwk.Set.LookupKeyID
		}
		public, err := publicOf(key)
		if err != nil {
			v.keys[key.KeyID()] = receiptKey{err: fmt.Errorf("key %s of the key set: %w", key.KeyID(), err)}
			continue
		}
		alg, _ := algorithmOf(public) // "" is no receipt's algorithm
		v.keys[key.KeyID()] = receiptKey{alg: string(alg), public: public}
	}
	return v, nil
}

// Verify checks a compact JWS as VerifyReceipt does.
func (v *ReceiptVerifier) Verify(compact string) (payload []byte, kid string, err error) {
	p, err := splitReceipt(compact)
	if err != nil {
		return nil, "", err
	}
	return v.verify(p)
}

// receiptParts are a compact JWS taken apart, nothing checked but its form.
type receiptParts struct {
	alg, kid           string
	signed             string
	payload, signature []byte
}

func splitReceipt(compact string) (p receiptParts, err error) {
	if len(compact) > maxReceipt {
		return p, fmt.Errorf("%w: longer than %d bytes", ErrReceiptForm, maxReceipt)
	}
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return p, ErrReceiptForm
	}
	// One spelling only: strict base64url, so that a receipt cannot be written in two ways.
	var raw [3][]byte
	for i, part := range parts {
		// The decoder passes over line breaks: they would be a second spelling.
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return p, ErrReceiptForm
		}
	}
	var h struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
		Typ string `json:"typ"`
	}
	d := json.NewDecoder(bytes.NewReader(raw[0]))
	d.DisallowUnknownFields() // also refuses "crit", "b64", "jku", "x5u" and "jwk"
	if err := d.Decode(&h); err != nil || d.More() {
		return p, fmt.Errorf("%w: protected header", ErrReceiptForm)
	}
	if h.Typ != receiptType {
		return p, fmt.Errorf("%w: typ is not %s", ErrReceiptForm, receiptType)
	}
	return receiptParts{h.Alg, h.KID, compact[:len(parts[0])+1+len(parts[1])], raw[1], raw[2]}, nil
}

// verify checks the signature: RFC 7518, section 3.4 (ES256) and RFC 8037, section 3.1 (EdDSA).
func (v *ReceiptVerifier) verify(p receiptParts) (payload []byte, kid string, err error) {
	key, ok := v.keys[p.kid]
	if !ok {
		return nil, "", ErrReceiptKey
	}
	if key.err != nil {
		return nil, "", key.err
	}
	if key.alg == "" || key.alg != p.alg {
		return nil, "", fmt.Errorf("%w: algorithm %q is not the key's", ErrReceiptForm, p.alg)
	}
	holds := false
	switch public := key.public.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256([]byte(p.signed))
		holds = len(p.signature) == 64 &&
			ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:]))
	case ed25519.PublicKey:
		holds = ed25519.Verify(public, []byte(p.signed), p.signature)
	}
	if !holds {
		return nil, "", ErrReceiptSignature
	}
	return p.payload, p.kid, nil
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
