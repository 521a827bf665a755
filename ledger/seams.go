package ledger

import (
	"context"
	"crypto"
	"time"
)

// Signer signs checkpoints. Sign takes the whole message; the key is Ed25519.
type Signer interface {
	Public() crypto.PublicKey
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// SignedReceipt is one signed payload, or why it could not be signed.
type SignedReceipt struct {
	Compact string // compact JWS
	Err     error
}

// ReceiptSigner signs receipt payloads as compact JWS, in one batch, results in order. An error of the
// call means that none was signed; an item's own Err that it was not.
type ReceiptSigner interface {
	SignReceipts(ctx context.Context, payloads [][]byte) ([]SignedReceipt, error)
}

// ClassKeys wraps the keys of sealed content under the named key of a class-month (formats.md 4). All
// methods are safe for concurrent use.
type ClassKeys interface {
	// DataKey makes a fresh 256-bit key and its wrapped form; the class key is created when missing.
	DataKey(ctx context.Context, name string) (plain [32]byte, wrapped []byte, err error)
	// Unwrap gives the key back. A class key that was destroyed gives an error for which Destroyed is true.
	Unwrap(ctx context.Context, name string, wrapped []byte) ([32]byte, error)
	// MAC is HMAC-SHA256 under a key that lives and dies with the class key.
	MAC(ctx context.Context, name string, input []byte) ([32]byte, error)
	// Destroyed reports whether err says that the class key exists no more.
	Destroyed(err error) bool
}

// Stamp is what a time-stamp authority answered (RFC 3161).
type Stamp struct {
	Query     []byte    // DER TimeStampReq
	Reply     []byte    // DER TimeStampResp
	Authority Hash      // SHA-256 of the authority's certificate
	Time      time.Time // genTime
}

// Stamper asks a time-stamp authority for a token over a SHA-256 digest and has checked the answer.
type Stamper interface {
	Stamp(ctx context.Context, digest [32]byte) (Stamp, error)
}
