package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Erasing is in three steps, and a kill between any two loses nothing and erases nothing by half:
//
//  1. The process that holds the ledger writes the erasure entry; in the same transaction the class-month
//     gets a new generation and a note of what is left out. From here on nothing is sealed under the old keys.
//  2. The verb, which has the right to decrypt, wraps every key of the old generations anew, but for those
//     that are left out, until a scan finds none.
//  3. The verb destroys the old transit keys. Then the holder sees that they are gone and drops what they sealed.

// ErasureRequest says what is to be erased and why.
type ErasureRequest struct {
	By       Actor       `json:"by"`
	Exchange exchange.ID `json:"exchange"`
	Messages []int       `json:"messages"` // empty: all of the exchange
	Ground   string      `json:"ground"`   // authority, subject or retention
	// Reference is why, in words: an act's number and date. It becomes sealed content.
	Reference string `json:"reference"`
}

// Grounds of an erasure.
const (
	GroundAuthority = "authority" // an authority or a court ordered it
	GroundSubject   = "subject"   // a data subject asked for it
	GroundRetention = "retention" // the duty to keep is over
)

// maxReference bounds a reference in bytes.
const maxReference = 4096

func checkReference(text string) error {
	if text == "" || len(text) > maxReference {
		return fmt.Errorf("reference: 1 to %d bytes that say by which act", maxReference)
	}
	return nil
}

// erasureState is a class-month whose old generations are to be destroyed.
type erasureState struct {
	Class      string          `json:"class"`
	Month      string          `json:"month"`
	Generation int             `json:"generation"`
	Exchange   exchange.ID     `json:"exchange"`
	Messages   []int           `json:"messages"`
	Kinds      []exchange.Kind `json:"kinds"`
}

func (s erasureState) id() classMonthID { return classMonthID{s.Class, s.Month} }

// ErrErasing says that another erasure of the class-month has begun and must be ended first.
var ErrErasing = errors.New("another erasure of this class-month has begun and is not ended")

// ErrOpenExchange says that an exchange has no closing entry yet.
var ErrOpenExchange = errors.New("the exchange is still open")

// erasable is what the entries of an exchange say of an erasure of some of its messages.
type erasable struct {
	own      string
	messages []int
	kinds    []exchange.Kind
	next     int // number of the exchange's next message
}

// erasableOf checks which messages can be erased. Those by which an erasure gave its reason cannot.
func (l *Log) erasableOf(ctx context.Context, id exchange.ID, messages []int) (erasable, error) {
	entries, err := l.Exchange(ctx, id)
	if err != nil {
		return erasable{}, err
	}
	e := erasable{own: entries[0].Own.P}
	if _, _, ok := cutOwn(e.own); !ok || entries[0].Disposal != nil || entries[0].Acceptance != nil {
		return e, fmt.Errorf("exchange %s: not one of a principal", id)
	}
	kindOf := map[int]exchange.Kind{}
	for _, s := range entries {
		for _, m := range s.Messages {
			e.next = max(e.next, m.I+1)
			if s.Erasure == nil {
				kindOf[m.I] = s.Kind
			}
		}
	}
	if len(messages) == 0 {
		for i := range kindOf {
			by, err := l.ErasedBy(ctx, id, i)
			if err != nil {
				return e, err
			}
			if by == nil {
				messages = append(messages, i)
			}
		}
		if len(messages) == 0 {
			return e, fmt.Errorf("exchange %s: every message of it is %w already", id, ErrErased)
		}
	}
	for _, i := range messages {
		kind, ok := kindOf[i]
		if !ok {
			return e, fmt.Errorf("exchange %s has no message %d that can be erased", id, i)
		}
		by, err := l.ErasedBy(ctx, id, i)
		if err != nil {
			return e, err
		}
		if by != nil {
			return e, fmt.Errorf("message %d: %w", i, by)
		}
		if !slices.Contains(e.messages, i) {
			e.messages = append(e.messages, i)
		}
		if !slices.Contains(e.kinds, kind) {
			e.kinds = append(e.kinds, kind)
		}
	}
	slices.Sort(e.messages)
	return e, nil
}

