package ledger

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// What a salvage leaves in its output directory.
const (
	salvageRecords = "records.salvage"
	salvageReport  = "report.json"
	salvageLedger  = "ledger"
)

// SalvageOptions say what is salvaged, and where to.
type SalvageOptions struct {
	Dir       string   // the damaged ledger; nothing in it is changed
	Preserved []string // further directories with files of its store, oldest first; nil: all in Dir/preserved
	Out       string   // made; must not exist, or be empty

	CheckpointKey ed25519.PublicKey // nil: the one that genesis names
	Progress      func(bytes int64) // told of bytes read; may be nil
	Logger        *slog.Logger      // nil: slog.Default()
}

// SalvageReport says what is intact, what is missing, and whether a working ledger was made of it.
type SalvageReport struct {
	Acknowledged uint64         `json:"acknowledged"` // entries, by the newest HEAD file
	HeadMissing  bool           `json:"head_missing"` // no HEAD file is intact: Acknowledged is the store's own word
	Intact       uint64         `json:"intact"`       // entries whose bytes are whole
	Missing      uint64         `json:"missing"`      // acknowledged entries that are not
	Ranges       []SalvageRange `json:"ranges"`       // the missing, at most 1,000 runs
	Broken       []uint64       `json:"broken"`       // entries where the chain is interrupted
	Whole        uint64         `json:"whole"`        // entries from the first on in one unbroken chain
	Signed       uint64         `json:"signed"`       // newest signed checkpoint whose root they have
	Losses       int            `json:"losses"`       // records other than entries that entries need
	Lost         []SalvageLoss  `json:"lost"`         // at most 1,000 of them
	Files        []SalvageFile  `json:"files"`
	Records      uint64         `json:"records"` // in records.salvage
	Ledger       string         `json:"ledger"`  // the rebuilt ledger; "" when gaps remain
	Todo         string         `json:"todo"`
}

// ErrNotEmpty says that a directory that must be new or empty is not.
var ErrNotEmpty = errors.New("the directory is not empty")

// Salvage recovers every whole record from the files of a damaged store and from preserved copies into
// Out: records.salvage, report.json, and, when nothing up to the last acknowledgement is missing, a
// ledger that can be verified and served. It reads Badger's files itself and changes none of them.
func Salvage(ctx context.Context, o SalvageOptions) (r *SalvageReport, err error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if running(o.Dir) {
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrRunning)
	}
	if err := newDir(o.Out); err != nil {
		return nil, err
	}
	a, err := assemble(ctx, o, filepath.Join(o.Out, salvageLedger))
	if err != nil {
		return nil, err
	}
	r = a.report()
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, a.db.Close())
		}
	}()
	if r.Records, err = writeRecords(ctx, a.db, filepath.Join(o.Out, salvageRecords)); err != nil {
		return nil, fmt.Errorf("writing %s: %w", salvageRecords, err)
	}
	complete := a.complete()
	if complete {
		if err := a.derive(ctx); err != nil {
			return nil, fmt.Errorf("rebuilding the ledger: %w", err)
		}
	}
	done = true
	if err := a.db.Close(); err != nil {
		return nil, fmt.Errorf("closing the rebuilt store: %w", err)
	}
	if complete {
		err = a.finish(r)
	} else {
		err = os.RemoveAll(a.dir)
	}
	if err != nil {
		return nil, err
	}
	r.Todo = r.advice(o)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	return r, errors.Join(os.WriteFile(filepath.Join(o.Out, salvageReport), append(b, '\n'), 0o600), syncDir(o.Out))
}

func newDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	return err
}

// assembly is what was gathered into a new store in dir, and judged.
type assembly struct {
	dir   string
	db    *badger.DB
	got   *gatherer
	judge *judge
	key   ed25519.PublicKey

	runs     indexWrites // of the index that is made anew
	unsigned uint64      // the first entry whose receipt waits for its signature

	acked headMark // up to here nothing may be missing
	known bool     // by a HEAD file
}

// assemble gathers and judges. The store that it gives stays open.
func assemble(ctx context.Context, o SalvageOptions, to string) (a *assembly, err error) {
	a = &assembly{dir: to, key: o.CheckpointKey}
	kept := o.Preserved
	if kept == nil {
		if kept, err = preservedCopies(o.Dir); err != nil {
			return nil, err
		}
	}
	sources := kept
	if _, err := os.Stat(filepath.Join(o.Dir, storeDirName)); err == nil {
		sources = append(sources[:len(sources):len(sources)], filepath.Join(o.Dir, storeDirName))
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrNoLedger)
	}
	for _, dir := range append(kept[:len(kept):len(kept)], o.Dir) {
		if m, ok, err := readHeadFile(dir); err == nil && ok && m.Size >= a.acked.Size {
			a.acked, a.known = m, true
		}
	}
	if a.db, err = openGathering(filepath.Join(to, storeDirName), o.Logger); err != nil {
		return nil, fmt.Errorf("making a new store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.db.Close())
		}
	}()
	if a.got, err = gather(ctx, a.db, sources, o.Progress); err != nil {
		return nil, err
	}
	return a, a.weigh(ctx)
}

// weigh judges up to the store's own head where that leads further than what was acknowledged, and else
// up to what was acknowledged.
func (a *assembly) weigh(ctx context.Context) error {
	view := badgerView{a.db}
	own, ok := salvagedHead(ctx, view)
	if ok && own.Size >= a.acked.Size {
		a.judge = newJudge(view, a.key)
		if err := a.judge.entries(ctx, own.Size); err != nil {
			return err
		}
		if !a.known || a.judge.reaches(own) && a.judge.losses == 0 {
			a.acked = own
			return nil
		}
	}
	a.judge = newJudge(view, a.key)
	return a.judge.entries(ctx, a.acked.Size)
}

func (a *assembly) complete() bool {
	return a.acked.Size > 0 && a.judge.reaches(a.acked) && a.judge.losses == 0
}

func (a *assembly) report() *SalvageReport {
	j := a.judge
	return &SalvageReport{Acknowledged: a.acked.Size, HeadMissing: !a.known, Intact: j.intact, Missing: a.acked.Size - j.intact, Ranges: j.missing,
		Broken: j.broken, Whole: j.whole, Signed: j.signed, Losses: j.losses, Lost: j.lost, Files: a.got.out}
}

// advice says what to do now.
func (r *SalvageReport) advice(o SalvageOptions) string {
	switch {
	case r.Acknowledged == 0:
		return "nothing that is an entry was found: restore a backup"
	case r.Ledger == "":
		return fmt.Sprintf("%d of %d acknowledged entries and %d of their records are gone from %s: restore a backup, or mend the files from a copy of them and salvage again with --preserved; keep %s, what is in it is evidence",
			r.Missing, r.Acknowledged, r.Losses, o.Dir, filepath.Join(o.Out, salvageRecords))
	}
	return fmt.Sprintf("verify %s with 'sigillo verify', keep %s aside, move the rebuilt ledger to its place and start 'sigillo run': its first entry will be a notice of this salvage", r.Ledger, o.Dir)
}
