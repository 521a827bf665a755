package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// The notary signs what is durable, in goroutines of its own that never hold an append back:
//
//   - the checkpointer signs the newest size whose HEAD is synced, and stores it;
//   - the receipt signer signs receipts that a stored checkpoint covers, oldest first;
//   - the cosigner, when witnesses are configured, collects their cosignatures.
//
// The checkpointer is one checkpoint ahead at most: while a batch of receipts is being signed over one
// tree, the next tree is signed already. What could not be signed is tried again until it is.
const (
	notaryBatch    = 512
	notaryMinRetry = 50 * time.Millisecond
	notaryMaxRetry = 5 * time.Second
)

// Parts of the notary whose failing is told apart.
const (
	checkpointFault = iota
	receiptFault
	faults
)

type notary struct {
	l *Ledger

	mu      sync.Mutex
	pending map[uuid.UUID]*pending // not signed yet
	queue   pendingQueue           // of them, those that have not failed by themselves, by entry number
	aside   []*pending             // of them, those whose own signature failed
	tree    mark                   // of the newest checkpoint that is signed and stored
	wanted  uint64                 // greatest size that somebody waits for
	busy    bool                   // a batch of receipts is at the signer,
	under   uint64                 // over the tree of this size
	grew    chan struct{}          // closed and replaced when tree grows, and when the log is found forked
	acked   chan struct{}          // closed and replaced when entries were acknowledged
	idle    chan struct{}          // closed when nothing is left to sign; nil: nobody asked
	err     [faults]error          // why signing fails
	failing time.Time              // since when it fails; zero: it works
	forked  error                  // set once: nothing is signed any more

	cosigner *cosigner     // nil: no witnesses
	gate     chan struct{} // closed when the witnesses had their say about the newest stored checkpoint

	pokeTree     chan struct{}
	pokeReceipts chan struct{}
	halt         context.CancelFunc
	workers      sync.WaitGroup
	stopped      chan struct{}
	started      bool
}

