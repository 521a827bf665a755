package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// listMost bounds the ranges that a report lists; more are counted.
const listMost = 1000

// SalvageRange is a run of entries.
type SalvageRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// SalvageLoss is a record that an entry needs and that was not recovered.
type SalvageLoss struct {
	Entry uint64 `json:"entry"`
	What  string `json:"what"`
}

// judge holds the recovered records against each other, up to a size.
type judge struct {
	view View
	key  ed25519.PublicKey // of checkpoints; nil: the one that genesis names
	own  map[string]ownState
	open map[uuid.UUID]uint64
	tree frontier
	edge edge
	last Hash
	time Time

	intact  uint64 // entries whose bytes are a whole entry of the right number
	whole   uint64 // entries from the first on without a gap and with an unbroken chain
	missing []SalvageRange
	broken  []uint64 // entries whose predecessor is not the one that they name
	lost    []SalvageLoss
	losses  int    // len(lost), and those not listed
	signed  uint64 // newest signed checkpoint whose root the entries have
	badSigs int

	gone     map[string]bool // exchanges erased, and class-months disposed of: "class month"
	content  []contentLoss
	keyKnown map[classKeyID]bool
	derived  func(judged) error // told of every entry of the whole beginning; nil: nobody
}

// judged is one entry of the whole beginning.
type judged struct {
	n     uint64
	entry *Entry
	tiles []kv
}

type contentLoss struct {
	SalvageLoss
	exchange string
	class    string
}

func newJudge(v View, key ed25519.PublicKey) *judge {
	return &judge{view: v, key: key, own: map[string]ownState{}, open: map[uuid.UUID]uint64{}, gone: map[string]bool{}, keyKnown: map[classKeyID]bool{}}
}

