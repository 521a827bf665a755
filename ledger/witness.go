package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The cosigner offers the newest stored checkpoint to all witnesses that are free, in rounds: one round
// is over one checkpoint and ends when a quorum has cosigned it or everybody asked has answered. A
// witness that is slow misses rounds, one that fails is left alone for a while. Nothing is asked while
// the log does not grow.
const (
	witnessSpacing  = 100 * time.Millisecond // between the beginnings of two rounds
	witnessMinRetry = 500 * time.Millisecond
	witnessMaxRetry = 30 * time.Second
	witnessMaxAfter = time.Hour       // what Retry-After is believed
	witnessHearing  = 5 * time.Second // at a start the first checkpoint waits this long for their word
)

// peer is one witness. The cosigner's loop owns its fields, but for what its request was given.
type peer struct {
	key      witnessKey
	url      string
	busy     bool
	held     uint64 // size that it holds, as far as is known
	cosigned uint64 // newest size that it cosigned for this process
	after    time.Time
	delay    time.Duration
	failing  bool
	refuses  bool // it knows another history
	heard    bool
}

// asked is the end of one request to a witness.
type asked struct {
	p    *peer
	size uint64
	text string // of the checkpoint
	sig  cosignature
	held uint64
	err  error
}

type cosigner struct {
	n      *notary
	keys   []witnessKey
	quorum int
	peers  []*peer
	client *http.Client
	poke   chan struct{}
	answer chan asked

	open  int    // requests of the present round that are under way
	round uint64 // size of the present or last round
	begun time.Time
	gated bool // the checkpointer waits for the witnesses' first word

	mu        sync.Mutex
	witnessed uint64        // newest size that a quorum cosigned
	grew      chan struct{} // closed and replaced when witnessed grows
}

// newCosigner is nil where the policy names nobody.
func newCosigner(ctx context.Context, n *notary, p WitnessPolicy) (*cosigner, error) {
	keys, err := p.keys()
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	c := &cosigner{n: n, keys: keys, quorum: p.Quorum, client: newWitnessClient(), poke: make(chan struct{}, 1),
		answer: make(chan asked, len(keys)), grew: make(chan struct{})}
	if c.witnessed, err = newestCosigned(ctx, badgerView{n.l.db}, n.tree.size, keys, p.Quorum); err != nil {
		return nil, err
	}
	for i, k := range keys {
		c.peers = append(c.peers, &peer{key: k, url: p.Witnesses[i].URL, held: c.witnessed})
	}
	return c, nil
}

// run asks until ctx ends, and then waits for the requests under way.
func (c *cosigner) run(ctx context.Context) {
	var requests sync.WaitGroup
	defer c.client.CloseIdleConnections()
	defer requests.Wait()
	hearing := time.NewTimer(witnessHearing)
	defer hearing.Stop()
	c.gated = true
	if c.target().size == 0 {
		c.openGate() // nothing is signed yet that they could know otherwise
	}
	for {
		var next <-chan time.Time
		if wait, ok := c.due(time.Now()); ok && wait <= 0 {
			c.begin(ctx, &requests)
			continue
		} else if ok {
			next = time.After(wait)
		}
		select {
		case <-c.poke:
		case a := <-c.answer:
			c.take(ctx, a)
		case <-next:
		case <-hearing.C:
			c.openGate()
		case <-ctx.Done():
			return
		}
	}
}

func (c *cosigner) openGate() {
	if c.gated {
		c.gated = false
		close(c.n.gate)
	}
}

func (c *cosigner) target() mark {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.n.tree
}

// due says after how long the next round may begin; ok is false when only an answer or a larger tree
// can bring it about.
func (c *cosigner) due(now time.Time) (wait time.Duration, ok bool) {
	size := c.target().size
	if size == 0 || c.open > 0 {
		return 0, false
	}
	for _, p := range c.peers {
		if !p.busy && p.cosigned < size {
			if d := p.after.Sub(now); !ok || d < wait {
				wait, ok = d, true
			}
		}
	}
	return max(wait, c.begun.Add(witnessSpacing).Sub(now)), ok
}

