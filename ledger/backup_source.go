package ledger

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// backupBase is where a part begins: the end of the part before. The zero value begins a full backup.
type backupBase struct {
	Since uint64 // version
	Size  uint64
	Last  Hash
	At    uint64 // version at which the store holds entry Size-1
}

// ErrOtherHistory says that a ledger is not the one that a backup goes on from: another history, or a
// store whose records were written anew (salvaged, restored from other parts).
var ErrOtherHistory = errors.New("the ledger does not go on from the newest part of this backup; begin a new backup in an empty directory")

// backupSource gives the bytes of a part. It has two parts: the store itself, and a running instance.
type backupSource interface {
	openBackup(ctx context.Context, from backupBase) (io.ReadCloser, error)
}

// snapshot reads the store at one version. One goroutine uses it.
type snapshot struct{ txn *badger.Txn }

func (s snapshot) Get(_ context.Context, key []byte) ([]byte, error) {
	if n, ok := entryNumber(key); ok {
		return entryAt(s.txn, n)
	}
	item, err := s.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return item.ValueCopy(nil)
}

func (s snapshot) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	it := s.txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	if from == nil {
		from = prefix
	}
	for it.Seek(from); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := it.Item().ValueCopy(nil)
		if err == nil {
			err = fn(it.Item().KeyCopy(nil), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// partSource is a snapshot of a store, ready to be written as a part.
type partSource struct {
	snapshot
	header PartHeader
	from   backupBase
}

// openPart takes the snapshot and checks that it goes on from where the part before ended. All tables are
// read first: over a damaged block Badger's iterators end as if there were nothing more.
func openPart(ctx context.Context, db *badger.DB, from backupBase) (p *partSource, err error) {
	defer recoverStore(&err)
	if err := wholeTables(db); err != nil {
		return nil, fmt.Errorf("the store is damaged: %w", err)
	}
	p = &partSource{snapshot: snapshot{db.NewTransaction(false)}, from: from}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	head, err := readHead(ctx, p)
	if err != nil {
		return nil, err
	}
	genesis, err := readEntry(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	if genesis.Genesis == nil || head.Size == 0 {
		return nil, errors.New("the first entry is no genesis")
	}
	_, note, err := Before(ctx, p, head.Size)
	if err != nil {
		return nil, err
	}
	p.header = PartHeader{Origin: genesis.Genesis.Origin, Time: head.Time, Since: from.Since, Until: p.txn.ReadTs(),
		Size: head.Size, Last: head.Last, Root: head.Root, Checkpoint: string(note), Whole: shrinking}
	newest, err := p.txn.Get(entryKey(head.Size - 1)) // the last of its run
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", head.Size-1, err)
	}
	p.header.At = newest.Version()
	return p, p.goesOn()
}

// wholeTables reads every block of every table of the store and says which is damaged.
func wholeTables(db *badger.DB) (err error) {
	defer recoverStore(&err)
	return db.VerifyChecksum()
}

// goesOn checks that the store still holds what the part before ended with, under the same version.
func (p *partSource) goesOn() error {
	if p.from == (backupBase{}) {
		return nil
	}
	if p.from.Size == 0 || p.from.Size > p.header.Size || p.from.Since > p.header.Until {
		return ErrOtherHistory
	}
	item, err := p.txn.Get(entryKey(p.from.Size - 1))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return ErrOtherHistory
	}
	if err != nil {
		return err
	}
	b, err := itemValue(item)
	if err != nil {
		return fmt.Errorf("entry %d: %w", p.from.Size-1, err)
	}
	last := Hash{}
	err = splitRun(p.from.Size-1, b, func(_ uint64, entry []byte) error { last = EntryHash(entry); return nil })
	if err != nil || item.Version() != p.from.At || last != p.from.Last {
		return ErrOtherHistory
	}
	return nil
}

func (p *partSource) close() { p.txn.Discard() }

// writeTo writes the part: first what is newer than the part before, in order of key, then the shrinking
// tables whole. Entries are held against the chain on the way.
func (p *partSource) writeTo(ctx context.Context, w io.Writer) (err error) {
	defer recoverStore(&err)
	out, err := newPartWriter(w, p.header)
	if err != nil {
		return err
	}
	if err := p.records(ctx, out, badger.IteratorOptions{AllVersions: true, SinceTs: p.from.Since}); err != nil {
		return err
	}
	for i := range len(shrinking) {
		if err := p.records(ctx, out, badger.IteratorOptions{Prefix: []byte{shrinking[i]}}); err != nil {
			return err
		}
	}
	return out.end()
}

func (p *partSource) records(ctx context.Context, out *partWriter, o badger.IteratorOptions) error {
	it := p.txn.NewIterator(o)
	defer it.Close()
	chain := chainCheck{next: p.from.Size, prev: p.from.Last}
	var before []byte
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		item := it.Item()
		key := item.Key()
		if bytes.Equal(key, before) || o.Prefix == nil && strings.IndexByte(shrinking, key[0]) >= 0 {
			continue // an older version; a table that follows whole
		}
		before = append(before[:0], key...)
		if item.IsDeletedOrExpired() {
			if p.from.Since > 0 {
				if err := out.deleted(key, item.Version()); err != nil {
					return err
				}
			}
			continue
		}
		value, err := itemValue(item)
		if err != nil {
			out.counts.damage("key %x: %v", key, err)
			continue
		}
		if key[0] == tableEntry {
			chain.run(&out.counts, key, value)
		}
		if err := out.set(key, item.Version(), value); err != nil {
			return err
		}
	}
	if o.Prefix == nil {
		chain.end(&out.counts, p.header)
	}
	return nil
}

