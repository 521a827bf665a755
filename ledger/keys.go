package ledger

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// classKeyID names one data key of a class-month; it stands in every record that the key wraps.
type classKeyID [16]byte

// classKey is a data key in memory, ready to wrap message keys.
type classKey struct {
	id   classKeyID
	name string // of the transit key that wraps it
	aead cipher.AEAD
}

// classKeyRecord is how a data key is stored: under its id, wrapped by the transit key of that name.
type classKeyRecord struct {
	Name    string `json:"name"`
	Wrapped []byte `json:"wrapped"`
}

// classPurpose tells the two transit keys of a class-month apart.
type classPurpose bool

const (
	forContent  classPurpose = false // the gateway may not open these
	forReceipts classPurpose = true  // the gateway may: it signs pending receipts after a restart
)

// receiptKeyPrefix marks the class keys of receipts.
const receiptKeyPrefix = "r-"

// classKeyName is the name of a class-month's transit key: 16 hex digits of SHA-256(origin), class,
// month and generation; that of receipts has "r-" in front, so that a Vault policy can grant the one
// without the other (docs/decisions/0003-receipt-keys-by-prefix.md).
func classKeyName(origin, class, month string, p classPurpose, generation int) string {
	h := sha256.Sum256([]byte(origin))
	prefix := ""
	if p == forReceipts {
		prefix = receiptKeyPrefix
	}
	return fmt.Sprintf("%s%x-%s-%s-g%d", prefix, h[:8], class, month, generation)
}

// classMonth is the UTC month that a capture belongs to.
func classMonth(t time.Time) string { return t.UTC().Format("2006-01") }

// Bounds of what is kept in memory. A data key that is pushed out is asked for again.
const (
	ringSlots   = 64
	openerSlots = 1024
)

// keyring gives the data keys of this process. Each process start asks its own: the gateway may not
// unwrap what an earlier process used. Safe for concurrent use.
//
// Whoever seals holds a lease of the class-month (enter) from the first key that it takes until its item
// is in the sequencer's queue: so a switch of the generation waits for it, and, because the queue is in
// order, nothing is committed under the old generation after the entry that switched it.
type keyring struct {
	origin string
	keys   ClassKeys
	view   View
	store  func(key, value []byte) error // durable before it returns

	switching sync.Mutex // one erasure or disposal begins at a time

	mu     sync.Mutex
	months map[classMonthID]*monthState
	slots  map[string]*keySlot // by transit key name
	used   uint64              // counts uses, for the age of slots
}

// monthState is what this process knows of one class-month. Months are few: it is never forgotten.
type monthState struct {
	lease      sync.RWMutex // read: somebody seals; write: the generation is being switched
	mu         sync.Mutex
	loaded     bool
	generation int
	gone       bool      // disposed of, or being disposed of
	names      [2]string // transit keys of the generation: of content, of receipts
}

// keySlot holds what one transit key gave this process. The data key's own bytes are cleared as soon as
// the cipher is made; when a slot is dropped nothing but the sealing goroutines' own references keep it.
type keySlot struct {
	mu    sync.Mutex // held while Vault is asked: others wait for this key only
	key   *classKey
	index *indexKey
	used  uint64
}

func newKeyring(origin string, keys ClassKeys, view View, store func(key, value []byte) error) *keyring {
	return &keyring{origin: origin, keys: keys, view: view, store: store, months: map[classMonthID]*monthState{}, slots: map[string]*keySlot{}}
}

func (r *keyring) month(id classMonthID) *monthState {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.months[id]
	if m == nil {
		m = &monthState{}
		r.months[id] = m
	}
	return m
}

// enter takes a lease of a class-month; the function that it gives back returns it.
func (r *keyring) enter(class, month string) (leave func()) {
	m := r.month(classMonthID{class, month})
	m.lease.RLock()
	return m.lease.RUnlock
}

