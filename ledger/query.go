package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Stored is an entry as it stands in the log: its bytes and their reading.
type Stored struct {
	N     uint64
	Bytes []byte
	*Entry
}

// Entry gives entry n, checked to be number n.
func (l *Log) Entry(ctx context.Context, n uint64) (Stored, error) {
	b, err := l.Get(ctx, entryKey(n))
	if err != nil {
		return Stored{}, fmt.Errorf("reading entry %d: %w", n, err)
	}
	e, err := DecodeEntry(b)
	if err != nil {
		return Stored{}, fmt.Errorf("entry %d: %w", n, err)
	}
	if e.N != n {
		return Stored{}, fmt.Errorf("entry %d says that it is entry %d", n, e.N)
	}
	return Stored{N: n, Bytes: b, Entry: e}, nil
}

// ErrExchangeID says that what was given as an exchange's id is none.
var ErrExchangeID = errors.New("not the id of an exchange")

// Exchange gives the entries of an exchange in order; ErrNotFound when there are none.
func (l *Log) Exchange(ctx context.Context, id exchange.ID) ([]Stored, error) {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return nil, fmt.Errorf("%q: %w: it is a UUID", id, ErrExchangeID)
	}
	var all []Stored
	var ns []uint64
	err = l.Scan(ctx, exchangeTableKey(tableExchange, x), nil, func(key, _ []byte) error {
		ns = append(ns, binary.BigEndian.Uint64(key[17:]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, n := range ns {
		s, err := l.Entry(ctx, n)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("exchange %s: %w", id, ErrNotFound)
	}
	return all, nil
}

// isOpen tells whether an exchange has a request that no entry has closed yet.
func (l *Log) isOpen(ctx context.Context, id exchange.ID) (bool, error) {
	entries, err := l.Exchange(ctx, id)
	open := false
	for _, e := range entries {
		switch e.Kind {
		case exchange.KindRequest:
			open = true
		case exchange.KindResponse, exchange.KindFailure, KindRecovery:
			open = false
		}
	}
	return open, err
}

// Opener opens sealed content and receipts of a log with the class keys that its user may use.
type Opener struct {
	log *Log
	o   *opener
}

// NewOpener binds a log to class keys.
func NewOpener(l *Log, keys ClassKeys) *Opener { return &Opener{l, newOpener(l.View, keys)} }

// Content opens one message and checks it against its commitment: ErrErased. The caller records the access first.
func (o *Opener) Content(ctx context.Context, id exchange.ID, ref MessageRef) (Content, error) {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return Content{}, fmt.Errorf("exchange id %q is no UUID", id)
	}
	c, err := openMessage(ctx, o.o, o.log.Origin(), x, ref)
	return c, o.log.explain(ctx, id, ref.I, err)
}

// Body writes the body of one message to w in flat memory. It is checked against its commitment before
// the first byte is written. The caller records the access first.
func (o *Opener) Body(ctx context.Context, id exchange.ID, ref MessageRef, w io.Writer) error {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return fmt.Errorf("exchange id %q is no UUID", id)
	}
	m, err := unlock(ctx, o.o, o.log.Origin(), x, ref)
	if err != nil {
		return err
	}
	if err := m.copyTo(ctx, io.Discard, io.Discard); err != nil {
		return err
	}
	return m.copyTo(ctx, io.Discard, w)
}

// Receipt opens the stored receipt of an exchange: ErrPending, ErrNotFound, ErrErased.
func (o *Opener) Receipt(ctx context.Context, id exchange.ID) (string, error) {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return "", fmt.Errorf("exchange id %q is no UUID", id)
	}
	compact, err := readReceipt(ctx, o.o, o.log.Origin(), x)
	return compact, o.log.explain(ctx, id, receiptOf, err)
}

// Query says which entries are wanted; empty fields ask nothing.
type Query struct {
	Operation   string
	Participant string
	Outcome     string    // outcome code, fault code or reason
	Key         string    // IUV, notice number, payment token, …: looked for under every name
	From, To    time.Time // From inclusive, To exclusive
	Limit       int       // 0: 1,000
}

// keyedNames are the names under which a business key is looked for.
var keyedNames = []string{"iuv", "notice", "ccp", "paymentToken", "transactionId", "idempotencyKey", "idFlusso", "cartId", "iupd", "creditor",
	"idPSP", "idBrokerPA", "idBrokerPSP", "amount", "postalAccount", "idSoggettoServizio", "standIn", "faultId", "outcome"}

