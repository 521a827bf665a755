package archive

import (
	"context"
	"errors"
	"time"

	"sigillo/internal/exchange"
)

// ErrErased is what a Source answers for content whose key was destroyed by an erasure.
var ErrErased = errors.New("content was erased")

// ErrExists says that a package of this id is already in the directory. Packages are never overwritten.
var ErrExists = errors.New("package exists")

// ErrBusy says that another export into the same directory is running.
var ErrBusy = errors.New("another export into this directory is running")

// ErrNoAnchor says that a signature or a token could not be traced to a trust anchor because no anchor is
// configured: not checked, which is neither true nor false.
var ErrNoAnchor = errors.New("no trust anchor configured")

// Entry is one ledger entry as stored.
type Entry struct {
	N, K  uint64 // place in the log and in the own chain
	Bytes []byte // at most 65,535 bytes, never re-encoded; valid until the callback returns
}

// Content is one message in the clear, with what its commitment is computed from (docs/formats.md, section 3).
type Content struct {
	Head, Body []byte
	Salt       [32]byte
}

// Checkpoint is a signed checkpoint and its time-stamp.
type Checkpoint struct {
	Size  uint64
	Note  []byte // C2SP signed note
	Query []byte // RFC 3161 TimeStampReq, DER
	Reply []byte // RFC 3161 TimeStampResp over the SHA-256 of Note, DER
}

// Source is the ledger as an export reads it. Segment's callback calls Content.
type Source interface {
	// Origin is the name of the log, as its checkpoints carry it.
	Origin() string
	// Segment calls fn with the entries k first..last of an own chain ("ec:77777777777/audit-10y") in order.
	Segment(ctx context.Context, own string, first, last uint64, fn func(Entry) error) error
	// Content opens message i of an exchange. ErrErased: the key is destroyed.
	Content(ctx context.Context, x exchange.ID, i int) (Content, error)
	// Proof is the RFC 6962 inclusion path of entry n in the tree of the given size, leaf's sibling first.
	Proof(ctx context.Context, n, size uint64) ([][32]byte, error)
	// After is the first signed checkpoint with a token whose size is over n.
	After(ctx context.Context, n uint64) (Checkpoint, error)
	// Before is the note of the newest signed checkpoint of size n or less; ok is false when there is none.
	Before(ctx context.Context, n uint64) (note []byte, ok bool, err error)
	// Receipt is the receipt of an exchange as a compact JWS; "" when there is none (yet).
	Receipt(ctx context.Context, x exchange.ID) (string, error)
}

// Sealer makes an attached CAdES seal with a signature time-stamp, certificates and revocation lists inside.
type Sealer interface {
	SealAttached(ctx context.Context, content []byte) ([]byte, error)
}

// Stamper gives an RFC 3161 TimeStampResp (DER) over the SHA-256 of data.
type Stamper interface {
	Stamp(ctx context.Context, data []byte) (reply []byte, err error)
}

// SealReport is what a seal says.
type SealReport struct {
	Content  []byte             // what was sealed; also when Findings are not empty, where it could be read
	Signer   string             // subject of the sealing certificate
	Findings []exchange.Finding // all that is wrong or could not be checked; empty: the seal holds
}

// SealVerifier checks an attached seal as of a time; a zero time means now.
type SealVerifier interface {
	VerifySeal(ctx context.Context, p7m []byte, at time.Time) SealReport
}

// StampVerifier checks an RFC 3161 TimeStampResp (DER) over data and gives its time. Its authority's chain
// must hold at the given time; a zero time means the stamp's own. An error that wraps ErrNoAnchor says that
// everything but the chain was checked and is good; the time is then given too.
type StampVerifier interface {
	VerifyStamp(ctx context.Context, data, reply []byte, at time.Time) (time.Time, error)
}
