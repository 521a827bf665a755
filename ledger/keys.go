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

// keyring gives the data keys of this process. Each process start asks its own: the gateway may not
// unwrap what an earlier process used. Safe for concurrent use.
type keyring struct {
	origin string
	keys   ClassKeys
	store  func(key, value []byte) error // durable before it returns

	mu    sync.Mutex
	data  map[string]*classKey
	index map[string]*indexKey
}

func newKeyring(origin string, keys ClassKeys, store func(key, value []byte) error) *keyring {
	return &keyring{origin: origin, keys: keys, store: store, data: map[string]*classKey{}, index: map[string]*indexKey{}}
}

// key returns this process's data key for a class-month, made and stored on first use.
func (r *keyring) key(ctx context.Context, class, month string, p classPurpose) (*classKey, error) {
	name := classKeyName(r.origin, class, month, p, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.data[name]; k != nil {
		return k, nil
	}
	plain, wrapped, err := r.keys.DataKey(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("asking a data key of class key %s: %w", name, err)
	}
	k := &classKey{name: name}
	if _, err := rand.Read(k.id[:]); err != nil {
		return nil, err
	}
	if k.aead, err = newGCM(plain[:]); err != nil {
		return nil, err
	}
	value, err := json.Marshal(classKeyRecord{Name: name, Wrapped: wrapped})
	if err != nil {
		return nil, err
	}
	if err := r.store(classKeyKey(k.id), value); err != nil {
		return nil, fmt.Errorf("storing a data key of class key %s: %w", name, err)
	}
	r.data[name] = k
	return k, nil
}

// indexKey gives the terms of the keyed index of a class-month's content.
func (r *keyring) indexKey(ctx context.Context, class, month string) (*indexKey, error) {
	name := classKeyName(r.origin, class, month, forContent, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.index[name]; k != nil {
		return k, nil
	}
	key, err := r.keys.MAC(ctx, name, []byte(indexLabel))
	if err != nil {
		return nil, fmt.Errorf("asking the index key of class key %s: %w", name, err)
	}
	k := newIndexKey(name, key)
	r.index[name] = k
	return k, nil
}

// opener unwraps data keys that are in the store, each once. Safe for concurrent use.
type opener struct {
	view View
	keys ClassKeys

	mu   sync.Mutex
	open map[classKeyID]*classKey
}

func newOpener(v View, keys ClassKeys) *opener {
	return &opener{view: v, keys: keys, open: map[classKeyID]*classKey{}}
}

func (o *opener) key(ctx context.Context, id classKeyID) (*classKey, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k := o.open[id]; k != nil {
		return k, nil
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
			return nil, fmt.Errorf("class key %s: %w", rec.Name, ErrDestroyed)
		}
		return nil, fmt.Errorf("unwrapping data key %x by class key %s: %w: %w", id, rec.Name, ErrNoKey, err)
	}
	k := &classKey{id: id, name: rec.Name}
	if k.aead, err = newGCM(plain[:]); err != nil {
		return nil, err
	}
	o.open[id] = k
	return k, nil
}

// ErrDestroyed says that content can no longer be opened because its class key was destroyed.
var ErrDestroyed = errors.New("the key was destroyed (content disposed of or erased)")

// ErrNoKey says that content could not be checked because its key could not be had.
var ErrNoKey = errors.New("the key cannot be had")

func newGCM(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}
