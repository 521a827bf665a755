package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// RestoreOptions say what is restored where, and what the result is held against.
type RestoreOptions struct {
	From string // directory of a backup
	To   string // an empty directory, or none: it is created

	Origin        string            // the log that is expected; "": any
	CheckpointKey ed25519.PublicKey // the log's key as the operator knows it; nil: the one that genesis names
	// Compare holds the restored log against what is kept elsewhere (ledger.md 5) and gives its findings and
	// the assurance that they lend; nil: nothing is kept elsewhere.
	Compare func(ctx context.Context, l *Log) ([]exchange.Finding, string)
	// Loaded and Checked, when set, are told how many bytes of parts were loaded and how many entries
	// were checked, of how many.
	Loaded, Checked func(done, total int64)
	Logger          *slog.Logger // nil: slog.Default()
}

// Restored is what a restore has come to.
type Restored struct {
	Verdict *exchange.Verdict
	Usable  bool // Open takes the ledger up; it may be behind what is kept elsewhere all the same
}

// ErrTargetNotEmpty says that a ledger cannot be restored into a directory because something is in it.
var ErrTargetNotEmpty = errors.New("the directory is not empty")

// unfinishedHead stands in the HEAD file until the restored store has been checked. It is no mark, so nothing
// opens a ledger whose restore was broken off or found it broken.
const unfinishedHead = "a restore into this directory has not ended well; restore again into an empty directory\n"

// restoreReserve is the free space in bytes below which a restore ends: Badger dies on a full disk.
const restoreReserve = valueLogFileSize + numMemtables*memTableSize

// loadBytes is how much is handed to the store at once.
const loadBytes = 8 << 20

// Restore loads all parts of a backup into an empty directory, checks what came out (the head against the
// newest entries, the newest signed checkpoint against the tree, every entry; content stays sealed and is
// not checked), and makes it a ledger that Open takes up. It takes it up as after an unclean stop: exchanges
// that were open in the snapshot are closed by recovery entries, so no sign of a clean stop is left.
//
// A backup that is not whole, is of another log, or does not fit on the disk is an error, and nothing is left
// of it: ErrPart, ErrNoBackup, ErrTargetNotEmpty, ErrNoSpace, ErrOtherHistory. Everything else is a finding in the
// verdict: the files stay; where the restored log itself is broken nothing will open it, and one that is
// behind what is kept elsewhere is refused by whoever compares before serving.
func Restore(ctx context.Context, o RestoreOptions) (*Restored, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	m, err := ReadBackup(o.From)
	if err != nil {
		return nil, err
	}
	if o.Origin != "" && m.Origin != o.Origin && !strings.HasPrefix(m.Origin, o.Origin+"/e") {
		return nil, fmt.Errorf("the backup is of the log %q, not %q: %w", m.Origin, o.Origin, ErrOtherHistory)
	}
	created, err := emptyDir(o.To)
	if err != nil {
		return nil, err
	}
	err = o.load(ctx, m)
	if err == nil {
		err = CarryRollback(o.From, o.To)
	}
	if err != nil {
		return nil, errors.Join(err, clearRestore(o.To, created))
	}
	r, head, err := o.check(ctx, m)
	if err == nil && r.Usable {
		err = replaceHead(o.To, headMark{Size: head.Size, Last: head.Last, Root: head.Root})
	}
	if err != nil {
		return nil, fmt.Errorf("checking the restored ledger (its files stay in %s, and nothing will open them): %w", o.To, err)
	}
	return r, nil
}

// emptyDir makes sure that dir is there and empty; a file system's own lost+found does not count.
func emptyDir(dir string) (created bool, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true, os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if f.Name() != "lost+found" {
			return false, fmt.Errorf("%s: %w: %s is in it", dir, ErrTargetNotEmpty, f.Name())
		}
	}
	return false, nil
}

