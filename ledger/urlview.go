package ledger

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// Bounds of reading a remote log, in bundles of 256 entries (at most 16 MiB each, usually 200 KiB).
const (
	urlAhead = 4 // fetched at once ahead of a scan
	urlKept  = 4 // kept for entries asked for one by one
	urlFails = 1 << 16
)

// urlView reads a remote log through its tile API. It is the third part of View: entries, full tiles and
// the checkpoint that it was opened with; under every other key there is nothing. It checks the form of
// what it is given and nothing else: whoever reads through it holds entries and tiles against the root.
type urlView struct {
	fetch *fetcher
	size  uint64
	note  []byte
	head  []byte // head record, made of the checkpoint
	first Hash   // of entry 0 as the log was opened with: it must stay the one that is verified later

	mu     sync.Mutex
	kept   []keptBundle     // newest last
	failed map[uint64]error // bundles that cannot be had: they are not asked for again
}

type keptBundle struct {
	n       uint64
	entries [][]byte
}

// OpenURL opens a log over HTTP, at its newest signed checkpoint: base is the monitoring prefix of C2SP
// tlog-tiles (of a gateway's admin listener: its address and /log), vkey the log's C2SP verifier key as
// the reader knows it from elsewhere, client nil for the default. What fails is
// tried again a few times; no redirect is followed. The log's Head holds the size and root that were signed, and the last entry
// as it is served; Edge is empty. Partial is true of it.
//
// Errors: ErrUnreachable and ErrNotFound say that nothing could be checked; ErrOtherLog,
// ErrNoteSignature and ErrBadAnswer that what answers is not the log of that key.
func OpenURL(ctx context.Context, base, vkey string, client *http.Client) (*Log, error) {
	origin, pub, err := ParseVerifierKey(vkey)
	if err != nil {
		return nil, err
	}
	f, err := newFetcher(base, client)
	if err != nil {
		return nil, err
	}
	note, err := f.get(ctx, "checkpoint", maxNote)
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	c, err := OpenCheckpoint(note, origin, pub)
	if err != nil {
		return nil, fmt.Errorf("the log's checkpoint: %w", badAnswer(err))
	}
	if c.Size == 0 {
		return nil, fmt.Errorf("%w: a checkpoint over no entry", ErrBadAnswer)
	}
	v := &urlView{fetch: f, size: c.Size, note: note, failed: map[uint64]error{}}
	g, err := readEntry(ctx, v, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the log's genesis: %w", badAnswer(err))
	}
	if g.Kind != KindGenesis || g.Genesis.Origin != origin {
		return nil, fmt.Errorf("%w: its first entry is not the genesis of %s", ErrBadAnswer, origin)
	}
	l := &Log{View: v, Genesis: *g, partial: true, close: func() error { f.client.CloseIdleConnections(); return nil }}
	l.Head = Head{Size: c.Size, Root: c.Root}
	b, err := v.Get(ctx, entryKey(0)) // of the bundle that was kept
	if err != nil {
		return nil, err
	}
	v.first = EntryHash(b)
	// A last entry that cannot be had is for the verifier to report, not a reason not to begin.
	if b, err := v.Get(ctx, entryKey(c.Size-1)); err == nil {
		l.Head.Last = EntryHash(b)
		if e, err := DecodeEntry(b); err == nil {
			l.Head.Time = e.Time
		}
	}
	if v.head, err = json.Marshal(l.Head); err != nil {
		return nil, err
	}
	return l, nil
}

// badAnswer marks an error over what was answered; those that say what they are stay as they are.
func badAnswer(err error) error {
	for _, known := range []error{ErrUnreachable, ErrNotFound, ErrOtherLog, ErrNoteSignature, ErrBadAnswer, ErrUnknown} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrBadAnswer, err)
}

