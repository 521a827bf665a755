package ledger

import (
	"bytes"
	"encoding/hex"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// reading is what verification needs of an entry. Its slices belong to the scanner or to the entry's
// bytes and are good until the next one is read.
type reading struct {
	n       uint64
	prev    Hash
	time    timeText
	own     []byte
	k       uint64
	ownPrev Hash
	chain   *chainRun // of own, when this stretch has met it before

	kind        exchange.Kind
	exchange    uuid.UUID
	hasExchange bool
	badExchange bool // an exchange id that is no UUID
	request     uint64
	hasRequest  bool
	messages    []MessageRef
	entry       *Entry // set where DecodeEntry read it
}

// timeText is a time as an entry writes it: fixed width, so that order of bytes is order of time.
type timeText [len(timeLayout)]byte

// scanner reads entries without allocation. It writes no rule of its own: DecodeEntry decides on every
// entry of a form not met before, and only what it accepted becomes a form. An entry of a known form
// differs from an accepted one in nothing but n, prev, time, own, exchange id, request, same_as and the
// messages, each of which the scanner accepts in its canonical spelling only; no rule of kinds.go looks
// at their values. Whatever the scanner does not recognise goes to DecodeEntry.
type scanner struct {
	forms   map[string]form
	kinds   map[exchange.Kind]*int64 // how many entries of each were read
	key     []byte
	refs    []MessageRef
	second  [len("2006-01-02T15:04:05.")]byte // the newest second found valid
	last    Hash                              // of the entry before, with its digits
	lastHex [64]byte
	chains  map[string]*chainRun
	node    []byte // span of kind and node, middle and tail of the entry split last
	middle  []byte
	tail    []byte
	flags   byte

	nodeEnd, middleEnd lengths
}

// lengths are the newest lengths of a span, tried before it is searched for its end. Where else the
// end might stand does not matter: only spans of accepted entries make a form.
type lengths struct {
	known [8]int
	next  int
}

func (l *lengths) find(b []byte, end string) int {
	for _, n := range l.known {
		if _, ok := after(b[min(n, len(b)):], end); ok {
			return n
		}
	}
	n := bytes.Index(b, []byte(end))
	if n >= 0 {
		l.known[l.next%len(l.known)] = n
		l.next++
	}
	return n
}

// form is what entries of one shape have in common.
type form struct {
	kind  exchange.Kind
	count *int64
}

// maxForms bounds what a log of ever new shapes makes the scanner remember.
const maxForms = 1024

// scannedKinds are those that stand in numbers: their forms are worth remembering.
var scannedKinds = map[exchange.Kind]bool{exchange.KindRequest: true, exchange.KindResponse: true, exchange.KindRefusal: true,
	exchange.KindFailure: true, exchange.KindUndelivered: true, KindRecovery: true}

func newScanner() *scanner {
	s := &scanner{forms: map[string]form{}, kinds: map[exchange.Kind]*int64{}, chains: map[string]*chainRun{}}
	s.setLast(Hash{})
	return s
}

// counter counts the entries of a kind.
func (s *scanner) counter(kind exchange.Kind) *int64 {
	c := s.kinds[kind]
	if c == nil {
		c = new(int64)
		s.kinds[kind] = c
	}
	return c
}

// read fills r from an entry's bytes, or gives what DecodeEntry says against them.
func (s *scanner) read(b []byte, r *reading) error {
	if s.scan(b, r) {
		return nil
	}
	e, err := DecodeEntry(b)
	if err != nil {
		return err
	}
	s.learn(b, e)
	*s.counter(e.Kind)++
	*r = reading{n: e.N, prev: e.Prev, own: []byte(e.Own.P), k: e.Own.K, ownPrev: e.Own.Prev, chain: s.chains[e.Own.P],
		kind: e.Kind, hasExchange: e.Exchange != "", messages: e.Messages, entry: e}
	copy(r.time[:], e.Time.UTC().Format(timeLayout))
	if e.Request != nil {
		r.request, r.hasRequest = *e.Request, true
	}
	if r.hasExchange {
		var err error
		r.exchange, err = uuid.Parse(string(e.Exchange))
		r.badExchange = err != nil
	}
	return nil
}

// learn remembers the form of an entry that DecodeEntry accepted.
func (s *scanner) learn(b []byte, e *Entry) {
	var r reading
	if !scannedKinds[e.Kind] || len(b) > MaxEntry || !s.split(b, &r) {
		return
	}
	if len(s.forms) >= maxForms {
		clear(s.forms)
	}
	s.forms[string(s.formKey())] = form{e.Kind, s.counter(e.Kind)}
}

// scan reads an entry of a known form; false says nothing about the entry.
func (s *scanner) scan(b []byte, r *reading) bool {
	if len(b) > MaxEntry || !s.split(b, r) {
		return false
	}
	f, ok := s.forms[string(s.formKey())]
	if !ok {
		return false
	}
	*f.count++
	r.kind, r.hasExchange, r.badExchange, r.entry = f.kind, true, false, nil
	return true
}

// formKey is what must be the same for two entries to be of one form. The zero bytes keep its parts
// apart: no accepted entry holds one.
func (s *scanner) formKey() []byte {
	s.key = append(s.key[:0], s.node...)
	s.key = append(s.key, 0, s.flags)
	s.key = append(s.key, s.middle...)
	s.key = append(s.key, 0)
	s.key = append(s.key, s.tail...)
	return s.key
}

// split reads the parts that differ from entry to entry, and finds the three spans that make its form.
func (s *scanner) split(b []byte, r *reading) bool {
	b, ok := s.place(b, r)
	if !ok {
		return false
	}
	at := s.nodeEnd.find(b, `,"exchange":"`)
	if at < 0 {
		return false
	}
	s.node, b = b[:at], b[at+len(`,"exchange":"`):]
	if !parseUUID(b, &r.exchange) {
		return false
	}
	b = b[36:]
	if b, ok = after(b, `"`); !ok {
		return false
	}
	s.flags = '0'
	if rest, has := after(b, `,"request":`); has {
		if r.request, b, ok = number(rest); !ok {
			return false
		}
		s.flags |= 1
	}
	r.hasRequest = s.flags&1 == 1
	if rest, has := after(b, `,"same_as":`); has {
		if _, b, ok = number(rest); !ok {
			return false
		}
		s.flags |= 2
	}
	r.messages = nil
	s.middle, s.tail = b, nil
	if at := s.middleEnd.find(b, `,"messages":[{`); at >= 0 {
		s.flags |= 4
		s.middle = b[:at]
		if s.tail, ok = s.messages(b[at+len(`,"messages":[`):]); !ok {
			return false
		}
		r.messages = s.refs
	}
	return true
}

// place reads what the sequencer wrote: everything before "kind".
func (s *scanner) place(b []byte, r *reading) (rest []byte, ok bool) {
	if b, ok = after(b, `{"v":1,"n":`); !ok {
		return nil, false
	}
	if r.n, b, ok = number(b); !ok {
		return nil, false
	}
	if b, ok = after(b, `,"prev":"`); !ok || len(b) < 64 {
		return nil, false
	}
	if string(b[:64]) == string(s.lastHex[:]) {
		r.prev = s.last
	} else if !parseHash(b, &r.prev) {
		return nil, false
	}
	if b, ok = after(b[64:], `","time":"`); !ok || len(b) < len(timeLayout) || !s.instant(b[:len(timeLayout)]) {
		return nil, false
	}
	copy(r.time[:], b)
	if b, ok = after(b[len(timeLayout):], `","own":{"p":"`); !ok {
		return nil, false
	}
	end := bytes.IndexByte(b, '"')
	if end < 0 {
		return nil, false
	}
	r.own = b[:end]
	if r.chain = s.chains[string(r.own)]; r.chain == nil && checkOwn(string(r.own)) != nil {
		return nil, false
	}
	if b, ok = after(b[end:], `","k":`); !ok {
		return nil, false
	}
	if r.k, b, ok = number(b); !ok {
		return nil, false
	}
	if b, ok = after(b, `,"prev":"`); !ok || len(b) < 64 {
		return nil, false
	}
	if r.chain != nil && string(b[:64]) == string(r.chain.hex[:]) {
		r.ownPrev = r.chain.hash
	} else if !parseHash(b, &r.ownPrev) {
		return nil, false
	}
	return after(b[64:], `"},`)
}

// messages reads message references up to the end of their array, and gives what follows.
func (s *scanner) messages(b []byte) (rest []byte, ok bool) {
	s.refs = s.refs[:0]
	for {
		var m MessageRef
		var v uint64
		if b, ok = after(b, `{"i":`); !ok {
			return nil, false
		}
		if v, b, ok = number(b); !ok || v > 1<<30 {
			return nil, false
		}
		m.I = int(v)
		if b, ok = after(b, `,"points":[`); !ok {
			return nil, false
		}
		if b, ok = points(b); !ok {
			return nil, false
		}
		if rest, has := after(b, `,"status":`); has {
			if v, b, ok = number(rest); !ok || v == 0 || v > 1<<30 {
				return nil, false
			}
			m.Status = int(v)
		}
		if b, ok = after(b, `,"size":`); !ok {
			return nil, false
		}
		if v, b, ok = number(b); !ok || v > 1<<62 {
			return nil, false
		}
		m.Size = int64(v)
		if b, ok = after(b, `,"commitment":"`); !ok || !parseHash(b, &m.Commitment) {
			return nil, false
		}
		if b, ok = after(b[64:], `"`); !ok {
			return nil, false
		}
		if rest, has := after(b, `,"cut":true`); has {
			b, m.Cut = rest, true
		}
		s.refs = append(s.refs, m)
		if b, ok = after(b, `}`); !ok || len(b) == 0 {
			return nil, false
		}
		if b[0] == ']' {
			return b[1:], true
		}
		if b, ok = after(b, `,`); !ok {
			return nil, false
		}
	}
}

// points passes over a list of capture points.
func points(b []byte) (rest []byte, ok bool) {
	for {
		if b, ok = after(b, `"`); !ok {
			return nil, false
		}
		i := 0
		for i < len(b) && (b[i] >= 'a' && b[i] <= 'z' || b[i] == '-') {
			i++
		}
		if b, ok = after(b[i:], `"`); !ok || len(b) == 0 {
			return nil, false
		}
		if b[0] == ']' {
			return b[1:], true
		}
		if b, ok = after(b, `,`); !ok {
			return nil, false
		}
	}
}

// instant accepts a time in its one spelling.
func (s *scanner) instant(b []byte) bool {
	second, fraction := b[:len(s.second)], b[len(s.second):]
	if s.second[0] == 0 || string(second) != string(s.second[:]) {
		t, err := time.Parse(timeLayout, string(b))
		if err != nil || t.UTC().Format(timeLayout) != string(b) {
			return false
		}
		copy(s.second[:], second)
		return true
	}
	for _, c := range fraction[:6] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return fraction[6] == 'Z'
}

// setLast tells the hash of the entry before, which most entries name.
func (s *scanner) setLast(h Hash) {
	s.last = h
	hex.Encode(s.lastHex[:], h[:])
}
