package archive

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// testLedger is a small log with own chains, as docs/formats.md describes it, in memory.
type testLedger struct {
	origin   string
	key      ed25519.PrivateKey
	entries  [][]byte
	kinds    []exchange.Kind
	own      map[string][]int // own chain to entry numbers
	contents map[string]Content
	erased   map[string]bool
	receipts map[exchange.ID]string
	clock    time.Time
	marks    []Checkpoint
}

func newLedger() *testLedger {
	seed := sha256.Sum256([]byte("a test key"))
	l := &testLedger{origin: "sigillo.example.it/test", key: ed25519.NewKeyFromSeed(seed[:]), own: map[string][]int{}, contents: map[string]Content{},
		erased: map[string]bool{}, receipts: map[exchange.ID]string{}, clock: time.Now().UTC().Truncate(time.Microsecond).Add(-time.Minute)}
	l.append("log", "genesis", `,"origin":"`+l.origin+`"`)
	return l
}

func (l *testLedger) vkey() string {
	raw := append([]byte{1}, l.key.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte(l.origin+"\n"), raw...))
	return fmt.Sprintf("%s+%x+%s", l.origin, sum[:4], base64.StdEncoding.EncodeToString(raw))
}

// append adds an entry; tail is what stands behind kind.
func (l *testLedger) append(own string, kind exchange.Kind, tail string) uint64 {
	n, chain := len(l.entries), l.own[own]
	prev, ownPrev := strings.Repeat("0", 64), strings.Repeat("0", 64)
	if n > 0 {
		prev = fmt.Sprintf("%x", sha256.Sum256(l.entries[n-1]))
	}
	if len(chain) > 0 {
		ownPrev = fmt.Sprintf("%x", sha256.Sum256(l.entries[chain[len(chain)-1]]))
	}
	l.clock = l.clock.Add(time.Millisecond)
	e := fmt.Sprintf(`{"v":1,"n":%d,"prev":"%s","time":"%s","own":{"p":"%s","k":%d,"prev":"%s"},"kind":"%s","node":"gw-1"%s}`,
		n, prev, l.clock.Format("2006-01-02T15:04:05.000000Z"), own, len(chain), ownPrev, kind, tail)
	l.entries, l.kinds = append(l.entries, []byte(e)), append(l.kinds, kind)
	l.own[own] = append(chain, n)
	return uint64(n)
}

// captured is a message to be recorded.
type captured struct {
	points []exchange.Point
	status int
	media  string
	body   string
}

func exchangeID(i int) exchange.ID {
	return exchange.ID(fmt.Sprintf("0193a000-0000-7000-8000-%012d", i))
}

// record appends an entry of an exchange with its messages, numbered from first.
func (l *testLedger) record(own string, kind exchange.Kind, x exchange.ID, request *uint64, first int, messages ...captured) uint64 {
	principal, _, _ := strings.Cut(own, "/")
	tail := fmt.Sprintf(`,"exchange":"%s"`, x)
	if request != nil {
		tail += fmt.Sprintf(`,"request":%d`, *request)
	}
	tail += fmt.Sprintf(`,"route":"ec-in","operation":"paGetPaymentV2","from":{"participant":"psp:TESTPSP1","role":"psp"},"to":{"participant":"%s","role":"ec"},"messages":[`, principal)
	for j, m := range messages {
		head := fmt.Sprintf(`{"http":"1.1","headers":[["Content-Type","%s"],["Host","gw"]],"order":"wire"}`, m.media)
		if m.status == 0 {
			head = strings.Replace(head, "{", `{"method":"POST","target":"/ec/paForNode?a=1&b=2",`, 1)
		}
		c := Content{Head: []byte(head), Body: []byte(m.body), Salt: sha256.Sum256(fmt.Appendf(nil, "salt %s %d", x, first+j))}
		l.contents[fmt.Sprintf("%s/%d", x, first+j)] = c
		points, _ := json.Marshal(m.points)
		if j > 0 {
			tail += ","
		}
		tail += fmt.Sprintf(`{"i":%d,"points":%s`, first+j, points)
		if m.status > 0 {
			tail += fmt.Sprintf(`,"status":%d`, m.status)
		}
		tail += fmt.Sprintf(`,"size":%d,"commitment":"%s"}`, len(m.body), hexOf(commitment(c.Salt, sha256.Sum256(c.Head), sha256.Sum256(c.Body))))
	}
	tail += "]"
	switch kind {
	case exchange.KindResponse:
		tail += `,"outcome":{"code":"OK"}`
	case exchange.KindRefusal:
		tail += `,"reason":"policy"`
	case exchange.KindFailure:
		tail += `,"reason":"upstream-timeout"`
	}
	return l.append(own, kind, tail)
}

var (
	received  = []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded}
	delivered = []exchange.Point{exchange.ResponseReceived, exchange.ResponseDelivered}
)

const soap = `<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><x n="%d"/></soapenv:Body></soapenv:Envelope>`

func (l *testLedger) request(own string, i int) uint64 {
	return l.record(own, exchange.KindRequest, exchangeID(i), nil, 0, captured{received, 0, "text/xml; charset=utf-8", fmt.Sprintf(soap, i)})
}