// classMonthOf is the class-month under whose keys message i is sealed.
func classMonthOf(ctx context.Context, v View, x uuid.UUID, i int) (classMonthID, error) {
	rec, err := v.Get(ctx, messageKeyKey(x, i))
	if err != nil {
		return classMonthID{}, fmt.Errorf("reading the key of message %d: %w", i, err)
	}
	if len(rec) != messageKeySize {
		return classMonthID{}, fmt.Errorf("key record of message %d is malformed", i)
	}
	b, err := v.Get(ctx, classKeyKey(classKeyID(rec[1:17])))
	if err != nil {
		return classMonthID{}, fmt.Errorf("reading the data key of message %d: %w", i, err)
	}
	var r classKeyRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return classMonthID{}, fmt.Errorf("reading the data key of message %d: %w", i, err)
	}
	p, ok := parseClassKeyName(r.Name)
	if !ok {
		return classMonthID{}, fmt.Errorf("message %d is sealed under %q, which is no class key", i, r.Name)
	}
	return p.classMonthID, nil
}

// beginErasure is step 1. Asked again for what has begun already, it gives the same answer.
func (l *Ledger) beginErasure(ctx context.Context, q ErasureRequest) (erasureState, error) {
	var none erasureState
	if err := errors.Join(checkReference(q.Reference), checkGround(q.Ground)); err != nil {
		return none, err
	}
	x, err := uuid.Parse(string(q.Exchange))
	if err != nil || x.String() != string(q.Exchange) {
		return none, fmt.Errorf("exchange id %q is no UUID in canonical form", q.Exchange)
	}
	log, err := l.Log(ctx)
	if err != nil {
		return none, err
	}
	l.ring.switching.Lock()
	defer l.ring.switching.Unlock()
	e, err := log.erasableOf(ctx, q.Exchange, q.Messages)
	if err != nil {
		return none, err
	}
	if open, err := log.isOpen(ctx, q.Exchange); err != nil {
		return none, err
	} else if open {
		return none, fmt.Errorf("exchange %s: %w", q.Exchange, ErrOpenExchange)
	}
	id, err := classMonthOf(ctx, log, x, e.messages[0])
	if err != nil {
		return none, err
	}
	g, err := readGeneration(ctx, log, id)
	switch {
	case err != nil:
		return none, err
	case g.Disposing || g.Disposed:
		return none, fmt.Errorf("class-month %s: %w", id, ErrDisposed)
	case g.Erasing != nil:
		return none, fmt.Errorf("class-month %s, exchange %s: %w", id, g.Erasing.Exchange, ErrErasing)
	}
	keys, err := readMonthKeys(ctx, log, id)
	if err != nil {
		return none, err
	}
	g.Generation = max(g.Generation, keys.newest()) + 1
	g.Erasing = &erasing{Exchange: q.Exchange, Messages: e.messages, Kinds: e.kinds}
	if err := l.switchGeneration(ctx, x, id, g, e, q); err != nil {
		return none, err
	}
	l.self.forget()
	return erasureState{id.class, id.month, g.Generation, q.Exchange, e.messages, e.kinds}, nil
}

func checkGround(ground string) error {
	if !slices.Contains([]string{GroundAuthority, GroundSubject, GroundRetention}, ground) {
		return fmt.Errorf("ground %q: authority, subject or retention", ground)
	}
	return nil
}

// switchGeneration commits the erasure entry together with the new generation, while nobody seals in the
// class-month: whoever had the old key has queued what it sealed before.
func (l *Ledger) switchGeneration(ctx context.Context, x uuid.UUID, id classMonthID, g generationRecord, e erasable, q ErasureRequest) error {
	var ck *classKey
	for _, p := range []classPurpose{forReceipts, forContent} {
		var err error
		if ck, err = l.ring.keyOf(ctx, classKeyName(l.opts.Origin, id.class, id.month, p, g.Generation)); err != nil {
			return err
		}
	}
	it, err := l.explained(x, Tail{Kind: KindErasure, Exchange: q.Exchange, By: &q.By,
		Erasure: &Erasure{Class: id.class, Month: id.month, Generation: g.Generation, Ground: q.Ground, Messages: e.messages}},
		e.own, e.next, reason{Ground: q.Ground}, q.Reference, ck)
	if err != nil {
		return err
	}
	state, err := g.write(id)
	if err != nil {
		return err
	}
	it.writes = append(it.writes, state)
	m := l.ring.month(id)
	m.lease.Lock()
	defer m.lease.Unlock()
	// Not to be given up half way: nobody may seal before it is known whether the entry is there.
	if _, err := l.append(context.WithoutCancel(ctx), it); err != nil {
		return fmt.Errorf("writing the erasure entry: %w", err)
	}
	l.ring.switched(id, g)
	return nil
}

// reason is the head of the message by which an erasure or a disposal gives its reason; the reference is
// its body.
type reason struct {
	V      int    `json:"v"`
	Ground string `json:"ground"`
}