// itemValue reads a value; Badger gives an empty one, without an error, where it cannot.
func itemValue(item *badger.Item) (value []byte, err error) {
	defer recoverStore(&err)
	value, err = item.ValueCopy(nil)
	switch {
	case err != nil:
		return nil, err
	case len(value) == 0 && item.ValueSize() > 0:
		return nil, errors.New("its value cannot be read")
	case len(value) > maxRecord:
		return nil, fmt.Errorf("its value has %d bytes, the limit is %d", len(value), maxRecord)
	}
	return value, nil
}

// chainCheck follows the entries of a part.
type chainCheck struct {
	next uint64
	prev Hash
}

func (c *chainCheck) run(counts *PartCounts, key, run []byte) {
	last, ok := entryNumber(key)
	if !ok {
		counts.damage("key %x is no entry's", key)
		return
	}
	err := splitRun(last, run, func(n uint64, entry []byte) error {
		if n != c.next {
			counts.damage("where entry %d comes next there is entry %d", c.next, n)
		} else if !bytes.HasPrefix(entry, fmt.Appendf(nil, `{"v":1,"n":%d,"prev":"%s"`, n, c.prev)) {
			counts.damage("entry %d does not follow the one before it", n)
		}
		c.next, c.prev = n+1, EntryHash(entry)
		return nil
	})
	if err != nil {
		counts.damage("entries up to %d: %v", last, err)
	}
}

func (c *chainCheck) end(counts *PartCounts, h PartHeader) {
	if c.next != h.Size || c.prev != h.Last {
		counts.damage("there are %d entries, and not the newest that the head of %d names", c.next, h.Size)
	}
}

// openBackup streams a part from the store. Closing it ends the goroutine that reads the store.
func (v badgerView) openBackup(ctx context.Context, from backupBase) (io.ReadCloser, error) {
	p, err := openPart(ctx, v.db, from)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer p.close()
		w.CloseWithError(p.writeTo(ctx, w))
	}()
	return &partStream{r, ended}, nil
}

type partStream struct {
	*io.PipeReader
	ended chan struct{}
}

func (s *partStream) Close() error {
	err := s.PipeReader.Close()
	<-s.ended
	return err
}

// backup streams a part over the socket. A part can take hours: it ends when the instance stops, and the
// reader is then not waited for.
func (s *Socket) backup(w http.ResponseWriter, r *http.Request) {
	from, err := readBase(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, func() {
		cancel()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now()) // a connection that is gone needs none
	})()
	p, err := openPart(ctx, s.l.db, from)
	switch {
	case errors.Is(err, ErrOtherHistory):
		http.Error(w, err.Error(), http.StatusConflict)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer p.close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := p.writeTo(ctx, &givingWay{w: w, ctx: ctx, l: s.l, since: time.Now()}); err != nil {
		panic(http.ErrAbortHandler) // the reader sees a broken stream, not a short one
	}
}

// givingWay is the pace of a backup: while entries wait for the sequencer it rests, after each piece, three
// times as long as it took to read it, so that a backup costs a busy gateway a quarter of a core.
type givingWay struct {
	w     io.Writer
	ctx   context.Context
	l     *Ledger
	since time.Time
}

func (g *givingWay) Write(b []byte) (int, error) {
	if len(g.l.seq.queue) > 0 {
		rest := time.NewTimer(min(3*time.Since(g.since), time.Second))
		select {
		case <-rest.C:
		case <-g.ctx.Done():
			rest.Stop()
			return 0, g.ctx.Err()
		}
	}
	n, err := g.w.Write(b)
	g.since = time.Now()
	return n, err
}

func (b backupBase) query() url.Values {
	u := func(n uint64) []string { return []string{strconv.FormatUint(n, 10)} }
	return url.Values{"since": u(b.Since), "size": u(b.Size), "last": {b.Last.String()}, "at": u(b.At)}
}

func readBase(q url.Values) (b backupBase, err error) {
	for name, n := range map[string]*uint64{"since": &b.Since, "size": &b.Size, "at": &b.At} {
		if *n, err = strconv.ParseUint(q.Get(name), 10, 62); err != nil {
			return b, fmt.Errorf("%s: a number below 2^62", name)
		}
	}
	last, err := hex.DecodeString(q.Get("last"))
	if err != nil || len(last) != len(b.Last) {
		return b, errors.New("last: a digest of 64 hexadecimal digits")
	}
	b.Last = Hash(last)
	return b, nil
}

// openBackup asks the running instance for a part.
func (r *Remote) openBackup(ctx context.Context, from backupBase) (io.ReadCloser, error) {
	resp, err := r.do(ctx, http.MethodGet, "/backup?"+from.query().Encode(), nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
