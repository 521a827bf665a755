package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// ErrRunning says that a running instance holds the ledger: read it through its socket (Dial).
var ErrRunning = errors.New("a running instance holds the ledger")

// ErrNoLedger says that a directory holds no ledger.
var ErrNoLedger = errors.New("there is no ledger")

// OpenLog opens the ledger in dir for reading, without writing a byte of it. A ledger that was stopped
// cleanly is read in place; one that was not, or whose store refuses to open, is read in a copy that
// Close removes. found holds what opening already showed to be wrong; it may do so beside an error.
func OpenLog(ctx context.Context, dir string, log *slog.Logger) (l *Log, found []exchange.Finding, err error) {
	store := filepath.Join(dir, storeDirName)
	if ok, err := hasStore(store); err != nil {
		return nil, nil, err
	} else if _, err := os.Stat(filepath.Join(dir, headFileName)); !ok && err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNoLedger)
	}
	if running(dir) {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrRunning)
	}
	seen, err := inspectStore(dir, -1)
	if err != nil {
		return nil, nil, fmt.Errorf("looking at the store's files: %w", err)
	}
	damaged := false
	for _, d := range seen.found {
		if d.File == headFileName {
			continue // finishLog says it
		}
		found = append(found, exchange.Finding{Check: "store", Severity: exchange.Broken, Detail: oneLine(errors.New(d.String()))})
		damaged = damaged || d.closed || filepath.Ext(d.File) == ".sst"
	}
	if damaged {
		return openSalvaged(ctx, dir, log, found)
	}
	if seen.clean {
		db, err := badger.Open(storeOptions(store, log).WithReadOnly(true))
		if err == nil {
			return finishLog(ctx, dir, db, db.Close, nil)
		}
		found = append(found, exchange.Finding{Check: "store", Severity: exchange.Broken,
			Detail: "the store does not open as it was left: " + oneLine(err)})
	}
	return openCopy(ctx, dir, log, found)
}

// openCopy reads a copy beside the ledger, which Badger may repair as it likes.
func openCopy(ctx context.Context, dir string, log *slog.Logger, found []exchange.Finding) (*Log, []exchange.Finding, error) {
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".sigillo-copy-")
	if err != nil {
		return nil, found, fmt.Errorf("making room for a copy of the ledger: %w", err)
	}
	remove := func() error { return os.RemoveAll(tmp) }
	if err := copyLedger(tmp, dir); err != nil {
		return nil, found, errors.Join(fmt.Errorf("copying the ledger: %w", err), remove())
	}
	db, err := badger.Open(storeOptions(filepath.Join(tmp, storeDirName), log).WithSyncWrites(false))
	if err != nil {
		found = append(found, exchange.Finding{Check: "store", Severity: exchange.Broken, Detail: "a copy of the store does not open: " + oneLine(err)})
		return nil, found, errors.Join(fmt.Errorf("the store in %s cannot be opened, not even in a copy: %w", dir, err), remove())
	}
	return finishLog(ctx, dir, db, func() error { return errors.Join(db.Close(), remove()) }, found)
}

// openSalvaged reads what is whole in the files of a store that Badger must not be let near: it ends the
// process over a damaged table, or drops what it cannot read.
func openSalvaged(ctx context.Context, dir string, log *slog.Logger, found []exchange.Finding) (*Log, []exchange.Finding, error) {
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".sigillo-copy-")
	if err != nil {
		return nil, found, fmt.Errorf("making room for a copy of the ledger: %w", err)
	}
	remove := func() error { return os.RemoveAll(tmp) }
	a, err := assemble(ctx, SalvageOptions{Dir: dir, Preserved: []string{}, Logger: log}, tmp)
	if err == nil {
		if err = a.keepHead(ctx); err == nil {
			return finishLog(ctx, dir, a.db, func() error { return errors.Join(a.db.Close(), remove()) }, found)
		}
		err = errors.Join(err, a.db.Close())
	}
	return nil, found, errors.Join(fmt.Errorf("reading what is left of the store in %s: %w", dir, err), remove())
}

// finishLog reads head and genesis and holds the head against the HEAD file.
func finishLog(ctx context.Context, dir string, db *badger.DB, close func() error, found []exchange.Finding) (*Log, []exchange.Finding, error) {
	l, err := newLog(ctx, badgerView{db}, close)
	if err != nil {
		first := uint64(0)
		found = append(found, exchange.Finding{Check: "genesis", Severity: exchange.Broken, Entry: &first,
			Detail: "the log cannot be begun: " + oneLine(err)})
		return nil, found, errors.Join(err, close())
	}
	m, ok, err := readHeadFile(dir)
	head := func(format string, a ...any) {
		n := l.Head.Size
		found = append(found, exchange.Finding{Check: "head", Severity: exchange.Broken, Entry: &n, Detail: fmt.Sprintf(format, a...)})
	}
	switch {
	case err != nil:
		head("%v", err)
	case !ok:
		head("the HEAD file is missing: nothing tells how many entries were acknowledged")
	case m.Size > l.Head.Size:
		head("%d entries were acknowledged, the store holds %d: entries %d to %d are gone", m.Size, l.Head.Size, l.Head.Size, m.Size-1)
	case m.Size == l.Head.Size && m.Last != l.Head.Last:
		head("the newest entry is not the one that was acknowledged")
	}
	if n := intactSlots(dir); err == nil && ok && n == 1 && m.Seq > 1 {
		found = append(found, exchange.Finding{Check: "head", Severity: exchange.Remark, Detail: "one of the two slots of HEAD is damaged; the other one tells what was acknowledged"})
	}
	return l, found, nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
