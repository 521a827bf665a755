package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Disposing of a class-month goes like an erasure, without anything that stays: the entries first, one for
// each own chain that has exchanges in it; then the transit keys of all generations; then the values.

// DisposalRequest says which class-month is to be disposed of and why.
type DisposalRequest struct {
	By        Actor  `json:"by"`
	Class     string `json:"class"`
	Month     string `json:"month"`  // YYYY-MM, UTC; it must be over
	Ground    string `json:"ground"` // retention, or authority
	Reference string `json:"reference"`
}

// DisposalReport says what a disposal did.
type DisposalReport struct {
	Entries   []uint64 `json:"entries"` // one for each own chain
	Class     string   `json:"class"`
	Month     string   `json:"month"`
	Exchanges int      `json:"exchanges"`
	Destroyed []string `json:"destroyed"` // transit keys
}

// Dispose disposes of a class-month. What an earlier call has left unfinished it ends; of a class-month
// that was disposed of it gives the report again.
func (e *Eraser) Dispose(ctx context.Context, q DisposalRequest) (DisposalReport, error) {
	r := DisposalReport{Class: q.Class, Month: q.Month}
	id := classMonthID{q.Class, q.Month}
	if err := e.tryRights(ctx, id); err != nil {
		return r, err
	}
	if err := e.Holder.beginDisposal(ctx, q); err != nil {
		return r, err
	}
	if err := e.at("begun"); err != nil {
		return r, err
	}
	found, err := e.Log.disposals(ctx, id)
	if err != nil {
		return r, err
	}
	for _, d := range found {
		r.Entries, r.Exchanges = append(r.Entries, d.N), r.Exchanges+d.Disposal.Exchanges
	}
	slices.Sort(r.Entries)
	keys, err := readMonthKeys(ctx, e.Log, id)
	if err != nil {
		return r, err
	}
	if r.Destroyed, err = e.destroy(ctx, keys); err != nil {
		return r, err
	}
	if err := e.at("destroyed"); err != nil {
		return r, err
	}
	return r, e.Holder.endDisposal(ctx, id)
}

// beginDisposal writes the entries; asked again, those that are not there yet.
func (l *Ledger) beginDisposal(ctx context.Context, q DisposalRequest) error {
	id := classMonthID{q.Class, q.Month}
	if err := errors.Join(checkReference(q.Reference), checkGround(q.Ground)); err != nil {
		return err
	}
	first, err := parseMonth(q.Month)
	if err != nil {
		return err
	}
	if now := l.clock().UTC(); first.AddDate(0, 1, 0).After(now) {
		return fmt.Errorf("class-month %s is not over", id)
	}
	l.ring.switching.Lock()
	defer l.ring.switching.Unlock()
	log, err := l.Log(ctx)
	if err != nil {
		return err
	}
	g, err := readGeneration(ctx, log, id)
	if err != nil || g.Disposed {
		return err
	}
	keys, err := readMonthKeys(ctx, log, id)
	if err != nil {
		return err
	}
	if len(keys.ids) == 0 {
		return fmt.Errorf("class-month %s: %w", id, ErrNotFound)
	}
	// Nobody seals in it any more, and whoever did has queued it.
	m := l.ring.month(id)
	m.lease.Lock()
	defer m.lease.Unlock()
	chains, err := l.chainsIn(ctx, keys)
	if err != nil {
		return err
	}
	said, err := log.disposals(ctx, id)
	if err != nil {
		return err
	}
	for _, d := range said {
		delete(chains, d.Own.P)
	}
	g.Generation, g.Disposing, g.Erasing = max(g.Generation, keys.newest()), true, nil
	for _, own := range sortedChains(chains) {
		if err := l.writeDisposal(ctx, q, id, g, own, chains[own]); err != nil {
			return err
		}
	}
	l.ring.switched(id, g)
	l.self.forget()
	return nil
}

func sortedChains(m map[string]int) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// chainsIn counts the exchanges of a class-month in each own chain.
func (l *Ledger) chainsIn(ctx context.Context, keys monthKeys) (map[string]int, error) {
	view := badgerView{l.db}
	chains := map[string]int{}
	var last uuid.UUID
	count := func(key, value []byte) error {
		p, ok := placeOf(key)
		if !ok {
			return fmt.Errorf("key of %d bytes", len(key))
		}
		id, ok := p.wrappedBy(value)
		if _, in := keys.ids[id]; !ok || !in {
			return nil
		}
		if key[0] == tableReceipt {
			if value[0] == receiptPending {
				return fmt.Errorf("exchange %s: its receipt is not signed yet", p.x)
			}
			return nil
		}
		if p.x == last {
			return nil
		}
		last = p.x
		var n uint64
		err := view.Scan(ctx, exchangeTableKey(tableExchange, p.x), nil, func(key, _ []byte) error {
			n = exchangeEntry(key)
			return errStop
		})
		if !errors.Is(err, errStop) {
			return err // content without an entry: an orphan
		}
		e, err := readEntry(ctx, view, n)
		if err != nil {
			return err
		}
		if e.Kind != KindDisposal && e.Kind != KindAcceptance {
			chains[e.Own.P]++
		} else if _, there := chains[e.Own.P]; !there {
			chains[e.Own.P] = 0
		}
		return nil
	}
	for _, table := range []byte{tableMessageKey, tableReceipt} {
		if err := view.Scan(ctx, []byte{table}, nil, count); err != nil {
			return nil, fmt.Errorf("counting the exchanges of a class-month: %w", err)
		}
	}
	return chains, nil
}

