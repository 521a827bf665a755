package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// receipts signs what is pending until ctx ends. One that fails by itself is set aside for a while, so
// that it does not hold up the others; a failure of the whole call is waited out.
func (n *notary) receipts(ctx context.Context) {
	retry, again := notaryMinRetry, notaryMinRetry // of a whole call; of those set aside
	var due <-chan time.Time                       // when those set aside are tried again; nil: none are
	var own error                                  // why they were
	for {
		select {
		case <-due:
			n.takeBack()
			own, due = nil, nil
		default:
		}
		signed, bad, err := n.signReceipts(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case bad != nil && due == nil:
			own, due = bad, time.After(again)
			again = min(2*again, notaryMaxRetry)
		case signed && due == nil:
			again = notaryMinRetry
		}
		n.fault(receiptFault, errors.Join(own, err))
		if err != nil {
			if !pause(ctx, retry) {
				return
			}
			retry = min(2*retry, notaryMaxRetry)
			continue
		}
		retry = notaryMinRetry
		if signed {
			continue
		}
		select {
		case <-n.pokeReceipts:
		case <-due:
			n.takeBack()
			own, due = nil, nil
		case <-ctx.Done():
			return
		}
	}
}

// takeBack puts those set aside in front of the others: they are the oldest.
func (n *notary) takeBack() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.queue.putBack(n.aside)
	n.aside = nil
}

// signReceipts signs and stores one batch over the newest stored checkpoint. bad says why single ones
// were set aside, err why none was signed.
func (n *notary) signReceipts(ctx context.Context) (signed bool, bad, err error) {
	n.mu.Lock()
	tree := n.tree
	batch := append([]*pending(nil), n.queue.covered(tree.size, notaryBatch)...)
	n.busy, n.under = len(batch) > 0, tree.size
	n.mu.Unlock()
	if len(batch) == 0 {
		return false, nil, nil
	}
	poke(n.pokeTree) // the next tree may be signed while this batch is
	done, failed, writes, bad, err := n.signBatch(ctx, tree, batch)
	if err == nil && len(done) > 0 {
		if werr := n.l.store(ctx, append(writes, unsignedRecord(n.unsignedAfter(done, failed))), nil); werr != nil {
			err = fmt.Errorf("storing receipts: %w", werr)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy = false
	if err != nil {
		return false, bad, err
	}
	n.queue.drop(len(batch))
	n.aside = append(n.aside, failed...)
	for _, p := range done {
		delete(n.pending, p.exchange)
		close(p.done)
	}
	poke(n.pokeTree)
	return true, bad, nil
}

// unsignedAfter is the entry below which every receipt is signed when those done are: entries durable but
// not yet with the notary lie above all that are.
func (n *notary) unsignedAfter(done, failed []*pending) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	mark := done[len(done)-1].n + 1
	left := n.queue.covered(^uint64(0), len(done)+len(failed)+1)
	if len(left) > len(done)+len(failed) {
		mark = left[len(left)-1].n
	}
	for _, p := range append(failed, n.aside...) {
		mark = min(mark, p.n)
	}
	return mark
}

// signBatch gives those of a batch that were signed with what is to be stored, and those that failed by
// themselves.
func (n *notary) signBatch(ctx context.Context, tree mark, batch []*pending) (done, failed []*pending, writes []kv, bad, err error) {
	setAside := func(p *pending, why error) {
		failed, bad = append(failed, p), errors.Join(bad, why)
	}
	var payloads [][]byte
	var ready []*pending
	for _, p := range batch {
		if p.key == nil {
			if err := n.recall(ctx, p); err != nil {
				setAside(p, err)
				continue
			}
		}
		payload, err := p.payload(n.l.opts.Origin, tree)
		if err != nil {
			setAside(p, err)
			continue
		}
		payloads, ready = append(payloads, payload), append(ready, p)
	}
	if len(payloads) == 0 {
		return nil, failed, nil, bad, nil
	}
	signed, err := n.l.opts.Receipts.SignReceipts(ctx, payloads)
	if err != nil {
		return nil, nil, nil, bad, fmt.Errorf("signing receipts: %w", err)
	}
	if len(signed) != len(payloads) {
		return nil, nil, nil, bad, fmt.Errorf("signing receipts: %d answers to %d payloads", len(signed), len(payloads))
	}
	for i, s := range signed {
		p := ready[i]
		if s.Err != nil {
			setAside(p, fmt.Errorf("signing the receipt of entry %d: %w", p.n, s.Err))
			continue
		}
		env, err := sealEnvelope(n.l.opts.Origin, p.exchange, []byte(s.Compact), p.key)
		if err != nil {
			return nil, nil, nil, bad, err
		}
		p.compact = s.Compact // read only after done is closed
		writes = append(writes, kv{receiptKey(p.exchange), append([]byte{receiptSigned}, env...)})
		done = append(done, p)
	}
	return done, failed, writes, bad, nil
}

// recall completes a receipt of an earlier process from its sealed basis and its entry.
func (n *notary) recall(ctx context.Context, p *pending) error {
	view := badgerView{n.l.db}
	entry, err := view.Get(ctx, entryKey(p.n))
	if err != nil {
		return fmt.Errorf("reading entry %d: %w", p.n, err)
	}
	b, err := view.Get(ctx, receiptKey(p.exchange))
	if err != nil {
		return fmt.Errorf("reading the pending receipt of entry %d: %w", p.n, err)
	}
	if len(b) < 1+envelopeFixed {
		return fmt.Errorf("the pending receipt of entry %d is cut", p.n)
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
