package archive

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sigillo/internal/exchange"
)

const (
	maxEntry = 65535 // bytes of an entry (C2SP tlog-tiles bundle limit)
	maxDepth = 32    // nesting of an entry, a head or an exchange.json
)

// entry is what the archive reads of an entry's bytes (docs/formats.md, section 2). The rest stays in the bytes.
type entry struct {
	N    uint64 `json:"n"`
	Time string `json:"time"`
	Own  struct {
		P    string `json:"p"`
		K    uint64 `json:"k"`
		Prev string `json:"prev"`
	} `json:"own"`
	Kind      exchange.Kind     `json:"kind"`
	Exchange  exchange.ID       `json:"exchange"`
	Request   *uint64           `json:"request"`
	Route     string            `json:"route"`
	Operation string            `json:"operation"`
	From      *exchange.Party   `json:"from"`
	To        *exchange.Party   `json:"to"`
	Messages  []message         `json:"messages"`
	Outcome   *exchange.Outcome `json:"outcome"`
	Reason    exchange.Reason   `json:"reason"`

	time time.Time
}

// message is one commitment of an entry.
type message struct {
	I          int              `json:"i"`
	Points     []exchange.Point `json:"points"`
	Status     int              `json:"status"`
	Size       int64            `json:"size"`
	Cut        bool             `json:"cut"`
	Commitment string           `json:"commitment"`
}

// ownKinds are the kinds that stand in a principal's own chain (docs/formats.md, section 1); true: they may
// carry messages under an exchange's id, as an erasure carries its reason.
var ownKinds = map[exchange.Kind]bool{
	exchange.KindRequest: true, exchange.KindResponse: true, exchange.KindRefusal: true, exchange.KindFailure: true,
	exchange.KindUndelivered: true, "recovery": false, "export": false, "acceptance": true, "erasure": true, "disposal": true, "renewal": false,
}

const kindErasure exchange.Kind = "erasure"

// errUnknownKind says that an entry is of a kind that this version does not know: it cannot be judged.
var errUnknownKind = errors.New("kind of entry is not known")

// parseEntry reads the bytes of one entry. Keys that repeat or differ from the schema's only by case are
// errors: two readers must not see two meanings. Keys that are not read here are left to the ledger's own reader.
func parseEntry(b []byte) (*entry, error) {
	if len(b) > maxEntry {
		return nil, fmt.Errorf("entry has %d bytes, more than %d", len(b), maxEntry)
	}
	if bytes.IndexByte(b, '\n') >= 0 {
		return nil, errors.New("entry is not one line")
	}
	if err := strictKeys(b); err != nil {
		return nil, fmt.Errorf("reading entry: %w", err)
	}
	e := new(entry)
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("reading entry: %w", err)
	}
	if !isHex64(e.Own.Prev) {
		return nil, fmt.Errorf("entry %d: own.prev is not 64 hex digits", e.N)
	}
	var err error
	if e.time, err = time.Parse(time.RFC3339Nano, e.Time); err != nil {
		return nil, fmt.Errorf("entry %d: time: %w", e.N, err)
	}
	carries, known := ownKinds[e.Kind]
	if !known {
		return e, fmt.Errorf("entry %d: %w: %.40q", e.N, errUnknownKind, string(e.Kind))
	}
	if len(e.Messages) > 0 && (!carries || e.Exchange == "") {
		return e, fmt.Errorf("entry %d: messages in a %s entry that names no exchange", e.N, e.Kind)
	}
	seen := make(map[int]bool, len(e.Messages))
	for _, m := range e.Messages {
		if m.I < 0 || seen[m.I] || !isHex64(m.Commitment) || m.Size < 0 {
			return e, fmt.Errorf("entry %d: message %d: number, size or commitment malformed", e.N, m.I)
		}
		seen[m.I] = true
	}
	return e, nil
}

// directory is the entry number that an exchange's directory is named after: that of its request or refusal.
func (e *entry) directory() uint64 {
	if e.Request != nil {
		return *e.Request
	}
	return e.N
}

func isHex64(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func decodeHex32(s string) (d [32]byte, err error) {
	if !isHex64(s) {
		return d, errors.New("not 64 lower-case hex digits")
	}
	_, err = hex.Decode(d[:], []byte(s))
	return d, err
}

// strictKeys refuses JSON that is not exactly one object, nests deeper than maxDepth, or has an object with two keys that are the
// same but for case: encoding/json would take the last of them, grep the first.
func strictKeys(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	type level struct {
		keys  map[string]bool // nil: an array
		value bool            // a value is due
	}
	var stack []level
	for first := true; ; first = false {
		t, err := dec.Token()
		if err != nil {
			return fmt.Errorf("not JSON: %w", err)
		}
		top := len(stack) - 1
		if d, ok := t.(json.Delim); ok {
			switch d {
			case '{', '[':
				if first && d != '{' {
					return errors.New("not a JSON object")
				}
				if top >= 0 {
					stack[top].value = false
				}
				if len(stack) == maxDepth {
					return fmt.Errorf("nested deeper than %d", maxDepth)
				}
				l := level{}
				if d == '{' {
					l.keys = map[string]bool{}
				}
				stack = append(stack, l)
			default:
				if stack = stack[:top]; len(stack) == 0 {
					if dec.More() || len(bytes.TrimSpace(b[dec.InputOffset():])) > 0 {
						return errors.New("bytes after the JSON object")
					}
					return nil
				}
			}
			continue
		}
		if top < 0 {
			return errors.New("not a JSON object")
		}
		if l := &stack[top]; l.keys != nil && !l.value {
			key := foldKey(t.(string))
			if l.keys[key] {
				return fmt.Errorf("key %.40q stands twice", key)
			}
			l.keys[key], l.value = true, true
		} else {
			l.value = false
		}
	}
}

// foldKey folds as encoding/json does when it looks for a field.
func foldKey(s string) string { return string(bytes.ToLower(bytes.ToUpper([]byte(s)))) }
