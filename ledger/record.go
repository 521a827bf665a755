package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Record appends one entry for an exchange and returns when it is durable: committed, and HEAD synced.
// The expensive part — sealing, hashing, encoding — runs here, in the caller's goroutine.
//
// A response, refusal or failure also starts its receipt; Receipt waits for it. When ctx ends before
// the entry is durable the error says so: ErrBusy when it was not written; otherwise it may be written
// all the same, and r.Late is told.
func (l *Ledger) Record(ctx context.Context, r exchange.Record) (exchange.Recorded, error) {
	x, err := uuid.Parse(string(r.Exchange))
	if err != nil || x.String() != string(r.Exchange) {
		return exchange.Recorded{}, fmt.Errorf("exchange id %q is no UUID in canonical form", r.Exchange)
	}
	own := OwnChain(r.Principal, r.Class)
	if err := checkOwn(own); err != nil {
		return exchange.Recorded{}, err
	}
	defer l.ring.enter(r.Class, classMonth(r.Captured))() // the generation of keys stays until the item is queued
	it := &item{own: own, kind: r.Kind, exchange: x, opens: r.Kind == exchange.KindRequest, late: r.Late}
	tail := Tail{Kind: r.Kind, Node: l.opts.Node, Exchange: r.Exchange, Route: r.Route, Operation: r.Operation,
		Outcome: r.Outcome, Decision: r.Decision, Reason: string(r.Reason)}
	if r.Request != nil {
		tail.Request = &r.Request.N
	}
	if r.From != (exchange.Party{}) {
		tail.From = &r.From
	}
	if r.To != (exchange.Party{}) {
		tail.To = &r.To
	}
	if tail.Decision != nil && tail.Decision.Policies == nil {
		tail.Decision.Policies = []string{}
	}
	if err := l.sealMessages(ctx, it, &tail, r); err != nil {
		return exchange.Recorded{}, err
	}
	if it.tail, err = encodeFor(own, &tail); err != nil {
		return exchange.Recorded{}, err
	}
	if it.terms, it.enclosed, err = l.recordTerms(ctx, x, r, it.enclosed); err != nil {
		return exchange.Recorded{}, err
	}
	switch r.Kind {
	case exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure:
		it.closes = r.Kind != exchange.KindRefusal
		var basis []byte
		if it.receipt, basis, err = l.pendingReceipt(ctx, x, r); err != nil {
			return exchange.Recorded{}, err
		}
		it.enclosed = enclose(it.enclosed, kv{receiptKey(x), basis})
	}
	return l.append(ctx, it)
}

// encodeFor writes the tail and makes sure that the whole entry will fit.
func encodeFor(own string, t *Tail) ([]byte, error) {
	tail, err := encodeTail(t)
	if err != nil {
		return nil, err
	}
	if whole := entryHead + len(own) + len(tail); whole > MaxEntry {
		return nil, fmt.Errorf("a %s entry of %d bytes: the limit is %d", t.Kind, whole, MaxEntry)
	}
	return tail, nil
}

func (l *Ledger) sealMessages(ctx context.Context, it *item, tail *Tail, r exchange.Record) error {
	if len(r.Messages) == 0 {
		return nil
	}
	ck, err := l.ring.key(ctx, r.Class, classMonth(r.Captured), forContent)
	if err != nil {
		return err
	}
	for i, m := range r.Messages {
		ref, err := l.sealMessage(ctx, it, r.FirstIndex+i, m, ck)
		if err != nil {
			return fmt.Errorf("sealing message %d: %w", r.FirstIndex+i, err)
		}
		tail.Messages = append(tail.Messages, ref)
	}
	return nil
}

// sealMessage seals one message into it. A large one is written ahead; its mark goes when the entry comes.
func (l *Ledger) sealMessage(ctx context.Context, it *item, i int, m exchange.Message, ck *classKey) (MessageRef, error) {
	spool, ok := m.Spool.(*Spool)
	switch {
	case m.Spool != nil && (!ok || spool.l != l || spool.s.x != it.exchange || spool.s.i != i):
		return MessageRef{}, errors.New("its spooled body is of another message")
	case m.Spool == nil && len(m.Head)+len(m.Body) <= inlineContent:
		s, err := newSealer(l.opts.Origin, it.exchange, i)
		if err != nil {
			return MessageRef{}, err
		}
		it.enclosed = s.enclose(it.enclosed, m, ck)
		return s.reference(m, int64(len(m.Body)), sha256.Sum256(m.Body)), nil
	case m.Spool == nil:
		var err error
		if spool, err = l.Spool(exchange.ID(it.exchange.String()), i); err != nil {
			return MessageRef{}, err
		}
		if _, err := spool.Write(m.Body); err != nil {
			return MessageRef{}, errors.Join(err, spool.Discard(ctx))
		}
	}
	if err := spool.end(); err != nil {
		return MessageRef{}, err
	}
	if len(m.Head) > chunkSize {
		return MessageRef{}, fmt.Errorf("a head of %d bytes: the limit is %d", len(m.Head), chunkSize)
	}
	s := spool.s
	head := kv{chunkKey(s.x, headStream(i), 0), s.chunk(nil, headStream(i), 0, true, m.Head)}
	it.enclosed = enclose(enclose(it.enclosed, s.keyRecord(ck)), head) // what is ahead of the entry is the body alone
	it.deletes = append(it.deletes, spoolKey(s.x, i))
	return s.reference(m, spool.Size(), spool.Digest()), nil
}

