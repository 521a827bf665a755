package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sigillo/internal/exchange"
)

// tables checks, after the entries, what the store holds beside them: nothing above the head, and the
// derived tables that the next start relies on.
func (v *verifier) tables(ctx context.Context) error {
	if v.log.Partial() {
		return v.newestNote(ctx)
	}
	for _, check := range []func(context.Context) error{v.beyond, v.newestNote, v.chainEnds, v.oldestOpen, v.unsignedMark, v.unfinished} {
		if err := check(ctx); err != nil {
			if unreachable(ctx, err) {
				return err
			}
			v.addf("store", exchange.Broken, "%v", err)
		}
	}
	return nil
}

// beyond looks for entries and checkpoints above the head. On a live log both grow: what is seen must not
// reach above a head that is read afterwards.
func (v *verifier) beyond(ctx context.Context) error {
	for _, t := range []struct {
		table byte
		from  uint64 // the lowest number above the head
		what  string
	}{{tableEntry, 0, "stands above the head of the log"}, {tableNote, 1, "a signed checkpoint of size %d stands above the head of the log"}} {
		newest, found := uint64(0), false
		err := v.log.Scan(ctx, []byte{t.table}, numberKey(t.table, v.log.Head.Size+t.from), func(key, _ []byte) error {
			if found = len(key) == 9; found {
				newest = numberOf(key)
			}
			return errStop
		})
		if err != nil && !errors.Is(err, errStop) {
			return fmt.Errorf("reading above the head: %w", err)
		}
		if !found {
			continue
		}
		if head, err := readHead(ctx, v.log); err != nil {
			return err
		} else if newest < head.Size+t.from {
			continue // a live log: it has grown
		}
		if t.table == tableEntry {
			v.entryf("entry", newest, "%s", t.what)
		} else {
			v.addf("checkpoint", exchange.Broken, t.what, newest)
		}
	}
	return nil
}

// newestNote counts how far the log is signed.
func (v *verifier) newestNote(ctx context.Context) error {
	size, _, err := Before(ctx, v.log, v.log.Head.Size)
	if err != nil {
		if unreachable(ctx, err) {
			return err
		}
		v.addf("checkpoint", exchange.Broken, "%v", err)
		return nil
	}
	v.out.counts["signed_size"] = int64(size)
	if size == 0 {
		v.addf("checkpoint", exchange.Indeterminate, "the log has no signed checkpoint")
	}
	return nil
}

// still tells whether the log's head is where it was when the verification began: only then can tables
// that change with every entry be compared.
func (v *verifier) still(ctx context.Context) (bool, error) {
	h, err := readHead(ctx, v.log)
	return err == nil && h.Size == v.log.Head.Size, err
}

// chainEnds compares the ends of the own chains, which the next entries are joined to, and their index.
func (v *verifier) chainEnds(ctx context.Context) error {
	stored := map[string]ownState{}
	for p := range v.own {
		s, err := readOwn(ctx, v.log, p)
		if err != nil {
			return err
		}
		stored[p] = s
	}
	if ok, err := v.still(ctx); err != nil || !ok {
		return err
	}
	for p, want := range v.own {
		if stored[p] != want {
			v.addf("index", exchange.Broken, "own chain %s ends at place %d, the store says %d places: the next entry would be joined wrongly", p, want.K-1, stored[p].K)
		}
		ends := 0
		err := scanOwn(ctx, v.log, p, want.K-1, func(k, _ uint64) error { ends++; return nil })
		if err != nil {
			return err
		}
		if ends != 1 {
			v.addf("index", exchange.Broken, "the index of own chain %s does not end where the chain does, at place %d", p, want.K-1)
		}
	}
	return nil
}

// oldestOpen checks that recovery would start early enough: an exchange that stands open below the number
// that the head keeps would never be closed.
func (v *verifier) oldestOpen(context.Context) error {
	for x, n := range v.open {
		if n < v.log.Head.Open {
			v.entryf("index", n, "exchange %s is open, and the head says that none is below entry %d", x, v.log.Head.Open)
		}
	}
	return nil
}

// unfinished says which erasures have begun and not ended.
func (v *verifier) unfinished(ctx context.Context) error {
	left, err := v.log.Unfinished(ctx)
	if err == nil && len(left) > 0 {
		v.addf("erasure", exchange.Remark, "an erasure or a disposal has begun and is not ended in class-month %s: give the verb again", strings.Join(left, ", "))
	}
	return err
}

// unsignedMark checks that the next start would find every receipt that waits for its signature: those
// below the mark are not looked for. Which these are is seen where receipts are read.
func (v *verifier) unsignedMark(ctx context.Context) error {
	mark, err := readUnsigned(ctx, v.log)
	if err != nil {
		return err
	}
	if mark > v.log.Head.Size {
		if ok, err := v.still(ctx); err != nil || !ok {
			return err
		}
		v.addf("receipt", exchange.Broken, "receipts are looked for from entry %d on, and the log has %d entries", mark, v.log.Head.Size)
	}
	return nil
}

// trustedOwn is the end of an own chain before a trusted checkpoint: the entry that the index names must
// be the one that the chain goes on from, and must stand in the trusted tree.
func (v *verifier) trustedOwn(ctx context.Context, p string, c *chainRun) ownState {
	if v.log.Partial() {
		return ownState{K: c.k, Hash: c.prev} // there is no index to find the entry by; the scope says so
	}
	found := false
	var n uint64
	err := scanOwn(ctx, v.log, p, c.k-1, func(k, at uint64) error {
		n, found = at, k == c.k-1
		return errStop
	})
	if !found {
		v.unreached(ctx, err)
		return ownState{}
	}
	s, err := v.trustedEntry(ctx, n)
	if err != nil || s.N >= v.since || s.Own.P != p || s.Own.K != c.k-1 {
		return ownState{}
	}
	return ownState{K: c.k, Hash: EntryHash(s.Bytes)}
}

// trustedOpen tells whether an exchange that the stretch closes was opened before a trusted checkpoint by
// the entry that it names, and not closed there.
func (v *verifier) trustedOpen(ctx context.Context, c closing) bool {
	s, err := v.trustedEntry(ctx, c.request)
	if err != nil || s.Kind != exchange.KindRequest || string(s.Exchange) != c.exchange.String() {
		return false
	}
	if v.log.Partial() {
		return true
	}
	all, err := v.log.Exchange(ctx, s.Exchange)
	if err != nil {
		v.unreached(ctx, err)
		return false
	}
	for _, e := range all {
		switch e.Kind {
		case exchange.KindResponse, exchange.KindFailure, KindRecovery:
			if e.N < v.since {
				return false
			}
		}
	}
	return true
}

// trustedEntry reads an entry before a trusted checkpoint and holds it against its leaf in the tiles.
func (v *verifier) trustedEntry(ctx context.Context, n uint64) (Stored, error) {
	s, err := v.log.Entry(ctx, n)
	if err != nil {
		v.unreached(ctx, err)
		return s, err
	}
	t, err := readTile(ctx, v.log, 0, n/tileWidth)
	if err != nil {
		v.unreached(ctx, err)
		return s, err
	}
	if leafHash(s.Bytes) != Hash(t[32*(n%tileWidth):][:32]) {
		return s, fmt.Errorf("entry %d is not the tree's leaf", n)
	}
	return s, nil
}