// name is that of the class-month's present transit key.
func (r *keyring) name(ctx context.Context, id classMonthID, p classPurpose) (string, error) {
	if _, err := r.generation(ctx, id); err != nil {
		return "", err
	}
	m := r.month(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[0] == "" {
		m.names = [2]string{classKeyName(r.origin, id.class, id.month, forContent, m.generation), classKeyName(r.origin, id.class, id.month, forReceipts, m.generation)}
	}
	if p == forReceipts {
		return m.names[1], nil
	}
	return m.names[0], nil
}

// generation is the class-month's present one.
func (r *keyring) generation(ctx context.Context, id classMonthID) (int, error) {
	m := r.month(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.loaded {
		g, err := readGeneration(ctx, r.view, id)
		if err != nil {
			return 0, err
		}
		m.generation, m.gone, m.loaded = g.Generation, g.Disposing || g.Disposed, true
	}
	if m.gone {
		return 0, fmt.Errorf("class-month %s: %w", id, ErrDisposed)
	}
	return m.generation, nil
}

// switched makes the ring follow what the sequencer has committed, and drops the keys of before.
func (r *keyring) switched(id classMonthID, g generationRecord) {
	m := r.month(id)
	m.mu.Lock()
	m.generation, m.gone, m.loaded, m.names = g.Generation, g.Disposing || g.Disposed, true, [2]string{}
	m.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.slots {
		if k, ok := parseClassKeyName(name); ok && k.classMonthID == id && (m.gone || k.generation != g.Generation) {
			delete(r.slots, name)
		}
	}
}

// slot gives the place of one transit key, and pushes the least recently used out when there are too many.
func (r *keyring) slot(name string) *keySlot {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used++
	s := r.slots[name]
	if s == nil {
		if len(r.slots) >= ringSlots {
			oldest := ""
			for n, x := range r.slots {
				if oldest == "" || x.used < r.slots[oldest].used {
					oldest = n
				}
			}
			delete(r.slots, oldest)
		}
		s = &keySlot{}
		r.slots[name] = s
	}
	s.used = r.used
	return s
}

// key returns this process's data key for a class-month, made and stored on first use.
func (r *keyring) key(ctx context.Context, class, month string, p classPurpose) (*classKey, error) {
	name, err := r.name(ctx, classMonthID{class, month}, p)
	if err != nil {
		return nil, err
	}
	return r.keyOf(ctx, name)
}

// keyOf returns this process's data key under one transit key.
func (r *keyring) keyOf(ctx context.Context, name string) (*classKey, error) {
	s := r.slot(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	if err := r.notDestroyed(ctx, name); err != nil {
		return nil, err
	}
	k, record, err := newDataKey(ctx, r.keys, name)
	if err != nil {
		return nil, err
	}
	if err := r.store(record.key, record.value); err != nil {
		return nil, fmt.Errorf("storing a data key of class key %s: %w", name, err)
	}
	s.key = k
	return k, nil
}

// notDestroyed refuses a transit key that this log has used and that is gone: asking a data key would make
// another of the same name. A store that still uses it is older than an erasure: a backup put back.
func (r *keyring) notDestroyed(ctx context.Context, name string) error {
	p, ok := parseClassKeyName(name)
	if !ok {
		return fmt.Errorf("class key name %q: not of a class and a month", name)
	}
	keys, err := readMonthKeys(ctx, r.view, p.classMonthID)
	if err != nil {
		return err
	}
	if _, used := keys.names[name]; !used {
		return nil
	}
	_, err = r.keys.MAC(ctx, name, []byte(indexLabel))
	if err != nil && r.keys.Destroyed(err) {
		return fmt.Errorf("class key %s: %w, and this ledger still seals under it: is it a backup of before an erasure?", name, ErrDestroyed)
	}
	if err != nil {
		return fmt.Errorf("asking whether class key %s is there: %w", name, err)
	}
	return nil
}

// newDataKey asks a data key under a transit key; the record has to be stored before the key is used.
func newDataKey(ctx context.Context, keys ClassKeys, name string) (*classKey, kv, error) {
	plain, wrapped, err := keys.DataKey(ctx, name)
	if err != nil {
		return nil, kv{}, fmt.Errorf("asking a data key of class key %s: %w", name, err)
	}
	k := &classKey{name: name}
	if _, err := rand.Read(k.id[:]); err != nil {
		return nil, kv{}, err
	}
	k.aead, err = newGCM(plain[:])
	clear(plain[:])
	if err != nil {
		return nil, kv{}, err
	}
	value, err := json.Marshal(classKeyRecord{Name: name, Wrapped: wrapped})
	if err != nil {
		return nil, kv{}, err
	}
	return k, kv{classKeyKey(k.id), value}, nil
}

// indexKey makes the terms of the keyed index of a class-month's content.
func (r *keyring) indexKey(ctx context.Context, class, month string) (*indexKey, error) {
	name, err := r.name(ctx, classMonthID{class, month}, forContent)
	if err != nil {
		return nil, err
	}
	s := r.slot(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index == nil {
		k, err := r.keys.MAC(ctx, name, []byte(indexLabel))
		if err != nil {
			return nil, fmt.Errorf("asking the index key of class key %s: %w", name, err)
		}
		s.index = newIndexKey(name, k)
	}
	return s.index, nil
}

// opener unwraps data keys that are in the store, each once. Safe for concurrent use.
type opener struct {
	view View
	keys ClassKeys

	mu   sync.Mutex
	open map[classKeyID]*classKey
	gone map[classKeyID]error // their class key was destroyed: that does not change
}

func newOpener(v View, keys ClassKeys) *opener {
	return &opener{view: v, keys: keys, open: map[classKeyID]*classKey{}, gone: map[classKeyID]error{}}
}

// forget drops every key: what it opened under a class key that was destroyed must not stay open.
func (o *opener) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.open)
}

func (o *opener) key(ctx context.Context, id classKeyID) (*classKey, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.open[id]; k != nil {
		return k, nil
	}
	if err := o.gone[id]; err != nil {
		return nil, err
	}
	b, err := o.view.Get(ctx, classKeyKey(id))
	if err != nil {
		return nil, fmt.Errorf("reading data key %x: %w", id, err)
	}
	var rec classKeyRecord
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, fmt.Errorf("reading data key %x: %w", id, err)
	}
	plain, err := o.keys.Unwrap(ctx, rec.Name, rec.Wrapped)
	if err != nil {
		if o.keys.Destroyed(err) {
			err = fmt.Errorf("class key %s: %w", rec.Name, ErrDestroyed)
			if len(o.gone) < openerSlots {
				o.gone[id] = err
			}
			return nil, err
		}
		return nil, fmt.Errorf("unwrapping data key %x by class key %s: %w: %w", id, rec.Name, ErrNoKey, err)
	}
	k := &classKey{id: id, name: rec.Name}
	k.aead, err = newGCM(plain[:])
	clear(plain[:])
	if err != nil {
		return nil, err
	}
	if len(o.open) >= openerSlots {
		clear(o.open) // rare: a reader of everything goes by time, and asks again for the few that it needs
	}
	o.open[id] = k
	return k, nil
}

// ErrDestroyed says that content can no longer be opened because its class key was destroyed.
var ErrDestroyed = errors.New("the key was destroyed")

// ErrNoKey says that content could not be checked because its key could not be had.
var ErrNoKey = errors.New("the key cannot be had")

func newGCM(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}