// newLogItem is an item of a kind that the log itself writes, or that stands in a principal's chain
// without a message.
func newLogItem(own string, t Tail) (*item, error) {
	tail, err := encodeFor(own, &t)
	if err != nil {
		return nil, err
	}
	it := &item{own: own, kind: t.Kind, tail: tail}
	if t.Exchange != "" {
		if it.exchange, err = uuid.Parse(string(t.Exchange)); err != nil {
			return nil, fmt.Errorf("exchange id: %w", err)
		}
	}
	return it, nil
}

func (l *Ledger) logItem(own string, t Tail) (*item, error) {
	t.Node = l.opts.Node
	return newLogItem(own, t)
}

func (l *Ledger) noticeItem(code string, value int64) (*item, error) {
	return l.logItem(LogChain, Tail{Kind: KindNotice, Notice: &Notice{Code: code, Value: value}})
}

func (l *Ledger) appendLog(ctx context.Context, own string, t Tail) (exchange.Recorded, error) {
	it, err := l.logItem(own, t)
	if err != nil {
		return exchange.Recorded{}, err
	}
	return l.append(ctx, it)
}

// Refusals records how many callers could not be identified between from and now, by reason. It
// writes nothing when there were none.
func (l *Ledger) Refusals(ctx context.Context, from time.Time, counts map[string]uint64) error {
	r := &Refusals{From: At(from), To: At(l.clock())}
	for reason, n := range counts {
		if n > 0 {
			r.Counts = append(r.Counts, ReasonCount{reason, n})
		}
	}
	if len(r.Counts) == 0 {
		return nil
	}
	sort.Slice(r.Counts, func(i, j int) bool { return r.Counts[i].Reason < r.Counts[j].Reason })
	_, err := l.appendLog(ctx, LogChain, Tail{Kind: KindRefusals, Refusals: r})
	return err
}

// Configured records that the gateway now obeys something else; it blocks the change.
func (l *Ledger) Configured(ctx context.Context, by Actor, c Configuration) error {
	_, err := l.appendLog(ctx, LogChain, Tail{Kind: KindConfiguration, By: &by, Configuration: &c})
	return err
}

// Accessed records a reading of sealed content; it blocks the reading.
func (l *Ledger) Accessed(ctx context.Context, by Actor, a Access) error {
	_, err := l.appendLog(ctx, LogChain, Tail{Kind: KindAccess, By: &by, Access: &a})
	return err
}

// Exported records that a range of an own chain left as a package.
func (l *Ledger) Exported(ctx context.Context, own string, by Actor, e Export) error {
	_, err := l.appendLog(ctx, own, Tail{Kind: KindExport, By: &by, Export: &e})
	return err
}

// writeGenesis opens the log.
func (l *Ledger) writeGenesis(ctx context.Context) error {
	g := &Genesis{Origin: l.opts.Origin, Format: Version, Software: l.opts.Software, Custody: l.opts.Custody, Keys: l.opts.PublicKeys, Previous: l.opts.Previous}
	_, err := l.appendLog(ctx, LogChain, Tail{Kind: KindGenesis, Genesis: g})
	if err != nil {
		return fmt.Errorf("writing the genesis entry: %w", err)
	}
	return nil
}

// checkIdentity refuses to go on with another log's store.
func (l *Ledger) checkIdentity(ctx context.Context, v View) error {
	e, err := readEntry(ctx, v, 0)
	if err != nil {
		return err
	}
	if e.Kind != KindGenesis {
		return errors.New("the first entry is no genesis")
	}
	if e.Genesis.Origin != l.opts.Origin {
		return fmt.Errorf("the ledger in %s is of origin %s, the configuration says %s", l.opts.Dir, e.Genesis.Origin, l.opts.Origin)
	}
	return nil
}

// pendingReceipt prepares the receipt that a closing record causes. Its payload lacks only what the
// log's order decides: entry number and hash of this record, and the tree.
func (l *Ledger) pendingReceipt(ctx context.Context, x uuid.UUID, r exchange.Record) (p *pending, sealed []byte, err error) {
	b := receiptBasis{Exchange: r.Exchange, Principal: r.Principal, Issued: r.Captured.Unix(), Origin: "gateway"}
	if r.Request != nil {
		b.Request = &receiptPart{N: r.Request.N, Entry: r.Request.Entry, Body: r.Request.Body}
	}
	for _, m := range r.Messages {
		switch {
		case m.At(exchange.RequestReceived) && r.Request == nil:
			b.RequestBody = m.Digest()
		case m.At(exchange.ResponseDelivered):
			b.Body, b.Status = m.Digest(), m.Status
			if m.At(exchange.ResponseReceived) {
				b.Origin = "upstream"
			}
		}
	}
	if r.Kind == exchange.KindResponse {
		b.Origin = "upstream"
	}
	ck, err := l.ring.key(ctx, r.Class, classMonth(r.Captured), forReceipts)
	if err != nil {
		return nil, nil, err
	}
	return newPending(l.opts.Origin, x, b, ck)
}

// LastConfigured gives, for each subject, the digest that the newest configuration entry names. It reads
// the log's own chain backwards until it has found both configuration and policies, or the beginning.
func (l *Ledger) LastConfigured(ctx context.Context) (map[string]Hash, error) {
	found := map[string]Hash{}
	own, err := readOwn(ctx, l.View(), LogChain)
	if err != nil {
		return nil, err
	}
	log := &Log{View: l.View()}
	for k := own.K; k > 0 && len(found) < 2; k-- {
		err := log.Segment(ctx, LogChain, k-1, k-1, func(s Stored) error {
			if c := s.Configuration; c != nil {
				if _, newer := found[c.Subject]; !newer {
					found[c.Subject] = c.After
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
