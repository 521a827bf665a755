package ledger

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// synthetic is a log written straight into a store, quickly: real entries, tree, own chains, tables and
// checkpoints, without content. It makes the large logs of the verifier's tests and benchmarks.
type synthetic struct {
	t     testing.TB
	keys  *seedKeys
	rand  *rand.Rand
	wb    *badger.WriteBatch
	s     state
	open  []exchange.Record
	ns    []uint64
	run   entryRun
	index indexWrites
}

// makeLog writes a log of size entries with a checkpoint about every `every` entries, into a new directory.
func makeLog(t testing.TB, k *seedKeys, size, every int, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	db, err := badger.Open(storeOptions(filepath.Join(dir, storeDirName), quiet()).WithSyncWrites(false))
	if err != nil {
		t.Fatal(err)
	}
	m := &synthetic{t: t, keys: k, rand: rand.New(rand.NewPCG(seed, 1)), wb: db.NewWriteBatch(), s: state{own: map[string]ownState{}}}
	m.put(LogChain, Tail{Kind: KindGenesis, Genesis: &Genesis{Origin: testOrigin, Format: 1, Software: "test", Custody: "vault", Keys: testOptions(dir, k).PublicKeys}})
	for i := 1; i < size; i++ {
		m.next()
		if i == size-1 || m.rand.IntN(every) == 0 {
			m.note()
		}
	}
	for p, s := range m.s.own {
		m.set(ownKey(p), m.json(s))
	}
	oldest := m.s.head.Size
	for _, n := range m.ns {
		oldest = min(oldest, n)
	}
	for _, x := range append(m.run.records(), m.index.records()...) {
		m.set(x.key, x.value)
	}
	h := m.s.head
	h.Root, h.Edge, h.Open = m.s.tree.root(), m.s.tree.hashes, oldest
	m.set(headKey(), m.json(h))
	if err := m.wb.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := openHeadFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.write(headMark{Size: h.Size, Last: h.Last, Root: h.Root}); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if err := markClean(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (m *synthetic) set(key, value []byte) {
	if err := m.wb.Set(key, value); err != nil {
		m.t.Fatal(err)
	}
}

func (m *synthetic) json(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// next opens an exchange, closes one that is open, or refuses one.
func (m *synthetic) next() {
	ec := fmt.Sprintf("ec:7777777777%d", m.rand.IntN(4))
	tail := Tail{Kind: exchange.KindRequest, Exchange: newID(), Route: "ec-in", Operation: []string{"paGetPaymentV2", "paSendRTV2", "paVerifyPaymentNotice"}[m.rand.IntN(3)],
		From: &testFrom, To: &exchange.Party{Participant: ec, Role: "ec"}, Decision: testDecision,
		Messages: []MessageRef{{Points: []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded}, Size: int64(m.rand.IntN(5000)), Commitment: Hash{byte(m.rand.Int())}}}}
	switch {
	case m.rand.IntN(50) == 0:
		tail.Kind, tail.Reason, tail.Decision = exchange.KindRefusal, "policy", nil
	case len(m.open) > 0 && (len(m.open) > 200 || m.rand.IntN(2) == 0):
		i := m.rand.IntN(len(m.open))
		tail.Exchange, tail.Request, tail.Kind = m.open[i].Exchange, &m.ns[i], exchange.KindResponse
		n := m.ns[i]
		tail.Request, ec = &n, m.open[i].Principal
		tail.Outcome = &exchange.Outcome{Code: "OK"}
		tail.Messages[0].I, tail.Messages[0].Status = 1, 200
		tail.Messages[0].Points = []exchange.Point{exchange.ResponseReceived, exchange.ResponseDelivered}
		last := len(m.open) - 1
		m.open[i], m.ns[i] = m.open[last], m.ns[last]
		m.open, m.ns = m.open[:last], m.ns[:last]
	default:
		m.open, m.ns = append(m.open, exchange.Record{Exchange: tail.Exchange, Principal: ec}), append(m.ns, m.s.head.Size)
	}
	m.put(OwnChain(ec, "audit-10y"), tail)
}

func (m *synthetic) put(p string, t Tail) {
	t.Node = "gw-1"
	tail, err := encodeTail(&t)
	if err != nil {
		m.t.Fatal(err)
	}
	h, own := &m.s.head, m.s.own[p]
	at := At(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(h.Size) * 100 * time.Microsecond))
	b := joinEntry(h.Size, h.Last, at, Own{P: p, K: own.K, Prev: own.Hash}, tail)
	leaf := leafHash(b)
	m.s.edge.add(h.Size, leaf, func(l uint, n uint64, tile []byte) { m.set(tileKey(l, n), tile) })
	m.s.tree.add(leaf)
	m.run.add(h.Size, b)
	m.index.own(p, own.K, h.Size)
	if m.rand.IntN(40) == 0 { // here ends a batch
		for _, x := range append(m.run.records(), m.index.records()...) {
			m.set(x.key, x.value)
		}
		m.run, m.index = entryRun{}, indexWrites{}
	}
	if t.Exchange != "" {
		m.set(exchangeIndexKey(mustUUID(m.t, t.Exchange), h.Size), nil)
	}
	h.Last, h.Time, h.Size = EntryHash(b), at, h.Size+1
	m.s.own[p] = ownState{K: own.K + 1, Hash: h.Last}
}

func (m *synthetic) note() {
	n, err := signCheckpoint(m.t.Context(), Checkpoint{Origin: testOrigin, Size: m.s.head.Size, Root: m.s.tree.root()}, m.keys)
	if err != nil {
		m.t.Fatal(err)
	}
	m.set(noteKey(m.s.head.Size), n)
}

func mustUUID(t testing.TB, id exchange.ID) uuid.UUID {
	t.Helper()
	x, err := uuid.Parse(string(id))
	if err != nil {
		t.Fatal(err)
	}
	return x
}
