package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// tailCheck is how many of the newest entries are read and chained at every start.
const tailCheck = 1024

// BehindError says that a store has lost entries that were acknowledged.
type BehindError struct {
	Dir       string
	Acked     uint64 // size that HEAD says was acknowledged
	Found     uint64 // size of the store
	Preserved string // where the untouched files are; "" when the stop was clean
	Detail    string
}

// Error names what is missing and what to do.
func (e *BehindError) Error() string {
	s := fmt.Sprintf("the ledger in %s has lost acknowledged entries: %d were acknowledged, the store holds %d (%s)", e.Dir, e.Acked, e.Found, e.Detail)
	if e.Preserved != "" {
		s += "; the files as they were lie untouched in " + e.Preserved
	}
	return s + "; nothing is served: restore a backup, or recover what is intact with 'sigillo ledger salvage --dir " + e.Dir + " --out DIR'"
}

// openStore opens Badger for writing, after its files were looked at. On an unclean stop it first keeps
// copies of the active files, then compares what Badger made of them with HEAD.
func (l *Ledger) openStore(ctx context.Context) (unclean bool, err error) {
	dir := l.opts.Dir
	store := filepath.Join(dir, storeDirName)
	if running(dir) {
		return false, fmt.Errorf("%s: %w", dir, ErrRunning) // before its live files are taken for those of an unclean stop
	}
	seen, err := inspectStore(dir, quickBlocks)
	if err != nil {
		return false, fmt.Errorf("looking at the store's files: %w", err)
	}
	if len(seen.found) > 0 {
		return false, &DamagedError{Dir: dir, Damage: seen.found}
	}
	mark, acked, err := readHeadFile(dir)
	if err != nil {
		return false, err
	}
	existing, err := hasStore(store)
	if err != nil {
		return false, err
	}
	preserved := ""
	unclean = existing && !seen.clean
	if unclean {
		if preserved, err = l.preserve(seen); err != nil {
			return false, fmt.Errorf("keeping the files of an unclean stop: %w", err)
		}
		l.log.Warn("the last stop was unclean; the active files were kept before opening", "preserved", preserved)
	}
	if err := takeClean(dir); err != nil {
		return false, err
	}
	db, err := badger.Open(storeOptions(store, l.log).WithSyncWrites(!l.opts.noSync))
	if err != nil {
		err = fmt.Errorf("opening the store in %s: %w", store, err)
		if seen.clean {
			err = errors.Join(err, os.Rename(filepath.Join(dir, filesFileName), filepath.Join(dir, cleanFileName)))
		}
		return false, err
	}
	l.db = db
	refuse := func(err error) error {
		err = errors.Join(err, l.closeStore())
		if seen.clean {
			err = errors.Join(err, markClean(dir))
		}
		return err
	}
	if existing || acked { // existing without HEAD: killed before the first acknowledgement; only an empty log may go on
		if err := l.compareHead(ctx, mark, preserved); err != nil {
			return false, refuse(err)
		}
	}
	if unclean {
		if err := l.checkPresence(ctx, mark, preserved, len(seen.orphans) > 0); err != nil {
			return false, refuse(err)
		}
	}
	if err := markRunning(dir); err != nil {
		return false, refuse(err)
	}
	return unclean, nil
}

// hasStore tells whether there is a store in dir, or what is left of one.
func hasStore(dir string) (bool, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	for _, f := range names {
		if f.Name() == "MANIFEST" || slices.Contains([]string{".sst", ".vlog", ".mem"}, filepath.Ext(f.Name())) {
			return true, nil
		}
	}
	return false, err
}

// presenceCheck is how many of the newest entries are looked for after an unclean stop: more than
// Badger's memtables hold, so that a lost write-ahead file is seen although newer entries are there.
const presenceCheck = 1 << 19

// checkPresence looks for the run of every entry that the unclean stop could have lost; all is set where a
// table was left that the MANIFEST does not name.
func (l *Ledger) checkPresence(ctx context.Context, acked headMark, preserved string, all bool) (err error) {
	defer recoverStore(&err)
	first := uint64(0)
	if acked.Size > presenceCheck && !all {
		first = acked.Size - presenceCheck
	}
	return l.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = []byte{tableEntry}, false
		it := txn.NewIterator(o)
		defer it.Close()
		n := first
		for it.Seek(entryKey(first)); it.Valid() && n < acked.Size; it.Next() {
			last, ok := entryNumber(it.Item().Key())
			if !ok {
				break
			}
			// A run that cannot be read is there all the same: what is wrong with it is for verify to say.
			count := last + 1 - n
			err := it.Item().Value(func(run []byte) error {
				if c, err := runLength(run); err == nil && c > 0 {
					count = c
				}
				return nil
			})
			if err == nil && last+1-count > n {
				break
			}
			if n = last + 1; ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if n < acked.Size {
			return &BehindError{Dir: l.opts.Dir, Acked: acked.Size, Found: n, Preserved: preserved, Detail: fmt.Sprintf("entry %d is gone, later ones are there", n)}
		}
		return nil
	})
}