func newNotary(l *Ledger) *notary {
	return &notary{l: l, pending: map[uuid.UUID]*pending{}, grew: make(chan struct{}), acked: make(chan struct{}),
		gate: make(chan struct{}), pokeTree: make(chan struct{}, 1), pokeReceipts: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// load holds the newest stored checkpoint against the tree, and takes up the receipts that an earlier
// process left unsigned.
func (n *notary) load(ctx context.Context) error {
	view := badgerView{n.l.db}
	m := *n.l.synced.Load()
	if m.size > 0 {
		// The store may be ahead of HEAD after a crash; no size may be signed that HEAD does not hold.
		if err := n.l.head.write(headMark{Size: m.size, Last: m.last, Root: m.root}); err != nil {
			return err
		}
	}
	var err error
	if n.tree, err = newestSigned(ctx, view, n.l.opts.Origin, m.size); err != nil {
		return err
	}
	if n.cosigner, err = newCosigner(ctx, n, n.l.opts.Witnesses); err != nil {
		return err
	}
	return n.takeUp(ctx, view, m.size)
}

// takeUp finds the receipts that an earlier process left unsigned.
func (n *notary) takeUp(ctx context.Context, v View, size uint64) error {
	from, err := readUnsigned(ctx, v)
	if err != nil {
		return err
	}
	err = v.Scan(ctx, []byte{tableEntry}, entryKey(from), func(key, entry []byte) error {
		at := numberOf(key)
		if at >= size {
			return errStop
		}
		x, unsigned, err := unsignedReceipt(ctx, v, entry)
		if err != nil {
			return fmt.Errorf("receipt of entry %d: %w", at, err)
		}
		if unsigned {
			n.add(&pending{exchange: x, n: at, done: make(chan struct{})})
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return err
}

// unsignedReceipt tells whether an entry's receipt waits for its signature.
func unsignedReceipt(ctx context.Context, v View, entry []byte) (x uuid.UUID, unsigned bool, err error) {
	if !answers(entryKind(entry)) {
		return x, false, nil
	}
	e, err := DecodeEntry(entry)
	if err != nil {
		return x, false, err
	}
	if x, err = uuid.Parse(string(e.Exchange)); err != nil {
		return x, false, err
	}
	b, err := v.Get(ctx, receiptKey(x))
	if errors.Is(err, ErrNotFound) {
		return x, false, nil // erased; if nothing says so, verify does
	}
	return x, err == nil && len(b) > 0 && b[0] == receiptPending, err
}

// answers tells whether entries of a kind answer a caller: they have a receipt.
func answers(k exchange.Kind) bool {
	return k == exchange.KindResponse || k == exchange.KindRefusal || k == exchange.KindFailure
}

// readUnsigned gives the entry below which every receipt is signed.
func readUnsigned(ctx context.Context, v View) (uint64, error) {
	b, err := v.Get(ctx, unsignedKey())
	switch {
	case errors.Is(err, ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("reading from where receipts are unsigned: %w", err)
	case len(b) != 8:
		return 0, errors.New("the record of unsigned receipts is malformed")
	}
	return binary.BigEndian.Uint64(b), nil
}

func unsignedRecord(n uint64) kv { return kv{unsignedKey(), binary.BigEndian.AppendUint64(nil, n)} }

// add takes a receipt over; its entry is acknowledged and above those of all added before.
func (n *notary) add(p *pending) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pending[p.exchange] = p
	n.queue.push(p)
}

func (n *notary) waiting(x uuid.UUID) *pending {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pending[x]
}

// wake says that entries were acknowledged.
func (n *notary) wake() {
	n.mu.Lock()
	close(n.acked)
	n.acked = make(chan struct{})
	n.mu.Unlock()
	poke(n.pokeTree)
	poke(n.pokeReceipts)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (n *notary) start(ctx context.Context) {
	n.started = true
	ctx, halt := context.WithCancel(ctx)
	n.mu.Lock()
	n.halt = halt
	n.mu.Unlock()
	work := func(run func(context.Context)) {
		n.workers.Add(1)
		go func() { defer n.workers.Done(); run(ctx) }()
	}
	if n.cosigner != nil {
		work(n.cosigner.run)
	} else {
		close(n.gate)
	}
	work(n.checkpoints)
	work(n.receipts)
	go func() {
		n.workers.Wait()
		halt()
		close(n.stopped)
	}()
	n.wake()
}

// wait waits for the notary's goroutines, which end with the context of start.
func (n *notary) wait() {
	if n.started {
		<-n.stopped
	}
}

// fault remembers whether one part of signing works, logs the change only, and tells those who wait for
// the end of the work.
func (n *notary) fault(part int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err[part] = err
	switch why := errors.Join(n.err[:]...); {
	case why != nil && n.failing.IsZero():
		n.failing = n.l.clock()
		n.l.log.Warn("signing fails; receipts are pending", "error", why.Error())
	case why == nil && !n.failing.IsZero():
		n.failing = time.Time{}
		n.l.log.Info("signing works again")
	}
	if n.idle != nil && len(n.pending) == 0 && n.tree.size == n.l.synced.Load().size {
		close(n.idle)
		n.idle = nil
	}
}

// fork ends all signing: another history of this log is known, or its own past contradicts it.
func (n *notary) fork(err error) {
	n.l.fail(err)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.forked == nil {
		n.forked = err
		close(n.grew)
		n.grew = make(chan struct{})
	}
	if n.halt != nil {
		n.halt()
	}
}

// await waits until a checkpoint of at least the given size is signed and stored.
func (n *notary) await(ctx context.Context, size uint64) error {
	for {
		n.mu.Lock()
		enough, grew, forked := n.tree.size >= size, n.grew, n.forked
		n.wanted = max(n.wanted, size)
		n.mu.Unlock()
		switch {
		case enough:
			return nil
		case forked != nil:
			return forked
		}
		poke(n.pokeTree)
		select {
		case <-grew:
		case <-n.stopped:
			return n.ended()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended says why the notary's goroutines are no more.
func (n *notary) ended() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.forked != nil {
		return n.forked
	}
	return ErrClosed
}

// drain waits until everything is signed or ctx ends. It does not wait for witnesses: what they have
// not cosigned is offered to them after the next start.
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
	return len(l.notary.pending), l.notary.failing
}