// entries reads all entries below size, in order.
func (j *judge) entries(ctx context.Context, size uint64) error {
	n := uint64(0)
	err := j.view.Scan(ctx, []byte{tableEntry}, entryKey(0), func(key, value []byte) error {
		if len(key) != 9 {
			return nil
		}
		at := binary.BigEndian.Uint64(key[1:])
		if at >= size {
			return errStop
		}
		j.miss(n, at)
		n = at + 1
		return j.entry(ctx, at, value)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	j.miss(n, size)
	for _, c := range j.content {
		if !j.gone[c.exchange] && !j.gone[c.class] {
			j.lose(c.SalvageLoss)
		}
	}
	j.content = nil
	return nil
}

func (j *judge) miss(first, end uint64) {
	if first < end && len(j.missing) < listMost {
		j.missing = append(j.missing, SalvageRange{first, end - 1})
	}
}

func (j *judge) lose(l SalvageLoss) {
	if j.losses++; len(j.lost) < listMost {
		j.lost = append(j.lost, l)
	}
}

func (j *judge) entry(ctx context.Context, n uint64, b []byte) error {
	e, err := DecodeEntry(b)
	if err != nil || e.N != n {
		j.miss(n, n+1)
		return nil
	}
	j.intact++
	hash := EntryHash(b)
	chained := j.whole == n && e.Prev == j.last && e.Own.K == j.own[e.Own.P].K && e.Own.Prev == j.own[e.Own.P].Hash && !e.Time.Before(j.time.Time)
	if j.whole == n && !chained && len(j.broken) < listMost {
		j.broken = append(j.broken, n)
	}
	if err := j.needs(ctx, n, e); err != nil {
		return err
	}
	if !chained {
		return nil
	}
	j.whole, j.last, j.time = n+1, hash, e.Time
	j.own[e.Own.P] = ownState{K: e.Own.K + 1, Hash: hash}
	if x, err := uuid.Parse(string(e.Exchange)); err == nil {
		switch e.Kind {
		case exchange.KindRequest:
			j.open[x] = n
		case exchange.KindResponse, exchange.KindFailure, KindRecovery:
			delete(j.open, x)
		}
	}
	one := judged{n: n, entry: e}
	leaf := leafHash(b)
	j.edge.add(n, leaf, func(l uint, i uint64, tile []byte) { one.tiles = append(one.tiles, kv{tileKey(l, i), tile}) })
	j.tree.add(leaf)
	if err := j.note(ctx, n, e); err != nil {
		return err
	}
	if j.derived != nil {
		return j.derived(one)
	}
	return nil
}

// note checks the signed checkpoint of the tree that entry n completes.
func (j *judge) note(ctx context.Context, n uint64, e *Entry) error {
	if n == 0 && e.Genesis != nil && j.key == nil {
		for _, k := range e.Genesis.Keys {
			if pub, err := x509.ParsePKIXPublicKey(k.SPKI); k.Use == "checkpoint" && err == nil {
				j.key, _ = pub.(ed25519.PublicKey)
			}
		}
	}
	note, err := j.view.Get(ctx, noteKey(n+1))
	if errors.Is(err, ErrNotFound) || err == nil && j.key == nil {
		return nil
	}
	if err != nil {
		return err
	}
	text, _, err := splitNote(note)
	if err == nil {
		_, err = OpenCheckpoint(note, text.Origin, j.key)
	}
	if err != nil || text.Size != n+1 || text.Root != j.tree.root() {
		j.badSigs++
		return nil
	}
	j.signed = n + 1
	return nil
}

// needs looks for the records that an entry cannot do without: content, keys, receipt, token. Without
// keys content cannot be opened here: a chunk is there, with the checksum that it was written with.
func (j *judge) needs(ctx context.Context, n uint64, e *Entry) error {
	has := func(key []byte) ([]byte, error) {
		b, err := j.view.Get(ctx, key)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return b, err
	}
	switch {
	case e.Erasure != nil:
		j.gone[string(e.Exchange)] = true
	case e.Disposal != nil:
		j.gone[e.Disposal.Class+" "+e.Disposal.Month] = true
	case e.Timestamp != nil:
		for what, key := range map[string][]byte{"its time-stamp token": stampKey(e.Timestamp.Size), "the checkpoint of its token": noteKey(e.Timestamp.Size)} {
			if b, err := has(key); err != nil {
				return err
			} else if b == nil {
				j.lose(SalvageLoss{n, what})
			}
		}
	}
	x, err := uuid.Parse(string(e.Exchange))
	if err != nil {
		return nil
	}
	_, class, _ := strings.Cut(e.Own.P, "/")
	lose := func(format string, a ...any) {
		j.content = append(j.content, contentLoss{SalvageLoss{n, fmt.Sprintf(format, a...)}, string(e.Exchange), class + " " + e.Time.Format("2006-01")})
	}
	for _, m := range e.Messages {
		key, err := has(messageKeyKey(x, m.I))
		if err != nil {
			return err
		}
		if len(key) != messageKeySize {
			lose("the key of message %d", m.I)
		} else if id := classKeyID(key[1:17]); !j.keyKnown[id] {
			b, err := has(classKeyKey(id))
			if err != nil {
				return err
			}
			if j.keyKnown[id] = b != nil; b == nil {
				lose("the data key %x of message %d", id, m.I)
			}
		}
		lost, err := lostContent(x, m, has)
		if err != nil {
			return err
		}
		for _, what := range lost {
			lose("%s", what)
		}
	}
	switch e.Kind {
	case exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure:
		if b, err := has(receiptKey(x)); err != nil {
			return err
		} else if b == nil {
			lose("the receipt")
		}
	}
	return nil
}

// lostContent names what is missing of a message: its one record, or its chunks. Of a message that is gone
// altogether nobody knows which of the two it had.
func lostContent(x uuid.UUID, m MessageRef, has func(key []byte) ([]byte, error)) (lost []string, err error) {
	packed, err := has(chunkKey(x, headStream(m.I), packedChunk))
	if err != nil {
		return nil, err
	}
	if packed != nil {
		if len(packed) < 4 || int64(len(packed)) != 4+int64(binary.BigEndian.Uint32(packed))+m.Size+16 {
			lost = append(lost, fmt.Sprintf("message %d", m.I))
		}
		return lost, nil
	}
	for c := int64(0); c == 0 || c*chunkSize < m.Size; c++ {
		b, err := has(chunkKey(x, bodyStream(m.I), uint32(c)))
		if err != nil {
			return nil, err
		}
		if int64(len(b)) != min(m.Size-c*chunkSize, chunkSize)+16 {
			lost = append(lost, fmt.Sprintf("chunk %d of the body of message %d", c, m.I))
		}
	}
	head, err := has(chunkKey(x, headStream(m.I), 0))
	if err == nil && head == nil && len(lost) == 1 && m.Size <= inlineContent {
		return []string{fmt.Sprintf("message %d", m.I)}, nil
	}
	if err == nil && head == nil {
		lost = append(lost, fmt.Sprintf("the head of message %d", m.I))
	}
	return lost, err
}

// reaches tells whether the entries lead without a gap to what was acknowledged.
func (j *judge) reaches(m headMark) bool {
	return j.whole == m.Size && j.last == m.Last && j.tree.root() == m.Root
}

// salvagedHead is the newest head record among what was recovered; ok is false where there is none.
func salvagedHead(ctx context.Context, v View) (m headMark, ok bool) {
	h, err := readHead(ctx, v)
	if err != nil || h.Size == 0 {
		return m, false
	}
	return headMark{Size: h.Size, Last: h.Last, Root: h.Root}, true
}
