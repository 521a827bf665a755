package ledger

import (
	"context"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// check holds the disk against everything that was promised.
func (h *history) check() {
	var tree frontier
	var last Hash
	var at Time
	roots := map[uint64]Hash{}
	own, open := map[string]ownState{}, map[string]uint64{}
	for i, b := range h.disk.entries {
		e, err := DecodeEntry(b)
		if err != nil {
			h.fatal("entry %d: %v", i, err)
		}
		hash := EntryHash(b)
		if e.N != uint64(i) || e.Prev != last || e.Time.Before(at.Time) || e.Own.K != own[e.Own.P].K || e.Own.Prev != own[e.Own.P].Hash {
			h.fatal("entry %d is out of place", i)
		}
		if want, ok := h.acked[e.N]; ok && want != hash {
			h.fatal("entry %d is not the one that was acknowledged", i)
		}
		switch e.Kind {
		case exchange.KindRequest:
			open[string(e.Exchange)] = e.N
			if h.busy[uuid.MustParse(string(e.Exchange))] {
				h.fatal("entry %d is there although its caller was told that it was not written", i)
			}
		case exchange.KindFailure, KindRecovery:
			if n, ok := open[string(e.Exchange)]; !ok || n != *e.Request {
				h.fatal("entry %d closes what is not open", i)
			}
			delete(open, string(e.Exchange))
		}
		last, at = hash, e.Time
		own[e.Own.P] = ownState{K: e.Own.K + 1, Hash: hash}
		tree.add(leafHash(b))
		roots[tree.size] = tree.root()
	}
	for n := range h.acked {
		if n >= uint64(len(h.disk.entries)) {
			h.fatal("acknowledged entry %d is gone", n)
		}
	}
	for _, m := range h.signed {
		if roots[m.size] != m.root {
			h.fatal("the signed checkpoint of size %d is of another tree", m.size)
		}
	}
	for x, times := range h.told {
		if times != 1 {
			h.fatal("the late entry of exchange %s was told %d times", x, times)
		}
	}
	if len(open) > 0 {
		h.fatal("%d exchanges are open after recovery", len(open))
	}
	head, err := readHead(context.Background(), h.disk)
	if len(h.disk.entries) > 0 && (err != nil || head.Root != tree.root() || head.Last != last || head.Size != tree.size) {
		h.fatal("the head record is not of this log: %v", err)
	}
}
