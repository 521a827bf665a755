package ledger

import (
	"context"
	"sort"
	"sync"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// run reads the log from an entry on: workers check stretches, and this goroutine joins them in order.
// It returns when all of them have ended.
func (v *verifier) run(ctx context.Context, from uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	workers := v.workers()
	free := make(chan *stretch, 4*workers) // all stretches there are: memory is flat
	for range cap(free) {
		free <- &stretch{counts: map[string]int64{}, requests: map[uuid.UUID]requestRun{}}
	}
	jobs, order := make(chan *stretch), make(chan *stretch, cap(free))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Add(1 + workers)
	go func() {
		defer wg.Done()
		defer close(order)
		defer close(jobs)
		for first := from; first < v.log.Head.Size; first += v.width {
			var s *stretch
			select {
			case s = <-free:
			case <-ctx.Done():
				return
			}
			s.reset(first, min(first+v.width, v.log.Head.Size))
			order <- s
			select {
			case jobs <- s:
			case <-ctx.Done():
				s.err = ctx.Err()
				close(s.done)
				return
			}
		}
	}()
	for range workers {
		go func() {
			defer wg.Done()
			w := &worker{v: v, scan: newScanner()}
			for s := range jobs {
				s.err = w.check(ctx, s)
				close(s.done)
			}
		}()
	}
	for s := range order {
		<-s.done
		if err := ctx.Err(); err != nil {
			return err // before this stretch, which may be the last: what is joined can be kept
		}
		if s.err != nil {
			return s.err
		}
		if err := v.join(ctx, s); err != nil {
			return err
		}
		free <- s
	}
	return ctx.Err()
}

// join adds a stretch to what stands before it.
func (v *verifier) join(ctx context.Context, s *stretch) error {
	v.joinLost(s)
	v.joinChains(ctx, s)
	v.joinExchanges(ctx, s)
	v.joinNotes(s)
	v.joinTree(ctx, s)
	for name, n := range s.counts {
		v.out.counts[name] += n
	}
	v.noKey += s.noKey
	if s.stamp.Size > v.stamp.Size {
		v.stamp = s.stamp
	}
	// In order of entries; what is of no entry comes last.
	sort.SliceStable(s.findings, func(i, j int) bool {
		a, b := s.findings[i].Entry, s.findings[j].Entry
		return a != nil && (b == nil || *a < *b)
	})
	for _, f := range s.findings {
		v.out.add(f)
	}
	v.at = s.end
	if v.opts.Progress != nil {
		v.opts.Progress(v.at, v.log.Head.Size)
	}
	if v.lost != nil {
		return v.lost
	}
	return v.keepProgress(false)
}

// joinLost makes one finding of entries that are lost over several stretches.
func (v *verifier) joinLost(s *stretch) {
	for _, g := range s.lost {
		if v.gap != nil && v.gap.end == g.first && v.gap.why == g.why {
			v.gap.end = g.end
			continue
		}
		v.sayLost()
		v.gap = &g
	}
	if v.gap != nil && v.gap.end < s.end {
		v.sayLost()
	}
}

func (v *verifier) sayLost() {
	if g := v.gap; g != nil && g.end == g.first+1 {
		v.entryf("entry", g.first, "%s", g.why)
	} else if g != nil {
		v.entryf("entry", g.first, "entries %d to %d: %s", g.first, g.end-1, g.why)
	}
	v.gap = nil
}

// joinChains checks the first entry of the stretch, and of each own chain in it, against what came before.
func (v *verifier) joinChains(ctx context.Context, s *stretch) {
	if s.begins && s.fromPrev != v.last {
		if s.first > 0 {
			s.entryf("chain", s.first-1, "is not the predecessor that entry %d names", s.first)
		} else {
			s.entryf("chain", 0, "names a predecessor")
		}
	}
	v.last = s.last
	if s.timed {
		if string(s.from[:]) < string(v.time[:]) {
			s.entryf("time", s.fromN, "is older than the entry before it")
		}
		v.time = s.to
	}
	for p, c := range s.chains {
		own, met := v.own[p]
		if !met && v.since > 0 && c.k > 0 {
			own = v.trustedOwn(ctx, p, c)
		}
		if c.k != own.K {
			s.entryf("own-chain", c.n, "has place %d in own chain %s, where %d comes next", c.k, p, own.K)
		} else if c.prev != own.Hash {
			s.entryf("own-chain", c.n, "does not name the entry that stands before it in own chain %s", p)
		}
		v.own[p] = ownState{K: c.next, Hash: c.hash}
	}
}

// joinExchanges closes what was open before the stretch, and takes over what it leaves open.
func (v *verifier) joinExchanges(ctx context.Context, s *stretch) {
	for _, c := range s.closings {
		at, isOpen := v.open[c.exchange]
		if !isOpen && v.since > 0 && c.hasRequest && c.request < v.since {
			at, isOpen = c.request, v.trustedOpen(ctx, c)
		}
		if !isOpen || !c.hasRequest || c.request != at {
			s.entryf("completeness", c.n, closedWrongly)
		}
		delete(v.open, c.exchange)
	}
	again := func(x uuid.UUID, at uint64, r requestRun) {
		s.entryf("completeness", r.first, "is a second request of one exchange (the first is entry %d)", at)
		delete(v.open, x)
	}
	if len(v.open) < len(s.requests) {
		for x, at := range v.open {
			if r, here := s.requests[x]; here {
				again(x, at, r)
			}
		}
	} else {
		for x, r := range s.requests {
			if at, open := v.open[x]; open {
				again(x, at, r)
			}
		}
	}
	for i, slot := range s.opened {
		if slot.open {
			v.open[slot.exchange] = s.first + uint64(i)
		}
	}
}

// joinNotes holds the signed checkpoints of the stretch, and the one given, against the tree.
func (v *verifier) joinNotes(s *stretch) {
	for i := range s.notes {
		n := &s.notes[i]
		if !n.given && n.err != nil {
			s.entryf("checkpoint", n.size-1, "checkpoint of size %d: %v", n.size, n.err)
			continue
		}
		if !n.given && n.said.Size != n.size {
			s.entryf("checkpoint", n.size-1, "the checkpoint kept for size %d says size %d", n.size, n.said.Size)
			continue
		}
		if !n.known || !v.whole {
			v.out.counts["checkpoints_not_checked"]++
			continue
		}
		root := v.rootWith(n.local)
		switch {
		case n.given && n.said.Root != root:
			s.entryf("forked", n.size-1, "the checkpoint given has another root at size %d", n.size)
		case n.given:
		case n.said.Root != root:
			// Every later root contains the same fault: one finding, and a count.
			if v.out.counts["checkpoints_failed"]++; v.out.counts["checkpoints_failed"] == 1 {
				s.entryf("checkpoint", n.size-1,
					"entries up to here do not have the root of the signed checkpoint of size %d; those up to size %d had the root that was signed", n.size, v.good)
			}
		default:
			v.good = n.size
			v.out.counts["checkpoints_checked"]++
			if n.have > 0 {
				v.out.counts["cosignatures_checked"] += int64(n.have)
			}
			if n.have >= n.want && n.want > 0 {
				v.cosign = cosigned{n.size, n.have, n.of}
			}
		}
	}
}

// end draws the balance after the last entry.
func (v *verifier) end(ctx context.Context) error {
	v.sayLost()
	h := v.log.Head
	v.out.counts["entries"] = int64(h.Size)
	if v.last != h.Last {
		v.entryf("head", h.Size-1, "is not the entry that the head names")
	}
	if root := v.root(); v.whole && root != h.Root {
		v.addf("tree", exchange.Broken, "the entries do not have the root that the head names")
	}
	if err := v.tables(ctx); err != nil {
		return err
	}
	v.out.counts["open_exchanges"] = int64(len(v.open))
	if v.noKey > 0 {
		v.addf("content", exchange.Indeterminate, "%d messages not checked: their keys cannot be had (--skip-content leaves them out)", v.noKey)
	}
	v.sayScope()
	return v.assure(ctx)
}

func (v *verifier) root() Hash {
	if v.rest != nil {
		return v.rootWith(*v.rest)
	}
	return v.tree.root()
}
