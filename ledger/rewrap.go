package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// A record is wrapped anew by replacing its data key id, nonce and wrapped key; the rest of it, and
// everything that it opens, stays byte for byte.

// rewrapBatch and rewrapBytes bound one transaction of re-wrapped records, below Badger's own bounds.
const (
	rewrapBatch = 4096
	rewrapBytes = 3 << 20
)

// wrapAnew gives a message key record under another data key.
func wrapAnew(ctx context.Context, o *opener, x uuid.UUID, i int, rec []byte, to *classKey) ([]byte, error) {
	if len(rec) != messageKeySize || rec[0] != messageKeyVersion {
		return nil, fmt.Errorf("exchange %s: key record of message %d: not of version %d", x, i, messageKeyVersion)
	}
	id := classKeyID(rec[1:17])
	ck, err := o.key(ctx, id)
	if err != nil {
		return nil, err
	}
	keys, err := ck.aead.Open(nil, rec[17:29], rec[29:109], wrapAAD(x, i, id))
	if err != nil {
		return nil, fmt.Errorf("exchange %s: key record of message %d was altered", x, i)
	}
	out, err := wrapInto(make([]byte, 0, messageKeySize), messageKeyVersion, keys, wrapAAD(x, i, to.id), to)
	clear(keys)
	return append(out, rec[109:]...), err
}

// wrapAnew gives an envelope whose key is wrapped under another data key.
func (p envelopePlace) wrapAnew(ctx context.Context, o *opener, x uuid.UUID, b []byte, to *classKey) ([]byte, error) {
	key, err := p.key(ctx, o, x, b)
	if err != nil {
		return nil, fmt.Errorf("exchange %s: %w", x, err)
	}
	out, err := wrapInto(make([]byte, 0, len(b)), envelopeVersion, key, wrapAAD(x, p.index, to.id), to)
	clear(key)
	return append(out, b[envelopeWrapped:]...), err
}

func wrapInto(b []byte, version byte, plain, aad []byte, to *classKey) ([]byte, error) {
	var nonce [12]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	b = append(append(append(b, version), to.id[:]...), nonce[:]...)
	return to.aead.Seal(b, nonce[:], plain, aad), nil
}

// sealedPlace is where a record of sealed content belongs.
type sealedPlace struct {
	x    uuid.UUID
	i    int           // of tableMessageKey
	kind exchange.Kind // of tableTerms
	at   int           // where in the value the wrapped part begins
	size int           // of the wrapped part
}

// placeOf reads the key of a record whose message key is wrapped: of tables k, r and m.
func placeOf(key []byte) (p sealedPlace, ok bool) {
	if len(key) < 17 {
		return p, false
	}
	p.x = uuid.UUID(key[1:17])
	switch {
	case key[0] == tableMessageKey && len(key) == 21:
		p.i, p.size = int(binary.BigEndian.Uint32(key[17:])), 109
	case key[0] == tableReceipt && len(key) == 17:
		p.at, p.size = 1, envelopeWrapped
	case key[0] == tableTerms && len(key) > 17:
		p.kind, p.size = exchange.Kind(key[17:]), envelopeWrapped
	default:
		return p, false
	}
	return p, true
}

// wrappedBy is the data key of a record.
func (p sealedPlace) wrappedBy(value []byte) (id classKeyID, ok bool) {
	if len(value) < p.at+p.size {
		return id, false
	}
	return classKeyID(value[p.at+1 : p.at+17]), true
}

// leftOut says whether an erasure leaves the record out.
func (s erasureState) leftOut(table byte, p sealedPlace) bool {
	if p.x.String() != string(s.Exchange) {
		return false
	}
	return table == tableReceipt || table == tableMessageKey && slices.Contains(s.Messages, p.i) ||
		table == tableTerms && slices.Contains(s.Kinds, p.kind)
}