// clearRestore removes what a refused restore has written.
func clearRestore(dir string, created bool) error {
	err := errors.Join(os.RemoveAll(filepath.Join(dir, storeDirName)), os.Remove(filepath.Join(dir, headFileName)))
	if created {
		err = errors.Join(err, os.Remove(dir))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// load writes the records of all parts into a fresh store, under the versions that they had: so the restored
// ledger can go on with the same backup.
func (o *RestoreOptions) load(ctx context.Context, m *BackupManifest) error {
	need := uint64(m.Bytes())*3/2 + restoreReserve
	if free, err := freeSpace(o.To); err != nil {
		return err
	} else if free < need {
		return fmt.Errorf("%d MiB free in %s, about %d MiB are needed: %w", free>>20, o.To, need>>20, ErrNoSpace)
	}
	if err := os.WriteFile(filepath.Join(o.To, headFileName), []byte(unfinishedHead), 0o600); err != nil {
		return err
	}
	if err := syncDir(o.To); err != nil {
		return err
	}
	store := filepath.Join(o.To, storeDirName)
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	db, err := badger.OpenManaged(storeOptions(store, o.Logger).WithSyncWrites(false))
	if err != nil {
		return fmt.Errorf("opening a fresh store: %w", err)
	}
	if err := errors.Join(o.loadParts(ctx, db, m), db.Close()); err != nil {
		return err
	}
	return syncFiles(store)
}

func (o *RestoreOptions) loadParts(ctx context.Context, db *badger.DB, m *BackupManifest) error {
	done, total := int64(0), m.Bytes()
	load := &loader{db: db, dir: o.To, batch: db.NewManagedWriteBatch()}
	defer func() { load.batch.Cancel() }()
	for i, p := range m.Parts {
		err := readPart(ctx, o.From, p, func(n int64) {
			if o.Loaded != nil {
				o.Loaded(done+n, total)
			}
		}, func(r partRecord) error {
			if i < len(m.Parts)-1 && strings.IndexByte(p.Whole, r.key[0]) >= 0 {
				return nil // a later part holds this table whole
			}
			return load.add(r)
		})
		if err == nil {
			err = load.flush()
		}
		if err != nil {
			return fmt.Errorf("restoring from %s: %w", o.From, err)
		}
		done += p.Bytes
	}
	return nil
}

// loader hands records to the store in batches of bounded size. A write batch bounds only what it puts into
// the memtable, not the values that go into the value log.
type loader struct {
	db    *badger.DB
	dir   string
	batch *badger.WriteBatch
	bytes int
}

func (l *loader) add(r partRecord) error {
	l.bytes += len(r.key) + len(r.value) + 64
	var err error
	if r.deleted {
		err = l.batch.DeleteAt(r.key, r.version)
	} else {
		err = l.batch.SetEntryAt(badger.NewEntry(r.key, r.value), r.version)
	}
	if err != nil {
		return fmt.Errorf("key %x: %w", r.key, err)
	}
	if l.bytes < loadBytes {
		return nil
	}
	return l.flush()
}

func (l *loader) flush() error {
	free, err := freeSpace(l.dir)
	if err != nil {
		return err
	}
	if free < restoreReserve {
		return fmt.Errorf("%d MiB free in %s: %w", free>>20, l.dir, ErrNoSpace)
	}
	if err := l.batch.Flush(); err != nil {
		return err
	}
	l.batch, l.bytes = l.db.NewManagedWriteBatch(), 0
	return nil
}

// syncFiles makes every file of a directory durable.
func syncFiles(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, x := range files {
		f, err := os.OpenFile(filepath.Join(dir, x.Name()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("syncing %s: %w", x.Name(), err)
		}
	}
	return syncDir(dir)
}

// check opens the restored store as a reader does and says everything that is wrong with it.
func (o *RestoreOptions) check(ctx context.Context, m *BackupManifest) (r *Restored, h Head, err error) {
	r = &Restored{Verdict: exchange.NewVerdict()}
	out := r.Verdict
	db, err := badger.Open(storeOptions(filepath.Join(o.To, storeDirName), o.Logger).WithReadOnly(true))
	if err != nil {
		return nil, h, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := wholeTables(db); err != nil {
		out.Addf("store", exchange.Broken, "%s", oneLine(err))
	}
	l, err := newLog(ctx, badgerView{db}, func() error { return nil })
	if err != nil {
		out.Addf("genesis", exchange.Broken, "%s", oneLine(err))
	} else {
		h = l.Head
		epoch, eerr := epochOf(l.Genesis.Genesis)
		if eerr == nil {
			eerr = keepEpoch(o.To, epoch)
		}
		if eerr != nil {
			return nil, h, eerr
		}
		err = o.checkLog(ctx, l, m.Parts[len(m.Parts)-1], out)
	}
	if cerr := ctx.Err(); cerr != nil {
		return nil, h, cerr
	}
	if err != nil && l != nil {
		out.Addf("checkpoint", exchange.Broken, "%s", oneLine(err))
	}
	r.Usable = out.Verdict != exchange.Broken
	if r.Usable && o.Compare != nil {
		found, assurance := o.Compare(ctx, l)
		for _, f := range found {
			out.Add(f)
		}
		if assurance != "" {
			out.Assurance = assurance
		}
	}
	for _, p := range m.Parts {
		for _, f := range damageFindings(p) {
			out.Add(f)
		}
	}
	out.Counts["parts"], out.Counts["bytes"] = int64(len(m.Parts)), m.Bytes()
	return r, h, nil
}

// checkLog holds the restored log against what its newest part says, and verifies it.
func (o *RestoreOptions) checkLog(ctx context.Context, l *Log, newest PartInfo, out *exchange.Verdict) error {
	h := l.Head
	if h.Size != newest.Size || h.Last != newest.Last || h.Root != newest.Root || l.Origin() != newest.Origin {
		out.Addf("head", exchange.Broken, "the head is of %d entries, not the one of %d entries that the backup names", h.Size, newest.Size)
	}
	err := checkTail(ctx, l, h, func(uint64, Hash) error { return nil }, func(_ uint64, detail string) error { return errors.New(detail) })
	if err != nil {
		out.Addf("head", exchange.Broken, "%s", oneLine(err))
	}
	v := VerifyOptions{SkipContent: true, CheckpointKey: o.CheckpointKey}
	if newest.Checkpoint != "" {
		v.Checkpoint = []byte(newest.Checkpoint)
	}
	if o.Checked != nil {
		v.Progress = func(done, total uint64) { o.Checked(int64(done), int64(total)) }
	}
	verdict, err := Verify(ctx, l, v)
	if err != nil {
		return err
	}
	for _, f := range verdict.Findings {
		out.Add(f)
	}
	out.Assurance, out.Counts = verdict.Assurance, verdict.Counts
	open, err := loadOpen(ctx, l, h)
	if n := int64(len(open.at)); err == nil && n != out.Counts["open_exchanges"] {
		out.Addf("open", exchange.Broken, "%d exchanges are open by the entries, %d by the number that recovery starts from", out.Counts["open_exchanges"], n)
	}
	return err
}

// replaceHead puts a mark in the place of the sign that the restore has not ended.
func replaceHead(dir string, m headMark) error {
	path := filepath.Join(dir, headFileName)
	f, err := os.OpenFile(path+tempSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	h := &headFile{f: f}
	if err := errors.Join(h.write(m), h.close()); err != nil {
		return err
	}
	if err := os.Rename(path+tempSuffix, path); err != nil {
		return err
	}
	return syncDir(dir)
}