// explained is an item whose reason is sealed as message i of x.
func (l *Ledger) explained(x uuid.UUID, t Tail, own string, i int, why reason, reference string, ck *classKey) (*item, error) {
	why.V = 1
	head, err := json.Marshal(why)
	if err != nil {
		return nil, err
	}
	s, err := newSealer(l.opts.Origin, x, i)
	if err != nil {
		return nil, fmt.Errorf("sealing the reason: %w", err)
	}
	m := exchange.Message{Points: []exchange.Point{}, Head: head, Body: []byte(reference)}
	t.Messages = []MessageRef{s.reference(m, int64(len(m.Body)), m.Digest())}
	it, err := l.logItem(own, t)
	if err != nil {
		return nil, err
	}
	it.enclosed = s.enclose(nil, m, ck)
	return it, nil
}

// erasureUnderWay is what has begun in a class-month; ok is false when nothing has.
func erasureUnderWay(ctx context.Context, v View, id classMonthID) (s erasureState, ok bool, err error) {
	g, err := readGeneration(ctx, v, id)
	if err != nil || g.Erasing == nil {
		return s, false, err
	}
	return erasureState{id.class, id.month, g.Generation, g.Erasing.Exchange, g.Erasing.Messages, g.Erasing.Kinds}, true, nil
}

// endErasure is the end of step 3: it sees that the old keys are destroyed and drops what they sealed.
func (l *Ledger) endErasure(ctx context.Context, id classMonthID) error {
	l.ring.switching.Lock()
	defer l.ring.switching.Unlock()
	view := badgerView{l.db}
	s, ok, err := erasureUnderWay(ctx, view, id)
	if err != nil || !ok {
		return err
	}
	keys, err := readMonthKeys(ctx, view, id)
	if err != nil {
		return err
	}
	old := keys.before(s.Generation)
	if err := l.destroyed(ctx, old); err != nil {
		return err
	}
	for name := range old.names {
		if err := deletePrefix(ctx, l.db, keyedPrefix(name)); err != nil {
			return err
		}
	}
	x, err := uuid.Parse(string(s.Exchange))
	if err != nil {
		return err
	}
	drop := [][]byte{receiptKey(x)}
	for _, k := range s.Kinds {
		drop = append(drop, termsKey(x, k))
	}
	enclosed := enclosureDrop{db: l.db}
	err = enclosed.drop(ctx, x, func(table byte, rest []byte) bool {
		return table == tableReceipt || table == tableTerms && slices.Contains(s.Kinds, exchange.Kind(rest))
	})
	for _, i := range s.Messages {
		err = errors.Join(err, enclosed.drop(ctx, x, ofMessage(i)))
	}
	if err != nil {
		return fmt.Errorf("dropping what was erased: %w", err)
	}
	for _, i := range s.Messages {
		chunks, err := chunksOf(ctx, l.db, x, i)
		if err != nil {
			return err
		}
		drop = append(append(drop, chunks...), messageKeyKey(x, i))
	}
	for id := range old.ids {
		drop = append(drop, classKeyKey(id))
	}
	g, err := (generationRecord{Generation: s.Generation}).write(id)
	if err != nil {
		return err
	}
	if err := write(l.db, append(enclosed.writes(), g), drop); err != nil {
		return fmt.Errorf("dropping what was erased: %w", err)
	}
	l.self.forget()
	return nil
}

// destroyed makes sure that transit keys are gone: what they sealed is dropped on no one's word.
func (l *Ledger) destroyed(ctx context.Context, keys monthKeys) error {
	for name := range keys.names {
		_, err := l.opts.Keys.MAC(ctx, name, []byte(indexLabel))
		switch {
		case err == nil:
			return fmt.Errorf("class key %s is not destroyed", name)
		case !l.opts.Keys.Destroyed(err):
			return fmt.Errorf("asking whether class key %s is destroyed: %w", name, err)
		}
	}
	return nil
}

// chunksOf are the keys of a message's chunks that stand by themselves.
func chunksOf(ctx context.Context, db *badger.DB, x uuid.UUID, i int) (keys [][]byte, err error) {
	defer recoverStore(&err)
	for _, s := range []uint32{headStream(i), bodyStream(i)} {
		prefix := binary.BigEndian.AppendUint32(exchangeTableKey(tableChunk, x), s)
		if err := (badgerView{db}).keys(ctx, prefix, nil, func(key []byte) error { keys = append(keys, key); return nil }); err != nil {
			return nil, fmt.Errorf("looking for the chunks of message %d: %w", i, err)
		}
	}
	return keys, nil
}
