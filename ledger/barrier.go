package ledger

import (
	"context"
	"errors"
	"fmt"

	"sigillo/internal/exchange"
)

// ErrNoWitnesses says that no witness is configured.
var ErrNoWitnesses = errors.New("no witnesses are configured")

// Await waits until entry n has come to the barrier. It ends early with ctx's error; with ErrForked when
// the log turns out to be forked; with ErrClosed when the ledger stops; and with what stopped the ledger.
func (l *Ledger) Await(ctx context.Context, n uint64, b exchange.Barrier) error {
	var err error
	switch b {
	case exchange.BarrierDurable:
		err = l.notary.awaitDurable(ctx, n+1)
	case exchange.BarrierSigned:
		err = l.notary.await(ctx, n+1)
	case exchange.BarrierWitnessed:
		err = l.awaitWitnessed(ctx, n+1)
	default:
		return fmt.Errorf("barrier %q: write %s, %s or %s", b, exchange.BarrierDurable, exchange.BarrierSigned, exchange.BarrierWitnessed)
	}
	if err != nil {
		return fmt.Errorf("waiting until entry %d is %s: %w", n, b, err)
	}
	return nil
}

// awaitDurable waits until HEAD says that the log has the given size.
func (n *notary) awaitDurable(ctx context.Context, size uint64) error {
	for {
		n.mu.Lock()
		acked := n.acked
		n.mu.Unlock()
		if n.l.Size() >= size {
			return nil
		}
		if err := n.l.failedErr(); err != nil {
			return err
		}
		select {
		case <-acked:
		case <-n.stopped:
			return n.ended()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Witnessed is the newest size over which a quorum of witnesses has cosigned a checkpoint; 0: none, or
// no witness is configured.
func (l *Ledger) Witnessed() uint64 {
	c := l.notary.cosigner
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.witnessed
}

// awaitWitnessed waits until a quorum has cosigned a checkpoint of at least the given size.
func (l *Ledger) awaitWitnessed(ctx context.Context, size uint64) error {
	c, n := l.notary.cosigner, l.notary
	if c == nil {
		return ErrNoWitnesses
	}
	for {
		c.mu.Lock()
		enough, grew := c.witnessed >= size, c.grew
		c.mu.Unlock()
		if enough {
			return nil
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
