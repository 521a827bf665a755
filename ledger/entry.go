package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sigillo/internal/exchange"
)

// Version is the version of the entry schema that this package writes and reads.
const Version = 1

// MaxEntry is the greatest size of an entry in bytes: the limit of a C2SP tlog-tiles entry bundle.
const MaxEntry = 65535

// LogChain is the own chain of the log's own entries.
const LogChain = "log"

// Kinds of entries beyond those that the gateway records (exchange.Kind…).
const (
	KindGenesis         exchange.Kind = "genesis"
	KindRecovery        exchange.Kind = "recovery"
	KindExport          exchange.Kind = "export"
	KindAcceptance      exchange.Kind = "acceptance"
	KindErasure         exchange.Kind = "erasure"
	KindDisposal        exchange.Kind = "disposal"
	KindRenewal         exchange.Kind = "renewal"
	KindRefusals        exchange.Kind = "refusals"
	KindDeliveryUnknown exchange.Kind = "delivery-unknown"
	KindTimestamp       exchange.Kind = "timestamp"
	KindConfiguration   exchange.Kind = "configuration"
	KindAccess          exchange.Kind = "access"
	KindVerification    exchange.Kind = "verification"
	KindNotice          exchange.Kind = "notice"
)

// Own is an entry's place in its own chain: the chain of one principal and class, or of the log itself.
type Own struct {
	P    string `json:"p"`    // "ec:77777777777/audit-10y" or "log"
	K    uint64 `json:"k"`    // gapless within P
	Prev Hash   `json:"prev"` // SHA-256 of P's previous entry, zeros for K = 0
}

// Entry is one decoded record of the ledger. The bytes as stored are authoritative: an Entry is a
// reading of them, and hashing never goes through it.
type Entry struct {
	V    int    `json:"v"`
	N    uint64 `json:"n"`
	Prev Hash   `json:"prev"`
	Time Time   `json:"time"`
	Own  Own    `json:"own"`
	Tail
}

// Tail is an entry from "kind" on: what the caller's goroutine writes once, before the order is known.
// The order of the fields is the order of the keys. Which keys a kind has stands in kinds.go.
type Tail struct {
	Kind      exchange.Kind      `json:"kind"`
	Node      string             `json:"node"`
	Exchange  exchange.ID        `json:"exchange,omitempty"`
	Request   *uint64            `json:"request,omitempty"`
	SameAs    *uint64            `json:"same_as,omitempty"`
	Route     string             `json:"route,omitempty"`
	Operation string             `json:"operation,omitempty"`
	From      *exchange.Party    `json:"from,omitempty"`
	To        *exchange.Party    `json:"to,omitempty"`
	By        *Actor             `json:"by,omitempty"`
	Messages  []MessageRef       `json:"messages,omitempty"`
	Outcome   *exchange.Outcome  `json:"outcome,omitempty"`
	Decision  *exchange.Decision `json:"decision,omitempty"`
	Reason    string             `json:"reason,omitempty"`

	Genesis         *Genesis         `json:"genesis,omitempty"`
	Export          *Export          `json:"export,omitempty"`
	Acceptance      *Acceptance      `json:"acceptance,omitempty"`
	Erasure         *Erasure         `json:"erasure,omitempty"`
	Disposal        *Disposal        `json:"disposal,omitempty"`
	Renewal         *Renewal         `json:"renewal,omitempty"`
	Refusals        *Refusals        `json:"refusals,omitempty"`
	DeliveryUnknown *DeliveryUnknown `json:"delivery-unknown,omitempty"`
	Timestamp       *Timestamp       `json:"timestamp,omitempty"`
	Configuration   *Configuration   `json:"configuration,omitempty"`
	Access          *Access          `json:"access,omitempty"`
	Verification    *Verification    `json:"verification,omitempty"`
	Notice          *Notice          `json:"notice,omitempty"`
}

// MessageRef is a message as its entry names it: nothing of its content but the salted commitment.
type MessageRef struct {
	I          int              `json:"i"` // number within the exchange, in order of capture
	Points     []exchange.Point `json:"points"`
	Status     int              `json:"status,omitempty"`
	Size       int64            `json:"size"` // bytes of the body
	Commitment Hash             `json:"commitment"`
	Cut        bool             `json:"cut,omitempty"`
}

