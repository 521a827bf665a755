package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// The notary signs what is durable: for each signing batch one checkpoint, over the newest size whose
// HEAD is synced, and the receipts that it covers, oldest first. It never holds an append back. What
// could not be signed is tried again until it is.
const (
	notaryBatch    = 512
	notaryMinRetry = 50 * time.Millisecond
	notaryMaxRetry = 5 * time.Second
)

type notary struct {
	l *Ledger

	mu      sync.Mutex
	pending map[uuid.UUID]*pending
	order   []*pending    // by entry number
	signed  uint64        // size of the newest signed checkpoint
	grew    chan struct{} // closed and replaced when signed grows
	idle    chan struct{}
	lastErr error
	failing time.Time // since when signing fails; zero: it works

	poke    chan struct{}
	stopped chan struct{}
	started bool
}

func newNotary(l *Ledger) *notary {
	return &notary{l: l, pending: map[uuid.UUID]*pending{}, grew: make(chan struct{}), poke: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// load takes up the receipts that an earlier process left unsigned.
func (n *notary) load(ctx context.Context) error {
	view := badgerView{n.l.db}
	var err error
	if n.signed, _, err = Before(ctx, view, n.l.synced.Load().size); err != nil {
		return err
	}
	return view.Scan(ctx, []byte{tablePending}, nil, func(key, value []byte) error {
		x, err := uuid.FromBytes(value)
		if err != nil {
			return fmt.Errorf("pending receipt: %w", err)
		}
		p := &pending{exchange: x, n: binary.BigEndian.Uint64(key[1:]), done: make(chan struct{})}
		n.pending[x] = p
		n.order = append(n.order, p)
		return nil
	})
}

// recall completes a receipt of an earlier process from its sealed basis and its entry.
func (n *notary) recall(ctx context.Context, p *pending) error {
	view := badgerView{n.l.db}
	entry, err := view.Get(ctx, entryKey(p.n))
	if err != nil {
		return fmt.Errorf("reading entry %d: %w", p.n, err)
	}
	b, err := view.Get(ctx, receiptKey(p.exchange))
	if err != nil || len(b) == 0 {
		return fmt.Errorf("reading the pending receipt of entry %d: %w", p.n, err)
	}
	plain, err := openEnvelope(ctx, n.l.self, n.l.opts.Origin, p.exchange, b[1:])
	if err != nil {
		return fmt.Errorf("pending receipt of entry %d: %w", p.n, err)
	}
	if err := json.Unmarshal(plain, &p.basis); err != nil {
		return fmt.Errorf("pending receipt of entry %d: %w", p.n, err)
	}
	if p.key, err = n.l.self.key(ctx, classKeyID(b[2:18])); err != nil {
		return err
	}
	p.entry = EntryHash(entry)
	return nil
}

func (n *notary) add(p *pending) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending[p.exchange] = p
	n.order = append(n.order, p)
}

func (n *notary) waiting(x uuid.UUID) *pending {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pending[x]
}

func (n *notary) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

func (n *notary) start(ctx context.Context) {
	n.started = true
	go func() {
		defer close(n.stopped)
		n.run(ctx)
	}()
	n.wake()
}

func (n *notary) wait() {
	if n.started {
		<-n.stopped
	}
}

func (n *notary) run(ctx context.Context) {
	retry := notaryMinRetry
	for {
		again, err := n.sign(ctx)
		n.note(err)
		switch {
		case err != nil && ctx.Err() == nil:
			timer := time.NewTimer(retry)
			retry = min(2*retry, notaryMaxRetry)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			continue
		case again:
			retry = notaryMinRetry
			continue
		}
		retry = notaryMinRetry
		select {
		case <-n.poke:
		case <-ctx.Done():
			return
		}
	}
}

// note remembers whether signing works, and logs the change only.
func (n *notary) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil && n.failing.IsZero():
		n.failing = n.l.clock()
		n.l.log.Warn("signing fails; receipts are pending", "error", err.Error())
	case err == nil && !n.failing.IsZero():
		n.failing = time.Time{}
		n.l.log.Info("signing works again")
	}
	n.lastErr = err
	if len(n.order) == 0 && n.signed == n.l.synced.Load().size && n.idle != nil {
		close(n.idle)
		n.idle = nil
	}
}

