package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"sigillo/ledger/storefile"
)

// SalvageFile is what one file gave.
type SalvageFile struct {
	File    string   `json:"file"`
	Records int      `json:"records"`           // whose checksum is right
	Damaged []string `json:"damaged,omitempty"` // stretches, or why it cannot be read
}

// gatherer reads the files of damaged stores without Badger and puts every record that is whole into a
// new store, under the version that it had: the newest one of each key wins, whatever file it is from.
type gatherer struct {
	ctx   context.Context
	db    *badger.DB // managed: versions are given
	batch *badger.WriteBatch
	out   []SalvageFile
	top   uint64 // greatest version
	told  func(bytes int64)
}

// openGathering makes the new store in dir.
func openGathering(dir string, log *slog.Logger) (*badger.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return badger.OpenManaged(storeOptions(dir, log).WithSyncWrites(false))
}

// gather reads the stores in dirs, in the order in which they were written: the oldest first.
func gather(ctx context.Context, db *badger.DB, dirs []string, told func(int64)) (*gatherer, error) {
	g := &gatherer{ctx: ctx, db: db, batch: db.NewManagedWriteBatch(), told: told}
	defer func() { g.batch.Cancel() }()
	for _, dir := range dirs {
		names, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		// Tables and write-ahead files hold deletions and small values; value logs hold the rest. All carry versions.
		for _, ext := range []string{".sst", ".vlog", ".mem"} {
			for _, f := range names {
				if filepath.Ext(f.Name()) != ext || !f.Type().IsRegular() {
					continue
				}
				if err := g.file(filepath.Join(dir, f.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := g.batch.Flush(); err != nil {
		return nil, fmt.Errorf("writing recovered records: %w", err)
	}
	return g, nil
}

// file reads one file. An error is of the new store, or of the context; damage is noted.
func (g *gatherer) file(path string) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	s := SalvageFile{File: path}
	b, err := readTolerant(path)
	if err != nil {
		s.Damaged = append(s.Damaged, err.Error())
	}
	put := func(r storefile.Record) error {
		s.Records++
		return g.put(r)
	}
	if filepath.Ext(path) == ".sst" {
		err = g.table(b, &s, put)
	} else {
		var gaps []storefile.Gap
		gaps, err = storefile.ScanLog(b, func(_ int64, r storefile.Record) error { return put(r) })
		for _, gap := range gaps {
			s.Damaged = append(s.Damaged, fmt.Sprintf("bytes %d to %d", gap.From, gap.To-1))
		}
	}
	g.out = append(g.out, s)
	if g.told != nil {
		g.told(int64(len(b)))
	}
	return err
}

// table reads the blocks that the index names, or, where there is no index, those that can be found.
func (g *gatherer) table(b []byte, s *SalvageFile, put func(storefile.Record) error) error {
	var full error
	block := func(at storefile.Block) error {
		if at.Offset+at.Len > int64(len(b)) {
			s.Damaged = append(s.Damaged, fmt.Sprintf("block at %d: cut off", at.Offset))
			return nil
		}
		err := storefile.ScanBlock(b[at.Offset:at.Offset+at.Len], func(r storefile.Record) error {
			full = put(r)
			return full
		})
		if err != nil && full == nil {
			s.Damaged = append(s.Damaged, fmt.Sprintf("block at %d: %v", at.Offset, err))
		}
		return full
	}
	blocks, err := storefile.ReadIndex(memory(b), int64(len(b)))
	if err != nil {
		s.Damaged = append(s.Damaged, err.Error())
		return storefile.FindBlocks(b, block)
	}
	for _, at := range blocks {
		if err := block(at); err != nil {
			return err
		}
	}
	return nil
}

// put takes one version of a key. A pointer gives nothing: the value log that it points to gives the value.
func (g *gatherer) put(r storefile.Record) error {
	if r.In != nil || len(r.Key) == 0 || r.Version == 0 {
		return nil
	}
	g.top = max(g.top, r.Version)
	key := slices.Clone(r.Key)
	if r.Deleted {
		return g.batch.DeleteAt(key, r.Version)
	}
	return g.batch.SetEntryAt(badger.NewEntry(key, slices.Clone(r.Value)), r.Version)
}

// readTolerant reads a file up to the end of its data; what the disk does not give is zeros, and said.
func readTolerant(path string) ([]byte, error) {
	b, err := readData(path)
	if err == nil {
		return b, nil
	}
	f, oerr := os.Open(path)
	if oerr != nil {
		return nil, oerr
	}
	defer f.Close() // only read
	info, serr := f.Stat()
	if serr != nil {
		return nil, serr
	}
	const piece = 4096
	b = make([]byte, info.Size())
	bad := 0
	for at := 0; at < len(b); at += piece {
		end := min(at+piece, len(b))
		if _, err := f.ReadAt(b[at:end], int64(at)); err != nil {
			clear(b[at:end])
			bad++
		}
	}
	if bad == 0 {
		return b, nil
	}
	return b, fmt.Errorf("%d pieces of %d bytes cannot be read from the disk: %w", bad, piece, err)
}

// memory is a file that was read whole.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("behind the end of the file")
	}
	return copy(p, m[at:]), nil
}
