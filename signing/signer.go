package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Use is what a key is for. Each use has a key of its own.
type Use string

// The uses of keys (formats.md 6).
const (
	UseCheckpoint Use = "checkpoint" // Ed25519: signed notes
	UseReceipt    Use = "receipt"    // ECDSA P-256: ES256 receipts
	UseSeal       Use = "seal"       // ECDSA P-256 or RSA-3072: seals of packages, never messages in bulk
)

// Signed is one signature of a batch, or why there is none.
type Signed struct {
	Signature []byte
	Err       error
}

// KeyVersion is the public half of one version of a key.
type KeyVersion struct {
	Version int
	Public  crypto.PublicKey
	Created time.Time // zero where the custody does not know
}

// Key signs whole messages with its newest version. Ed25519 gives the raw 64 bytes; P-256 hashes with
// SHA-256 and gives the 64 bytes r||s of JWS. Safe for concurrent use.
type Key interface {
	KeyID() string // RFC 7638 thumbprint of Public
	Version() int
	Public() crypto.PublicKey
	Sign(ctx context.Context, message []byte) ([]byte, error)
	// SignBatch signs each message by itself, results in order: an item has a signature or an error. An error
	// of the call means that none was signed.
	SignBatch(ctx context.Context, messages [][]byte) ([]Signed, error)
	Versions(ctx context.Context) ([]KeyVersion, error)
}

// DataKey is a fresh 256-bit key, plain and wrapped under the class key that it was asked of.
type DataKey struct {
	Plain   [32]byte
	Wrapped []byte
}

// Custody keeps keys: *Vault, or *KeyDir for demonstrations. Safe for concurrent use.
type Custody interface {
	Kind() string // "vault" or "file"
	Key(ctx context.Context, use Use) (Key, error)
	// CryptoSigner signs digests for CMS: ASN.1 ECDSA, or RSA PKCS#1 v1.5.
	CryptoSigner(ctx context.Context, use Use) (crypto.Signer, error)
	// DataKey makes a data key under the class key of that name, which is created when missing.
	DataKey(ctx context.Context, name string) (DataKey, error)
	// Unwrap opens a data key: ErrNoClassKey when its class key was destroyed, ErrForbidden, ErrUnavailable.
	Unwrap(ctx context.Context, name string, wrapped []byte) ([32]byte, error)
	// MAC is HMAC-SHA256 under a key that lives and dies with the class key; it makes none: ErrNoClassKey.
	MAC(ctx context.Context, name string, input []byte) ([32]byte, error)
	ClassKeyExists(ctx context.Context, name string) (bool, error)
	// DeleteClassKey destroys a class key: what it wrapped is lost for ever. ErrNoClassKey when it is gone already.
	DeleteClassKey(ctx context.Context, name string) error
	Close() error
}

// What a custody can say to a request for a key.
var (
	ErrNoClassKey  = errors.New("the class key does not exist: never made, or destroyed")
	ErrForbidden   = errors.New("the credentials do not allow it")
	ErrUnavailable = errors.New("the custody of keys cannot be reached")
)

// minSealBits is the least size of an RSA seal key.
const minSealBits = 3072

// fitForSeals says why a public key makes no seals that stock tools verify (conservation.md 3.2).
func fitForSeals(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
	case *rsa.PublicKey:
		if k.N.BitLen() >= minSealBits {
			return nil
		}
	}
	return fmt.Errorf("a seal key must be ECDSA P-256, or RSA of %d bits or more", minSealBits)
}

// Thumbprint is the RFC 7638 thumbprint of a public key, base64url.
func Thumbprint(public crypto.PublicKey) (string, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	var canonical string
	switch k := public.(type) {
	case ed25519.PublicKey:
		canonical = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(k)) // RFC 8037, appendix A.3
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", errors.New("thumbprint: only the curve P-256")
		}
		raw, err := k.Bytes()
		if err != nil {
			return "", fmt.Errorf("thumbprint: %w", err)
		}
		canonical = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(raw[1:33]), b64(raw[33:]))
	case *rsa.PublicKey:
		canonical = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(k.E)).Bytes()), b64(k.N.Bytes()))
	default:
		return "", fmt.Errorf("thumbprint: unknown kind of key %T", public)
	}
	sum := sha256.Sum256([]byte(canonical))
	return b64(sum[:]), nil
}