// Actor is who did something: a role and the SHA-256 of the certificate or token accessor used.
type Actor struct {
	Role string `json:"role"` // gateway, operator, auditor, archivist or local (a user of this machine)
	ID   Hash   `json:"id"`
}

// ErrUnknown marks an entry of a kind, key or version that this software does not know: a verifier
// says indeterminate, it never skips.
var ErrUnknown = errors.New("unknown to this version of Sigillo")

// encodeTail writes t from `"kind":` to the closing brace. It refuses a tail that its kind does not allow.
func encodeTail(t *Tail) ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if b, plain := appendTail(make([]byte, 0, 768), t); plain {
		return b, nil
	}
	b, err := encodeJSON(t)
	if err != nil {
		return nil, fmt.Errorf("encoding a %s entry: %w", t.Kind, err)
	}
	return b[1:], nil
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// entryHead is the size of the longest part that the sequencer puts before a tail, without the name of the own chain.
const entryHead = 320

// joinEntry puts the part that the sequencer owns before a tail, by concatenation: the tail is never
// re-encoded (formats.md 2), so every node of a cluster makes the same bytes.
func joinEntry(n uint64, prev Hash, at Time, own Own, tail []byte) []byte {
	b := make([]byte, 0, entryHead+len(own.P)+len(tail))
	b = append(b, `{"v":1,"n":`...)
	b = strconv.AppendUint(b, n, 10)
	b = append(b, `,"prev":"`...)
	b = appendHex(b, prev)
	b = append(b, `","time":"`...)
	b = at.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","own":{"p":"`...)
	b = append(b, own.P...) // checked by checkOwn: no character that JSON would escape
	b = append(b, `","k":`...)
	b = strconv.AppendUint(b, own.K, 10)
	b = append(b, `,"prev":"`...)
	b = appendHex(b, own.Prev)
	b = append(b, `"},`...)
	return append(b, tail...)
}

func appendHex(b []byte, h Hash) []byte {
	const digits = "0123456789abcdef"
	for _, c := range h {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

// DecodeEntry reads an entry strictly: known version, kind and keys only, keys in order, no white
// space, no other spelling of the same value. An unknown version, kind or key gives ErrUnknown.
func DecodeEntry(b []byte) (*Entry, error) {
	if len(b) > MaxEntry {
		return nil, fmt.Errorf("entry of %d bytes: the limit is %d", len(b), MaxEntry)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var e Entry
	if err := d.Decode(&e); err != nil {
		if strings.HasPrefix(err.Error(), "json: unknown field") {
			return nil, fmt.Errorf("entry: %s: %w", strings.TrimPrefix(err.Error(), "json: "), ErrUnknown)
		}
		return nil, fmt.Errorf("entry: %w", err)
	}
	if e.V != Version {
		return nil, fmt.Errorf("entry of version %d: %w", e.V, ErrUnknown)
	}
	if err := checkOwn(e.Own.P); err != nil {
		return nil, err
	}
	if err := e.Tail.check(); err != nil {
		return nil, err
	}
	again, err := encodeJSON(&e)
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	if !bytes.Equal(again, b) {
		return nil, errors.New("entry: not in its one canonical spelling")
	}
	return &e, nil
}

// EntryHash is the hash that the chains use: SHA-256 over the entry's bytes.
func EntryHash(b []byte) Hash { return sha256.Sum256(b) }

// OwnChain names the own chain of a principal and retention class.
func OwnChain(principal, class string) string { return principal + "/" + class }

// checkOwn keeps the name of an own chain to characters that need no escape in JSON and no thought in
// a shell: it is copied into entries byte for byte.
func checkOwn(p string) error {
	if p == "" || len(p) > 120 {
		return fmt.Errorf("own chain %q: 1 to 120 characters", p)
	}
	for _, c := range []byte(p) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte(":/._-", c) >= 0:
		default:
			return fmt.Errorf("own chain %q: character %q is not allowed (letters, digits and : / . _ -)", p, c)
		}
	}
	return nil
}