// writeDisposal writes one chain's entry. Its reason is kept with this month's content.
func (l *Ledger) writeDisposal(ctx context.Context, q DisposalRequest, id classMonthID, g generationRecord, own string, exchanges int) error {
	now := classMonth(l.clock())
	defer l.ring.enter(id.class, now)()
	ck, err := l.ring.key(ctx, id.class, now, forContent)
	if err != nil {
		return err
	}
	x, err := uuid.NewV7()
	if err != nil {
		return err
	}
	it, err := l.explained(x, Tail{Kind: KindDisposal, Exchange: exchange.ID(x.String()), By: &q.By,
		Disposal: &Disposal{Class: id.class, Month: id.month, Exchanges: exchanges}}, own, 0, reason{Ground: q.Ground}, q.Reference, ck)
	if err != nil {
		return err
	}
	state, err := g.write(id)
	if err != nil {
		return err
	}
	it.writes = append(it.writes, state)
	it.terms = [][]byte{plainTerm(termDisposal, id.String())}
	if _, err := l.append(context.WithoutCancel(ctx), it); err != nil {
		return fmt.Errorf("writing the disposal entry of own chain %s: %w", own, err)
	}
	return nil
}

// endDisposal sees that every key of the class-month is destroyed, drops what they sealed, and gives the
// room back.
func (l *Ledger) endDisposal(ctx context.Context, id classMonthID) error {
	l.ring.switching.Lock()
	defer l.ring.switching.Unlock()
	view := badgerView{l.db}
	g, err := readGeneration(ctx, view, id)
	if err != nil {
		return err
	}
	if !g.Disposing {
		return nil
	}
	keys, err := readMonthKeys(ctx, view, id)
	if err != nil {
		return err
	}
	if err := l.destroyed(ctx, keys); err != nil {
		return err
	}
	for _, table := range []byte{tableMessageKey, tableReceipt, tableTerms} {
		if err := l.dropSealed(ctx, table, keys); err != nil {
			return fmt.Errorf("dropping what was disposed of: %w", err)
		}
	}
	for name := range keys.names {
		if err := deletePrefix(ctx, l.db, keyedPrefix(name)); err != nil {
			return err
		}
	}
	var drop [][]byte
	for id := range keys.ids {
		drop = append(drop, classKeyKey(id))
	}
	state, err := (generationRecord{Generation: g.Generation, Disposed: true}).write(id)
	if err != nil {
		return err
	}
	if err := write(l.db, []kv{state}, drop); err != nil {
		return fmt.Errorf("dropping what was disposed of: %w", err)
	}
	return l.collect()
}

// dropSealed deletes the records of one table that some of the keys sealed; chunks go with the key of
// their message.
func (l *Ledger) dropSealed(ctx context.Context, table byte, keys monthKeys) error {
	var drop [][]byte
	enclosed := enclosureDrop{db: l.db}
	flush := func() error {
		if len(drop) == 0 {
			return nil
		}
		err := write(l.db, enclosed.writes(), drop)
		drop = nil
		return err
	}
	err := badgerView{l.db}.Scan(ctx, []byte{table}, nil, func(key, value []byte) error {
		p, ok := placeOf(key)
		id, ok2 := p.wrappedBy(value)
		if _, in := keys.ids[id]; !ok || !ok2 || !in {
			return nil
		}
		if table == tableMessageKey {
			chunks, err := chunksOf(ctx, l.db, p.x, p.i)
			if err != nil {
				return err
			}
			drop = append(drop, chunks...)
		}
		err := enclosed.drop(ctx, p.x, func(table byte, rest []byte) bool {
			return table == key[0] && bytes.Equal(rest, key[17:]) || key[0] == tableMessageKey && ofMessage(p.i)(table, rest)
		})
		if err != nil {
			return err
		}
		if drop = append(drop, key); len(drop) < 2*rewrapBatch && enclosed.size < rewrapBytes {
			return nil
		}
		return flush()
	})
	return errors.Join(err, flush())
}

// collect has the value logs rewritten that are mostly dead.
func (l *Ledger) collect() error {
	return l.collecting(func() error {
		for {
			switch err := l.db.RunValueLogGC(0.5); {
			case errors.Is(err, badger.ErrNoRewrite):
				return nil
			case err != nil:
				return fmt.Errorf("giving back the room of what was dropped: %w", err)
			}
		}
	})
}