func (l *testLedger) response(own string, i int, request uint64) uint64 {
	x := exchangeID(i)
	l.receipts[x] = "eyJhIjoxfQ.eyJiIjoyfQ.c2ln"
	return l.record(own, exchange.KindResponse, x, &request, 1, captured{delivered, 200, "text/xml", fmt.Sprintf(soap, i) + "\n"})
}

// exchanges appends n plain exchanges.
func (l *testLedger) exchanges(own string, from, n int) {
	for i := from; i < from+n; i++ {
		l.response(own, i, l.request(own, i))
	}
}

// oddities appends one exchange of every other shape.
func (l *testLedger) oddities(own string, i int) {
	x := exchangeID(i)
	n := l.record(own, exchange.KindRequest, x, nil, 0,
		captured{received[:1], 0, "application/json", `{"a":1}`}, captured{received[1:], 0, "application/json", `{"a": 1}`})
	l.append("psp:OTHER/audit-10y", "request", fmt.Sprintf(`,"exchange":"%s"`, exchangeID(9999)))
	l.record(own, exchange.KindFailure, x, &n, 2,
		captured{delivered[:1], 200, "", "cut of"}, captured{delivered[1:], 504, "application/problem+json", `{"type":"about:blank"}`})
	l.record(own, exchange.KindRefusal, exchangeID(i+1), nil, 0,
		captured{received[:1], 0, "text/xml", ""}, captured{delivered[1:], 403, "text/xml", "<fault/>"})
	open := l.request(own, i+2)
	l.append(own, "recovery", fmt.Sprintf(`,"exchange":"%s","request":%d`, exchangeID(i+2), open))
	l.append(own, "export", `,"package":"pda-77777777777-audit-10y-20261101-000001"`)
}

// checkpoint signs the log's present state, with a token when a is not nil.
func (l *testLedger) checkpoint(t testing.TB, a *authority) {
	size := uint64(len(l.entries))
	c := Checkpoint{Size: size, Note: l.note(size)}
	if a != nil {
		var err error
		if c.Query, c.Reply, err = a.query(context.Background(), c.Note); err != nil {
			t.Fatal(err)
		}
	}
	l.marks = append(l.marks, c)
}

func (l *testLedger) note(size uint64) []byte {
	root := l.subtree(0, size)
	text := fmt.Sprintf("%s\n%d\n%s\n", l.origin, size, base64.StdEncoding.EncodeToString(root[:]))
	must1, err := parseVKey(l.vkey())
	if err != nil {
		panic(err)
	}
	signature := append(binary.BigEndian.AppendUint32(nil, must1.id), ed25519.Sign(l.key, []byte(text))...)
	return fmt.Appendf(nil, "%s\n— %s %s\n", text, l.origin, base64.StdEncoding.EncodeToString(signature))
}

// subtree is MTH of RFC 6962, section 2.1, as the RFC writes it.
func (l *testLedger) subtree(from, to uint64) [32]byte {
	if to-from == 1 {
		return sha256.Sum256(append([]byte{0}, l.entries[from]...))
	}
	k := uint64(1) << (bits.Len64(to-from-1) - 1)
	a, b := l.subtree(from, from+k), l.subtree(from+k, to)
	return sha256.Sum256(append(append([]byte{1}, a[:]...), b[:]...))
}

// path is PATH of RFC 6962, section 2.1.1, as the RFC writes it.
func (l *testLedger) path(m, from, to uint64) [][32]byte {
	if to-from == 1 {
		return nil
	}
	k := uint64(1) << (bits.Len64(to-from-1) - 1)
	if m < k {
		return append(l.path(m, from, from+k), l.subtree(from+k, to))
	}
	return append(l.path(m-k, from+k, to), l.subtree(from, from+k))
}

// What follows makes it a Source.

func (l *testLedger) Origin() string { return l.origin }

func (l *testLedger) Segment(_ context.Context, own string, first, last uint64, fn func(Entry) error) error {
	for k := first; k <= last && k < uint64(len(l.own[own])); k++ {
		n := l.own[own][k]
		if err := fn(Entry{uint64(n), k, l.entries[n]}); err != nil {
			return err
		}
	}
	return nil
}

func (l *testLedger) Content(_ context.Context, x exchange.ID, i int) (Content, error) {
	name := fmt.Sprintf("%s/%d", x, i)
	c, ok := l.contents[name]
	switch {
	case l.erased[name]:
		return Content{}, ErrErased
	case !ok:
		return Content{}, errors.New("no such content")
	}
	return c, nil
}

func (l *testLedger) Proof(_ context.Context, n, size uint64) ([][32]byte, error) {
	return l.path(n, 0, size), nil
}

func (l *testLedger) After(_ context.Context, n uint64) (Checkpoint, error) {
	for _, c := range l.marks {
		if c.Size > n && c.Reply != nil {
			return c, nil
		}
	}
	return Checkpoint{}, errors.New("no checkpoint yet")
}

func (l *testLedger) Before(_ context.Context, n uint64) (note []byte, ok bool, err error) {
	for _, c := range l.marks {
		if c.Size <= n {
			note, ok = c.Note, true
		}
	}
	return note, ok, nil
}

func (l *testLedger) Receipt(_ context.Context, x exchange.ID) (string, error) {
	return l.receipts[x], nil
}
