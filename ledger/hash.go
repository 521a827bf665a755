package ledger

import (
	"encoding/hex"
	"fmt"
	"time"
)

// Hash is a SHA-256 digest. Its text form is 64 lower-case hexadecimal digits, and nothing else is read.
type Hash [32]byte

// MarshalText gives the 64 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads exactly 64 lower-case hexadecimal digits.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 64 {
		return fmt.Errorf("a digest has 64 hexadecimal digits, not %d characters", len(text))
	}
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return fmt.Errorf("a digest is written in lower case")
		}
	}
	_, err := hex.Decode(h[:], text)
	return err
}

// String gives the 64 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// timeLayout is RFC 3339 in UTC with exactly six decimals.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// Time is an instant of the ledger: UTC, microseconds.
type Time struct{ time.Time }

// At cuts t to the microseconds that an entry holds.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Microsecond)} }

// MarshalText writes RFC 3339 with microseconds and Z.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.UTC().Format(timeLayout)), nil }

// MarshalJSON is MarshalText in quotes; it hides the embedded time's own form.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON reads only the form that MarshalJSON writes.
func (t *Time) UnmarshalJSON(text []byte) error {
	if len(text) != len(timeLayout)+2 || text[0] != '"' || text[len(text)-1] != '"' {
		return fmt.Errorf("a time is RFC 3339 UTC with microseconds")
	}
	p, err := time.Parse(timeLayout, string(text[1:len(text)-1]))
	if err != nil {
		return fmt.Errorf("a time is RFC 3339 UTC with microseconds: %w", err)
	}
	t.Time = p
	return nil
}
