package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// ErrErased says that content cannot be opened any more, and that an entry says why: *ErasedError.
var ErrErased = errors.New("erased")

// ErasedError names the entry that says why content is gone. It is ErrErased.
type ErasedError struct {
	Entry    uint64
	Disposed bool // with its whole class-month
}

// Error names the entry.
func (e *ErasedError) Error() string {
	if e.Disposed {
		return fmt.Sprintf("disposed of with its class-month by entry %d", e.Entry)
	}
	return fmt.Sprintf("erased by entry %d", e.Entry)
}

// Is makes it ErrErased.
func (e *ErasedError) Is(target error) bool { return target == ErrErased }

// ErrUnexplained says that a key was destroyed although no entry says that it was to be.
var ErrUnexplained = errors.New("key destroyed without an erasure entry")

// receiptOf stands for an exchange's receipt in the place of a message's number.
const receiptOf = -1

// ErasedBy looks for the entry by which message i of an exchange was erased or disposed of; a negative i
// asks for the receipt, which goes with any message of its exchange. nil when there is none. It needs
// nothing but the log and keeps no state, so it may be called in any order and by many.
func (l *Log) ErasedBy(ctx context.Context, id exchange.ID, i int) (*ErasedError, error) {
	entries, err := l.Exchange(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Erasure != nil && (i < 0 || slices.Contains(e.Erasure.Messages, i)) {
			return &ErasedError{Entry: e.N}, nil
		}
	}
	first := entries[0]
	_, class, ok := cutOwn(first.Own.P)
	if !ok {
		return nil, nil
	}
	// The class-month is that of the capture, which the id's time is; the first entry came at once.
	months := []string{classMonth(first.Time.Time)}
	if t, ok := idTime(id); ok && classMonth(t) != months[0] {
		months = append(months, classMonth(t))
	}
	for _, month := range months {
		found, err := l.disposals(ctx, classMonthID{class, month})
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if d.Own.P == first.Own.P {
				return &ErasedError{Entry: d.N, Disposed: true}, nil
			}
		}
	}
	return nil, nil
}

// disposals are the disposal entries of a class-month, one for each own chain.
func (l *Log) disposals(ctx context.Context, id classMonthID) ([]Stored, error) {
	ns, err := l.numbers(ctx, plainTerm(termDisposal, id.String()))
	if err != nil {
		return nil, err
	}
	var out []Stored
	for n := range ns {
		e, err := l.Entry(ctx, n)
		if err != nil {
			return nil, err
		}
		if d := e.Disposal; d != nil && d.Class == id.class && d.Month == id.month {
			out = append(out, e)
		}
	}
	return out, nil
}

// explain gives the error of opening content its reason, where an entry states one.
func (l *Log) explain(ctx context.Context, id exchange.ID, i int, err error) error {
	if !errors.Is(err, ErrDestroyed) && !errors.Is(err, ErrAbsent) && !(i < 0 && errors.Is(err, ErrNotFound)) {
		return err
	}
	by, lerr := l.ErasedBy(ctx, id, i)
	switch {
	case lerr != nil:
		return errors.Join(err, lerr)
	case by != nil:
		return by
	case errors.Is(err, ErrDestroyed):
		return fmt.Errorf("%w: %w", ErrUnexplained, err)
	}
	return err
}

// cutOwn takes the name of a principal's own chain apart.
func cutOwn(own string) (principal, class string, ok bool) {
	cut := strings.LastIndexByte(own, '/')
	if cut < 0 {
		return "", "", false
	}
	return own[:cut], own[cut+1:], true
}

// idTime is the time that an exchange id carries (UUIDv7, RFC 9562 section 5.7).
func idTime(id exchange.ID) (time.Time, bool) {
	x, err := uuid.Parse(string(id))
	if err != nil || x.Version() != 7 {
		return time.Time{}, false
	}
	ms := int64(0)
	for _, b := range x[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms), true
}

// entryKind reads the kind out of an entry's bytes without decoding them: no value before it can hold a
// quotation mark.
func entryKind(b []byte) exchange.Kind {
	const mark = `"kind":"`
	at := bytes.Index(b, []byte(mark))
	if at < 0 {
		return ""
	}
	b = b[at+len(mark):]
	if end := bytes.IndexByte(b, '"'); end >= 0 {
		return exchange.Kind(b[:end])
	}
	return ""
}
