package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// preservedDirName holds untouched copies of the store's active files, made before an unclean store is
// opened: Badger "repairs" a damaged tail by cutting it off and deleting the file (ledger.md 3).
const preservedDirName = "preserved"

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
	return s + "; restore a backup, or salvage the preserved files; nothing is served meanwhile"
}

// openStore opens Badger for writing. On an unclean stop it first keeps copies of the active files,
// then compares what Badger made of them with HEAD.
func (l *Ledger) openStore(ctx context.Context) (unclean bool, err error) {
	store := filepath.Join(l.opts.Dir, storeDirName)
	if running(l.opts.Dir) {
		return false, fmt.Errorf("%s: %w", l.opts.Dir, ErrRunning) // before its live files are taken for those of an unclean stop
	}
	mark, acked, err := readHeadFile(l.opts.Dir)
	if err != nil {
		return false, fmt.Errorf("%w: the ledger's files are damaged; restore a backup", err)
	}
	existing, err := hasStore(store)
	if err != nil {
		return false, err
	}
	if existing && !acked {
		// Killed before the first acknowledgement, or HEAD was removed: only an empty log may go on.
		acked = true
	}
	preserved := ""
	unclean = existing && !StoppedCleanly(l.opts.Dir)
	if unclean {
		if preserved, err = preserve(l.opts.Dir, store, l.clock()); err != nil {
			return false, fmt.Errorf("keeping the files of an unclean stop: %w", err)
		}
		l.log.Warn("the last stop was unclean; the active files were kept before opening", "preserved", preserved)
	}
	db, err := badger.Open(storeOptions(store, l.log).WithSyncWrites(!l.opts.noSync))
	if err != nil {
		return false, fmt.Errorf("opening the store in %s: %w", store, err)
	}
	l.db = db
	if acked {
		if err := l.compareHead(ctx, mark, preserved); err != nil {
			return false, errors.Join(err, db.Close())
		}
	}
	if _, err := takeClean(l.opts.Dir); err != nil {
		return false, errors.Join(err, db.Close())
	}
	return unclean, nil
}

func hasStore(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
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
		return err
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
	for n := first; n < h.Size; n++ {
		b, err := v.Get(ctx, entryKey(n))
		if err != nil {
			return behind(h.Size, fmt.Sprintf("entry %d cannot be read: %v", n, err))
		}
		e, err := DecodeEntry(b)
		if err != nil {
			return behind(h.Size, fmt.Sprintf("entry %d: %v", n, err))
		}
		if e.N != n || n > first && e.Prev != prev {
			return behind(h.Size, fmt.Sprintf("the chain is broken at entry %d", n))
		}
		prev = EntryHash(b)
		if err := each(n, prev); err != nil {
			return err
		}
	}
	if h.Size > 0 && prev != h.Last {
		return behind(h.Size, "the newest entry is not the one that the head names")
	}
	return nil
}

// preserve copies the active memtable logs, the last value log and HEAD aside.
func preserve(dir, store string, now time.Time) (string, error) {
	names, err := os.ReadDir(store)
	if err != nil {
		return "", err
	}
	var active, vlogs []string
	for _, f := range names {
		switch filepath.Ext(f.Name()) {
		case ".mem":
			active = append(active, f.Name())
		case ".vlog":
			vlogs = append(vlogs, f.Name())
		}
	}
	sort.Strings(vlogs)
	if len(vlogs) > 0 {
		active = append(active, vlogs[len(vlogs)-1])
	}
	to := filepath.Join(dir, preservedDirName, strings.ReplaceAll(now.UTC().Format("20060102T150405.000000000Z"), ".", ""))
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	for _, name := range active {
		if err := copyFile(filepath.Join(to, name), filepath.Join(store, name)); err != nil {
			return "", err
		}
	}
	if err := copyFile(filepath.Join(to, headFileName), filepath.Join(dir, headFileName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return to, errors.Join(syncDir(to), syncDir(filepath.Dir(to)), syncDir(dir))
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