// begin starts a round over the newest checkpoint.
func (c *cosigner) begin(ctx context.Context, requests *sync.WaitGroup) {
	m := c.target()
	c.begun, c.round = time.Now(), m.size
	note, err := badgerView{c.n.l.db}.Get(ctx, noteKey(m.size))
	if err != nil {
		c.n.l.log.Warn("the newest checkpoint cannot be read for the witnesses", "size", m.size, "error", err.Error())
		for _, p := range c.peers {
			c.postpone(p, 0)
		}
		return
	}
	at := Checkpoint{Origin: c.n.l.opts.Origin, Size: m.size, Root: m.root}
	for _, p := range c.peers {
		if p.busy || p.cosigned >= m.size || p.after.After(c.begun) {
			continue
		}
		p.busy = true
		c.open++
		requests.Add(1)
		held := p.held
		go func() {
			defer requests.Done()
			sig, stands, err := c.ask(ctx, p, held, at, note)
			c.answer <- asked{p, at.Size, at.text(), sig, stands, err} // room for one of each witness
		}()
	}
}

// take deals with an answer.
func (c *cosigner) take(ctx context.Context, a asked) {
	p := a.p
	p.busy = false
	if a.size == c.round && c.open > 0 {
		c.open--
	}
	quorum := false
	if a.err == nil {
		quorum, a.err = c.keep(ctx, a)
	}
	switch {
	case ctx.Err() != nil:
		return
	case a.err == nil:
		if p.failing {
			c.n.l.log.Info("the witness cosigns again", "witness", p.key.name, "size", a.size)
		}
		p.held, p.cosigned, p.delay, p.failing, p.refuses = a.held, a.size, 0, false, false
	default:
		p.held = min(a.held, a.size)
		p.refuses = errors.Is(a.err, errOtherHistory)
		var busy *busyError
		errors.As(a.err, &busy)
		if !p.failing {
			c.n.l.log.Warn("the witness does not cosign", "witness", p.key.name, "size", a.size, "error", a.err.Error())
		}
		p.failing = true
		after := time.Duration(0)
		if busy != nil {
			after = min(busy.after, witnessMaxAfter)
		}
		c.postpone(p, after)
		c.judge(a.err)
	}
	if quorum && a.size == c.round {
		c.open = 0 // who has not answered may miss the next round
	}
	p.heard = true
	for _, q := range c.peers {
		if !q.heard {
			return
		}
	}
	c.openGate()
}

// postpone leaves a witness alone: longer each time, and at least as long as it asked.
func (c *cosigner) postpone(p *peer, after time.Duration) {
	p.delay = min(max(2*p.delay, witnessMinRetry), witnessMaxRetry)
	p.after = time.Now().Add(max(p.delay, after))
}

// judge declares the log forked when so many witnesses know another history that they are a quorum, or
// that a quorum cannot come about any more: one liar among several cannot stop the log, and a fork that
// the witnesses see cannot go on.
func (c *cosigner) judge(err error) {
	var names []string
	for _, p := range c.peers {
		if p.refuses {
			names = append(names, p.key.name)
		}
	}
	if len(names) >= c.quorum || len(c.peers)-len(names) < c.quorum {
		c.n.fork(fmt.Errorf("witnesses (%s) refuse this log: %w: %w", strings.Join(names, ", "), err, ErrForked))
	}
}

// keep stores a cosignature and tells whether its checkpoint has a quorum. The first line of a witness
// over a size stays.
func (c *cosigner) keep(ctx context.Context, a asked) (quorum bool, err error) {
	lines, err := cosignatureLines(ctx, badgerView{c.n.l.db}, a.size)
	if err != nil {
		return false, err
	}
	var have []cosignature
	if len(lines) > 0 {
		if have, err = parseCosignatures(lines); err != nil {
			return false, fmt.Errorf("the cosignatures kept for size %d: %w", a.size, err)
		}
	}
	if holds([]witnessKey{a.p.key}, have, a.text) == 0 {
		have = append(have, a.sig)
		if err := c.n.l.store(ctx, []kv{{cosignKey(a.size), append(lines, a.sig.line+"\n"...)}}, nil); err != nil {
			return false, fmt.Errorf("storing a cosignature: %w", err)
		}
	}
	if holds(c.keys, have, a.text) < c.quorum {
		return false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.size > c.witnessed {
		c.witnessed = a.size
		close(c.grew)
		c.grew = make(chan struct{})
	}
	return true, nil
}