// Search gives the entries that match all of q, newest last. keys is needed only when q asks for Key.
func (l *Log) Search(ctx context.Context, q Query, keys ClassKeys) ([]Stored, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = 1000
	}
	var sets []map[uint64]bool
	for _, t := range []struct {
		kind  byte
		value string
	}{{termOperation, q.Operation}, {termParticipant, q.Participant}, {termOutcome, q.Outcome}} {
		if t.value == "" {
			continue
		}
		s, err := l.numbers(ctx, plainTerm(t.kind, t.value))
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	if q.Key != "" {
		s, err := l.keyed(ctx, q.Key, keys)
		if err != nil {
			return nil, err
		}
		sets = append(sets, s)
	}
	if len(sets) == 0 {
		return l.between(ctx, q.From, q.To, limit)
	}
	var ns []uint64
	for n := range sets[0] {
		in := true
		for _, s := range sets[1:] {
			in = in && s[n]
		}
		if in {
			ns = append(ns, n)
		}
	}
	sort.Slice(ns, func(i, j int) bool { return ns[i] < ns[j] })
	var out []Stored
	for _, n := range ns {
		s, err := l.Entry(ctx, n)
		if err != nil {
			return nil, err
		}
		if within(s.Time.Time, q.From, q.To) {
			if out = append(out, s); len(out) == limit {
				break
			}
		}
	}
	return out, nil
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// numbers are the entry numbers under one index term.
func (l *Log) numbers(ctx context.Context, term []byte) (map[uint64]bool, error) {
	s := map[uint64]bool{}
	err := scanTerm(ctx, l, term, func(n uint64) error {
		s[n] = true
		return nil
	})
	return s, err
}

// keyed looks a business key up in the keyed index of every class-month that is alive.
func (l *Log) keyed(ctx context.Context, value string, keys ClassKeys) (map[uint64]bool, error) {
	if keys == nil {
		return nil, errors.New("a search by business key needs the class keys")
	}
	names, err := l.classKeyNames(ctx)
	if err != nil {
		return nil, err
	}
	found := map[uint64]bool{}
	for _, name := range names {
		key, err := keys.MAC(ctx, name, []byte(indexLabel))
		if err != nil {
			if keys.Destroyed(err) {
				continue
			}
			return nil, fmt.Errorf("asking the index key of class key %s: %w", name, err)
		}
		terms := newIndexKey(name, key)
		for _, k := range keyedNames {
			s, err := l.numbers(ctx, terms.term(k, value))
			if err != nil {
				return nil, err
			}
			for n := range s {
				found[n] = true
			}
		}
	}
	for kind := range map[byte]bool{termStation: true, termChannel: true} {
		s, err := l.numbers(ctx, plainTerm(kind, value))
		if err != nil {
			return nil, err
		}
		for n := range s {
			found[n] = true
		}
	}
	return found, nil
}

// classKeyNames are the transit keys of content that the log has used.
func (l *Log) classKeyNames(ctx context.Context) ([]string, error) {
	seen := map[string]bool{}
	var names []string
	err := l.Scan(ctx, []byte{tableClassKey}, nil, func(_, value []byte) error {
		var r classKeyRecord
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("data key record: %w", err)
		}
		if !seen[r.Name] && !strings.HasPrefix(r.Name, receiptKeyPrefix) {
			seen[r.Name] = true
			names = append(names, r.Name)
		}
		return nil
	})
	return names, err
}

// between gives entries by time. Time never goes backwards, so the first is found by halving.
func (l *Log) between(ctx context.Context, from, to time.Time, limit int) ([]Stored, error) {
	var failed error
	first := sort.Search(int(l.Head.Size), func(i int) bool {
		s, err := l.Entry(ctx, uint64(i))
		if err != nil {
			failed = errors.Join(failed, err)
			return true
		}
		return from.IsZero() || !s.Time.Before(from)
	})
	if failed != nil {
		return nil, failed
	}
	var out []Stored
	for n := uint64(first); n < l.Head.Size && len(out) < limit; n++ {
		s, err := l.Entry(ctx, n)
		if err != nil {
			return nil, err
		}
		if !to.IsZero() && !s.Time.Before(to) {
			break
		}
		out = append(out, s)
	}
	return out, nil
}

// Segment calls fn for the entries first..last of an own chain, in order of k.
func (l *Log) Segment(ctx context.Context, own string, first, last uint64, fn func(Stored) error) error {
	next := first
	err := scanOwn(ctx, l, own, first, func(k, n uint64) error {
		if k > last {
			return errStop
		}
		if k != next {
			return fmt.Errorf("own chain %s: k %d is missing from its index", own, next)
		}
		next++
		s, err := l.Entry(ctx, n)
		if err != nil {
			return err
		}
		if s.Own.P != own || s.Own.K != k {
			return fmt.Errorf("own chain %s: entry %d is not its k %d", own, s.N, k)
		}
		return fn(s)
	})
	switch {
	case err != nil && !errors.Is(err, errStop):
		return err
	case next <= last:
		return fmt.Errorf("own chain %s: looking up k %d: %w", own, next, ErrNotFound)
	}
	return nil
}

// Chains gives every own chain and the number of its entries.
func (l *Log) Chains(ctx context.Context) (map[string]uint64, error) {
	out := map[string]uint64{}
	err := l.Scan(ctx, []byte{tableOwn}, nil, func(key, value []byte) error {
		var s ownState
		if err := json.Unmarshal(value, &s); err != nil {
			return fmt.Errorf("own chain %s: %w", key[1:], err)
		}
		out[string(key[1:])] = s.K
		return nil
	})
	return out, err
}