// Get is View.Get.
func (v *urlView) Get(ctx context.Context, key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, ErrNotFound
	}
	switch number := key[1:]; {
	case key[0] == tableHead && len(number) == 0:
		return append([]byte(nil), v.head...), nil
	case key[0] == tableNote && string(key) == string(noteKey(v.size)):
		return append([]byte(nil), v.note...), nil
	case key[0] == tableEntry && len(number) == 8:
		return v.entry(ctx, binary.BigEndian.Uint64(number))
	case key[0] == tableTile && len(number) == 9:
		r := tileRef{level: uint(number[0]), n: binary.BigEndian.Uint64(number[1:]), width: tileWidth}
		if r.level > maxTileLevel || r.n > v.size || !r.within(v.size) {
			return nil, ErrNotFound
		}
		return v.fetch.tile(ctx, r.level, r.n)
	}
	return nil, ErrNotFound
}

// entry gives one entry out of its bundle, of which the last few are kept.
func (v *urlView) entry(ctx context.Context, i uint64) ([]byte, error) {
	if i >= v.size {
		return nil, ErrNotFound
	}
	n := i / tileWidth
	es := v.remembered(n)
	if es == nil {
		var err error
		if es, err = v.bundle(ctx, n); err != nil {
			return nil, err
		}
		v.remember(n, es)
	}
	return append([]byte(nil), es[i%tileWidth]...), nil
}

// bundle asks for bundle n, unless it is known that it cannot be had.
func (v *urlView) bundle(ctx context.Context, n uint64) ([][]byte, error) {
	if err := v.failure(n); err != nil {
		return nil, err
	}
	es, err := v.fetch.bundle(ctx, n, int(min(tileWidth, v.size-n*tileWidth)))
	if err == nil && n == 0 && v.first != (Hash{}) && EntryHash(es[0]) != v.first {
		err = fmt.Errorf("%w: two different entries 0", ErrBadAnswer)
	}
	if err != nil && ctx.Err() == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.failed) < urlFails {
			v.failed[n] = err
		}
	}
	return es, err
}

func (v *urlView) failure(n uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed[n]
}

func (v *urlView) remembered(n uint64) [][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.kept {
		if k.n == n {
			return k.entries
		}
	}
	return nil
}

func (v *urlView) remember(n uint64, es [][]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept = append(v.kept, keptBundle{n, es}); len(v.kept) > urlKept {
		v.kept = append([]keptBundle(nil), v.kept[1:]...)
	}
}

// Scan is View.Scan over the entries, and over the one checkpoint.
func (v *urlView) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	switch {
	case len(prefix) != 1:
		return nil
	case prefix[0] == tableNote:
		if key := noteKey(v.size); string(key) >= string(from) {
			return fn(key, append([]byte(nil), v.note...))
		}
	case prefix[0] == tableEntry:
		var first uint64
		if len(from) == 9 && from[0] == tableEntry {
			first = binary.BigEndian.Uint64(from[1:])
		}
		return v.entries(ctx, first, fn)
	}
	return nil
}

// fetched is a bundle on its way.
type fetched struct {
	entries [][]byte
	err     error
}

// entries calls fn for the entries from first on, in order, while the next bundles are on their way. Its
// goroutines end before it returns.
func (v *urlView) entries(ctx context.Context, first uint64, fn func(key, value []byte) error) error {
	if first >= v.size {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	last := (v.size - 1) / tileWidth
	ask := first / tileWidth // the next to be asked for
	var coming []chan fetched
	for n := ask; n <= last; n++ {
		for ; ask <= last && len(coming) < urlAhead; ask++ {
			if err := v.failure(ask); err != nil && ask == n {
				return err
			}
			n, c := ask, make(chan fetched, 1)
			coming = append(coming, c)
			workers.Go(func() {
				es, err := v.bundle(ctx, n)
				c <- fetched{es, err}
			})
		}
		got := <-coming[0]
		coming = coming[1:]
		if got.err != nil {
			return got.err
		}
		for i, b := range got.entries {
			if at := n*tileWidth + uint64(i); at >= first {
				if err := fn(entryKey(at), b); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