// storeRewrapped is the holder's part of step 2. It takes nothing but records of this erasure: data keys
// under the new generation, sealed records that change only in how their key is wrapped, and index terms
// of the new generation.
func (l *Ledger) storeRewrapped(ctx context.Context, id classMonthID, records []kv) error {
	view := badgerView{l.db}
	s, ok, err := erasureUnderWay(ctx, view, id)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no erasure has begun in class-month %s", id)
	}
	keys, err := readMonthKeys(ctx, view, id)
	if err != nil {
		return err
	}
	c := rewrapCheck{l: l, s: s, keys: keys, index: keyedPrefix(classKeyName(l.opts.Origin, id.class, id.month, forContent, s.Generation))}
	for _, r := range records {
		if err := c.record(ctx, view, r); err != nil {
			return fmt.Errorf("refused record of table %q: %w", tableOf(r.key), err)
		}
	}
	return write(l.db, records, nil)
}

func tableOf(key []byte) string { return string(key[:min(1, len(key))]) }

// rewrapCheck holds one record after the other against what an erasure may change.
type rewrapCheck struct {
	l     *Ledger
	s     erasureState
	keys  monthKeys
	index []byte
}

func (c *rewrapCheck) record(ctx context.Context, v View, r kv) error {
	switch {
	case len(r.key) == 17 && r.key[0] == tableClassKey:
		return c.dataKey(ctx, v, r)
	case len(r.key) == len(c.index)+16+8 && r.key[0] == tableKeyed:
		if !bytes.HasPrefix(r.key, c.index) || len(r.value) != 0 || binary.BigEndian.Uint64(r.key[len(r.key)-8:]) >= c.l.Size() {
			return errors.New("not an index term of the new generation")
		}
		return nil
	}
	p, ok := placeOf(r.key)
	if !ok {
		return errors.New("not a record that is wrapped anew")
	}
	if c.s.leftOut(r.key[0], p) {
		return errors.New("it is among what is being erased")
	}
	now, err := v.Get(ctx, r.key)
	if err != nil {
		return fmt.Errorf("reading the record as it is: %w", err)
	}
	was, ok1 := p.wrappedBy(now)
	is, ok2 := p.wrappedBy(r.value)
	to := c.keys.ids[is]
	switch {
	case !ok1 || !ok2 || len(now) != len(r.value):
		return errors.New("its size is not that of the record as it is")
	case c.keys.ids[was].generation == 0:
		return errors.New("it is of another class-month")
	case to.generation != c.s.Generation || to.purpose != classPurpose(r.key[0] == tableReceipt):
		return errors.New("not wrapped under the new generation")
	case r.key[0] == tableReceipt && now[0] != receiptSigned:
		return errors.New("the receipt is not signed yet")
	case r.value[p.at] != now[p.at] || !bytes.Equal(r.value[:p.at], now[:p.at]) || !bytes.Equal(r.value[p.at+p.size:], now[p.at+p.size:]):
		return errors.New("it changes more than how its key is wrapped")
	}
	return nil
}

func (c *rewrapCheck) dataKey(ctx context.Context, v View, r kv) error {
	if _, err := v.Get(ctx, r.key); !errors.Is(err, ErrNotFound) {
		return errors.Join(errors.New("a data key of this id is there already"), err)
	}
	var rec classKeyRecord
	d := json.NewDecoder(bytes.NewReader(r.value))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil || len(rec.Wrapped) == 0 || len(r.value) > 4096 {
		return errors.New("a data key record is malformed")
	}
	for _, p := range []classPurpose{forContent, forReceipts} {
		if rec.Name == classKeyName(c.l.opts.Origin, c.s.Class, c.s.Month, p, c.s.Generation) {
			return nil
		}
	}
	return errors.New("a data key of another class key than the new generation's")
}

// deletePrefix deletes every key that begins with prefix, in transactions of their own.
func deletePrefix(ctx context.Context, db *badger.DB, prefix []byte) (err error) {
	defer recoverStore(&err)
	for {
		var keys [][]byte
		err := badgerView{db}.keys(ctx, prefix, nil, func(key []byte) error {
			if keys = append(keys, key); len(keys) == 4*rewrapBatch {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if len(keys) > 0 {
			if err := write(db, nil, keys); err != nil {
				return fmt.Errorf("deleting: %w", err)
			}
		}
		if err == nil {
			return nil
		}
	}
}
