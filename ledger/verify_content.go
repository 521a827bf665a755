package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// deepCheck is what takes keys or signatures: done after a stretch has been scanned, by its worker.
type deepCheck struct {
	n        uint64
	exchange uuid.UUID
	hash     Hash
	answers  bool // the entry answers a caller: it has a receipt
	messages []MessageRef
	stamp    *Timestamp
}

func (w *worker) checkDeep(ctx context.Context, s *stretch) error {
	for _, d := range w.deep {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if d.stamp != nil {
			err = w.timestamp(ctx, s, d.n, d.stamp)
		}
		for i := 0; i < len(d.messages) && err == nil && !w.v.opts.SkipContent; i++ {
			err = w.content(ctx, s, d, d.messages[i])
		}
		if err == nil && d.answers {
			err = w.receipt(ctx, s, d)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) content(ctx context.Context, s *stretch, d deepCheck, m MessageRef) error {
	err := checkMessage(ctx, w.v.opener, w.v.log.Origin(), d.exchange, m)
	err = w.v.log.explain(ctx, exchange.ID(d.exchange.String()), m.I, err)
	switch {
	case err == nil:
		s.counts["contents_checked"]++
	case errors.Is(err, ErrErased):
		s.counts["contents_erased"]++
	case errors.Is(err, ErrNoKey):
		s.noKey++
	case unreachable(ctx, err):
		return err
	default:
		s.entryf("content", d.n, "%v", err)
	}
	return nil
}

func (w *worker) receipt(ctx context.Context, s *stretch, d deepCheck) error {
	v := w.v
	if v.opts.CheckReceipt == nil {
		return nil
	}
	compact, err := readReceipt(ctx, v.opener, v.log.Origin(), d.exchange)
	err = v.log.explain(ctx, exchange.ID(d.exchange.String()), receiptOf, err)
	switch {
	case errors.Is(err, ErrErased):
		s.counts["receipts_erased"]++
		return nil
	case errors.Is(err, ErrPending):
		if d.n < v.unsigned {
			s.entryf("receipt", d.n, "its receipt is not signed, and nobody will sign it: receipts are looked for from entry %d on", v.unsigned)
		}
		s.counts["receipts_pending"]++
		return nil
	case errors.Is(err, ErrNoKey):
		s.counts["receipts_not_checked"]++
		return nil
	case errors.Is(err, ErrNotFound):
		s.entryf("receipt", d.n, "has no receipt")
		return nil
	case err != nil && unreachable(ctx, err):
		return err
	case err != nil:
		s.entryf("receipt", d.n, "%v", err)
		return nil
	}
	payload, err := v.opts.CheckReceipt(compact)
	if err != nil {
		s.entryf("receipt", d.n, "%v", err)
		return nil
	}
	var p receiptPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		s.entryf("receipt", d.n, "its payload: %v", err)
		return nil
	}
	x, err := uuid.Parse(string(p.Exchange))
	if err != nil || p.Issuer != v.log.Origin() || x != d.exchange || p.Response.N != d.n || p.Response.Entry != d.hash || p.Tree.Size <= d.n {
		s.entryf("receipt", d.n, "its receipt speaks of something else")
		return nil
	}
	root, err := w.signedRoot(ctx, p.Tree.Size)
	if err != nil && unreachable(ctx, err) {
		return err
	}
	if err != nil || base64.StdEncoding.EncodeToString(root[:]) != p.Tree.Root {
		s.entryf("receipt", d.n, "its receipt names a tree of size %d that is not the one of the log's signed checkpoint", p.Tree.Size)
		return nil
	}
	s.counts["receipts_checked"]++
	return nil
}

// signedRoot is the root that the log's checkpoint of a size says; the receipts of a batch share one.
func (w *worker) signedRoot(ctx context.Context, size uint64) (Hash, error) {
	if w.signedSize == size {
		return w.signed, nil
	}
	note, err := w.v.log.Get(ctx, noteKey(size))
	if err != nil {
		return Hash{}, err
	}
	c, _, err := splitNote(note) // its signature is checked where its entries are
	if err == nil {
		w.signedSize, w.signed = size, c.Root
	}
	return c.Root, err
}

func (w *worker) timestamp(ctx context.Context, s *stretch, n uint64, t *Timestamp) error {
	v := w.v
	if v.log.Partial() {
		s.counts["tokens_not_looked_at"]++
		return nil
	}
	c, err := After(ctx, v.log, t.Size-1)
	if err != nil && unreachable(ctx, err) {
		return err
	}
	if err != nil || c == nil || c.Size != t.Size {
		s.entryf("timestamp", n, "its token over the checkpoint of size %d is missing", t.Size)
		return nil
	}
	if sha256.Sum256(c.Note) != t.Checkpoint || sha256.Sum256(c.Reply) != t.Reply {
		s.entryf("timestamp", n, "its checkpoint or token was altered")
		return nil
	}
	if v.opts.CheckStamp == nil {
		return nil
	}
	if err := v.opts.CheckStamp(c.Reply, c.Note); err != nil {
		s.entryf("timestamp", n, "%v", err)
		return nil
	}
	s.counts["tokens_checked"]++
	if t.Size > s.stamp.Size {
		s.stamp = *t
	}
	return nil
}