// compareHead holds the store against what was acknowledged, and reads the newest entries.
func (l *Ledger) compareHead(ctx context.Context, acked headMark, preserved string) error {
	view := badgerView{l.db}
	behind := func(found uint64, detail string) error {
		return &BehindError{Dir: l.opts.Dir, Acked: acked.Size, Found: found, Preserved: preserved, Detail: detail}
	}
	h, err := readHead(ctx, view)
	if errors.Is(err, ErrNotFound) {
		if acked.Size == 0 {
			_, err := view.Get(ctx, entryKey(0))
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			return behind(0, "entries without a head record")
		}
		return behind(0, "no head record")
	}
	if err != nil {
		return behind(0, err.Error())
	}
	if h.Size < acked.Size {
		return behind(h.Size, "the newest entries are gone")
	}
	if acked.Size == 0 && h.Size > 1 {
		return behind(h.Size, "the HEAD file is gone or empty")
	}
	return checkTail(ctx, view, h, func(n uint64, hash Hash) error {
		if n+1 == acked.Size && hash != acked.Last {
			return behind(h.Size, fmt.Sprintf("entry %d is not the one that was acknowledged", n))
		}
		return nil
	}, behind)
}

// checkTail reads the newest entries and their chain up to the head.
func checkTail(ctx context.Context, v View, h Head, each func(n uint64, hash Hash) error, behind func(uint64, string) error) error {
	first := uint64(0)
	if h.Size > tailCheck {
		first = h.Size - tailCheck
	}
	var prev Hash
	var told error // by each or behind
	n := first
	err := v.Scan(ctx, []byte{tableEntry}, entryKey(first), func(key, b []byte) error {
		if n == h.Size {
			return errStop
		}
		if numberOf(key) != n {
			return ErrNotFound
		}
		e, err := DecodeEntry(b)
		if err != nil {
			told = behind(h.Size, fmt.Sprintf("entry %d: %v", n, err))
			return told
		}
		if e.N != n || n > first && e.Prev != prev {
			told = behind(h.Size, fmt.Sprintf("the chain is broken at entry %d", n))
			return told
		}
		prev = EntryHash(b)
		told = each(n, prev)
		n++
		return told
	})
	if told != nil {
		return told
	}
	if n < h.Size {
		if err == nil || errors.Is(err, errStop) {
			err = ErrNotFound
		}
		return behind(h.Size, fmt.Sprintf("entry %d cannot be read: %v", n, err))
	}
	if h.Size > 0 && prev != h.Last {
		return behind(h.Size, "the newest entry is not the one that the head names")
	}
	return nil
}

// closeOpen writes, after an unclean stop, one recovery entry for each exchange left open and the
// range of entries whose delivery nobody knows.
// from is the size at which the stopped process had started.
func (l *Ledger) closeOpen(ctx context.Context, from, size uint64) error {
	view := badgerView{l.db}
	h, err := readHead(ctx, view)
	if err != nil {
		return err
	}
	left, err := loadOpen(ctx, view, h)
	if err != nil {
		return err
	}
	for _, o := range left.list() {
		e, err := readEntry(ctx, view, o.n)
		if err != nil {
			return err
		}
		it, err := recoveryItem(l.opts.Node, e.Own.P, o)
		if err != nil {
			return err
		}
		if _, err := l.append(ctx, it); err != nil {
			return fmt.Errorf("closing the exchange of entry %d: %w", o.n, err)
		}
	}
	if from >= size {
		return nil
	}
	_, err = l.appendLog(ctx, LogChain, Tail{Kind: KindDeliveryUnknown, DeliveryUnknown: &DeliveryUnknown{First: from, Last: size - 1}})
	return err
}

// recoveryItem closes an exchange that an unclean stop left open.
func recoveryItem(node, own string, o openExchange) (*item, error) {
	it, err := newLogItem(own, Tail{Kind: KindRecovery, Node: node, Exchange: exchange.ID(o.x.String()), Request: &o.n, Reason: "unclean-stop"})
	if err != nil {
		return nil, err
	}
	it.closes = true
	return it, nil
}