// sign does one round; again says that work is left.
func (n *notary) sign(ctx context.Context) (again bool, err error) {
	m := *n.l.synced.Load()
	n.mu.Lock()
	todo := n.order[:min(len(n.order), notaryBatch)]
	for len(todo) > 0 && todo[len(todo)-1].n >= m.size {
		todo = todo[:len(todo)-1] // came after m was read
	}
	signed := n.signed
	n.mu.Unlock()
	if m.size == 0 || m.size == signed && len(todo) == 0 {
		return false, nil
	}
	var writes []kv
	if m.size > signed {
		note, err := signCheckpoint(ctx, Checkpoint{Origin: n.l.opts.Origin, Size: m.size, Root: m.root}, n.l.opts.Checkpoints)
		if err != nil {
			return false, err
		}
		writes = append(writes, kv{noteKey(m.size), note})
	}
	done, deletes, err := n.signReceipts(ctx, m, todo, &writes)
	if len(writes) > 0 {
		if werr := n.l.store(ctx, writes, deletes); werr != nil {
			return false, errors.Join(err, fmt.Errorf("storing signatures: %w", werr))
		}
	}
	n.settle(m.size, done)
	return len(todo) > 0, err
}

// signReceipts signs todo over tree m and adds what is to be stored.
func (n *notary) signReceipts(ctx context.Context, m mark, todo []*pending, writes *[]kv) (done []*pending, deletes [][]byte, err error) {
	var payloads [][]byte
	var ready []*pending
	for _, p := range todo {
		if p.key == nil {
			if rerr := n.recall(ctx, p); rerr != nil {
				err = errors.Join(err, rerr)
				continue
			}
		}
		payload, perr := p.payload(n.l.opts.Origin, m)
		if perr != nil {
			return nil, nil, perr
		}
		payloads, ready = append(payloads, payload), append(ready, p)
	}
	if len(payloads) == 0 {
		return nil, nil, err
	}
	signed, serr := n.l.opts.Receipts.SignReceipts(ctx, payloads)
	if serr != nil {
		return nil, nil, errors.Join(err, fmt.Errorf("signing receipts: %w", serr))
	}
	if len(signed) != len(payloads) {
		return nil, nil, fmt.Errorf("signing receipts: %d answers to %d payloads", len(signed), len(payloads))
	}
	for i, s := range signed {
		p := ready[i]
		if s.Err != nil {
			err = errors.Join(err, fmt.Errorf("signing the receipt of entry %d: %w", p.n, s.Err))
			continue
		}
		env, eerr := sealEnvelope(n.l.opts.Origin, p.exchange, []byte(s.Compact), p.key)
		if eerr != nil {
			return nil, nil, eerr
		}
		p.compact = s.Compact
		*writes = append(*writes, kv{receiptKey(p.exchange), append([]byte{receiptSigned}, env...)})
		deletes = append(deletes, pendingKey(p.n))
		done = append(done, p)
	}
	return done, deletes, err
}

// settle answers those who wait for a receipt.
func (n *notary) settle(size uint64, done []*pending) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if size > n.signed {
		n.signed = size
		close(n.grew)
		n.grew = make(chan struct{})
	}
	gone := make(map[*pending]bool, len(done))
	for _, p := range done {
		gone[p] = true
		delete(n.pending, p.exchange)
		close(p.done)
	}
	rest := n.order[:0:0]
	for _, p := range n.order {
		if !gone[p] {
			rest = append(rest, p)
		}
	}
	n.order = rest
}

// await waits until a checkpoint of at least the given size is signed.
func (n *notary) await(ctx context.Context, size uint64) error {
	for {
		n.mu.Lock()
		enough, grew := n.signed >= size, n.grew
		n.mu.Unlock()
		if enough {
			return nil
		}
		n.wake()
		select {
		case <-grew:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain waits until everything is signed or ctx ends.
func (n *notary) drain(ctx context.Context) {
	n.mu.Lock()
	if n.idle == nil {
		n.idle = make(chan struct{})
	}
	idle := n.idle
	n.mu.Unlock()
	n.wake()
	select {
	case <-idle:
	case <-n.stopped:
	case <-ctx.Done():
	}
}

// Unsigned is the number of receipts that wait for their signature, and since when signing fails
// (zero: it works).
func (l *Ledger) Unsigned() (count int, failing time.Time) {
	l.notary.mu.Lock()
	defer l.notary.mu.Unlock()
	return len(l.notary.order), l.notary.failing
}
