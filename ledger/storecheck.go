package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sigillo/ledger/storefile"
)

// The files of a store are looked at before Badger is: it deletes tables that a damaged MANIFEST does
// not name, cuts damaged logs off, and ends the process over a damaged table index.
// A start reads list, MANIFEST, table indexes, the logs of an unclean stop and the newest quickBlocks
// bytes of tables; verify reads every block.
const quickBlocks = 64 << 20

// Damage is what is wrong with one file of a ledger.
type Damage struct {
	File    string // relative to the ledger's directory
	Problem string
	closed  bool // Badger cannot open the store at all
}

func (d Damage) String() string { return d.File + ": " + d.Problem }

// DamagedError says that files of a ledger are damaged. Nothing was opened, nothing was changed.
type DamagedError struct {
	Dir    string
	Damage []Damage
}

// Error names the files and what to do.
func (e *DamagedError) Error() string {
	s := make([]string, len(e.Damage))
	for i, d := range e.Damage {
		s[i] = d.String()
	}
	return fmt.Sprintf("files of the ledger in %s are damaged (%s); nothing was changed and nothing is served: restore a backup, or recover what is intact with 'sigillo ledger salvage --dir %s --out DIR'",
		e.Dir, strings.Join(s, "; "), e.Dir)
}

// inspection is the state of one look at a store.
type inspection struct {
	dir, store string
	clean      bool
	files      map[string]int64
	found      []Damage
	orphans    []string // tables of an unclean stop that the MANIFEST does not name (yet, or no more)
}

func (i *inspection) add(closed bool, file, format string, a ...any) {
	i.found = append(i.found, Damage{file, fmt.Sprintf(format, a...), closed})
}

func inStore(name string) string { return filepath.Join(storeDirName, name) }

// inspectStore looks at the files of the ledger in dir without changing any. blocks is how many bytes of
// table blocks are read, the newest first; below zero all are.
func inspectStore(dir string, blocks int64) (*inspection, error) {
	i := &inspection{dir: dir, store: filepath.Join(dir, storeDirName), clean: StoppedCleanly(dir), files: map[string]int64{}}
	names, err := os.ReadDir(i.store)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, f := range names {
		info, err := f.Info()
		if err != nil {
			return nil, err
		}
		i.files[f.Name()] = info.Size()
	}
	acked, known, err := readHeadFile(dir)
	switch {
	case err != nil:
		i.add(false, headFileName, "neither of its two slots is intact")
	case !known && i.clean:
		i.add(false, headFileName, "is missing: nothing tells how many entries were acknowledged")
	}
	if _, ok := i.files["MANIFEST"]; !ok {
		if known || i.clean || len(i.with(".sst", ".vlog", ".mem")) > 0 {
			i.add(true, inStore("MANIFEST"), "is missing")
		}
		return i, nil
	}
	if err := i.listed(known); err != nil {
		return nil, err
	}
	i.tables(blocks)
	if !i.clean && known {
		i.logs(acked.Size)
	}
	return i, nil
}

// with gives the names of the files with one of these endings, in order.
func (i *inspection) with(exts ...string) []string {
	var out []string
	for name := range i.files {
		if slices.Contains(exts, filepath.Ext(name)) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// listed holds the files against the list that was written when the store was last stopped or started.
func (i *inspection) listed(known bool) error {
	list, err := readStoreList(i.dir, i.clean)
	if err != nil {
		i.add(false, list.path, "%v", err)
		return nil
	}
	for _, f := range list.Files {
		if list.State == listStopped && !i.clean && (filepath.Ext(f.Name) != ".vlog" || f.Size <= storefile.LogHeader) {
			continue // the next start was broken off: it may have compacted tables and dropped empty logs
		}
		size, ok := i.files[f.Name]
		switch {
		case !ok:
			i.add(strings.HasSuffix(f.Name, ".sst"), inStore(f.Name), "is missing; it held %d bytes", f.Size)
		case size < f.Size:
			i.add(strings.HasSuffix(f.Name, ".sst"), inStore(f.Name), "was cut from %d to %d bytes", f.Size, size)
		case size > f.Size:
			i.add(false, inStore(f.Name), "grew from %d to %d bytes while no process had it", f.Size, size)
		}
	}
	if list.State == listStopped && i.clean {
		sum, err := fileDigest(filepath.Join(i.store, "MANIFEST"))
		if err != nil {
			return err
		}
		if sum != list.Manifest {
			i.add(true, inStore("MANIFEST"), "was altered after the stop")
		}
		for _, name := range i.with(".sst", ".vlog", ".mem") {
			if !list.has(name) {
				i.add(false, inStore(name), "was not there when the ledger was stopped")
			}
		}
	}
	if list.State == listRunning && !i.clean && known {
		i.runningLogs(list)
	}
	return nil
}

// runningLogs looks, after an unclean stop, for logs that the stopped process must have had.
func (i *inspection) runningLogs(list storeList) {
	if len(i.with(".mem")) == 0 {
		i.add(false, inStore("*.mem"), "no write-ahead file is left of the process that was stopped")
	}
	for _, ext := range []string{".mem", ".vlog"} {
		before := -1
		for _, name := range i.with(ext) {
			n := logNumber(name)
			if ext == ".vlog" && n < list.Active {
				continue // those of before are listed
			}
			if before >= 0 && n != before+1 {
				i.add(false, inStore(logName(before+1, ext)), "is missing")
			}
			before = n
		}
	}
	active := logName(list.Active, ".vlog")
	if _, ok := i.files[active]; ok || list.Active == 0 {
		return
	}
	for _, name := range i.with(".vlog") {
		// A start that was broken off deletes an empty value log and begins the next, which is empty too.
		if b, err := readData(filepath.Join(i.store, name)); logNumber(name) > list.Active && (err != nil || len(b) > storefile.LogHeader && len(bytes.Trim(b[storefile.LogHeader:], "\x00")) > 0) {
			i.add(false, inStore(active), "is missing")
			return
		}
	}
}

// tables checks MANIFEST, indexes and blocks.
func (i *inspection) tables(blocks int64) {
	m, err := storefile.ReadManifest(i.store)
	if err != nil {
		i.add(true, inStore("MANIFEST"), "is damaged: %v", err)
		return
	}
	if m.Rest > 0 && i.clean {
		i.add(true, inStore("MANIFEST"), "its last %d bytes are damaged", m.Rest)
	}
	for _, name := range i.with(".sst") {
		if !i.clean && !slices.Contains(m.Tables, name) {
			i.orphans = append(i.orphans, name)
		}
	}
	i.announce(m.Tables)
	slices.Reverse(m.Tables) // the newest first: they are compacted first
	known := knownDamage(i.dir)
	for _, name := range m.Tables {
		size, ok := i.files[name]
		if !ok {
			if !i.named(name) {
				i.add(true, inStore(name), "is missing")
			}
			continue
		}
		budget := blocks
		if slices.Contains(known, name) {
			budget = -1
		}
		left, at, err := checkTable(filepath.Join(i.store, name), size, budget)
		if err != nil {
			i.add(at < 0, inStore(name), "%v", err)
		}
		if budget >= 0 {
			blocks = left
		}
	}
}

// tableTail is how many bytes at the end of a table hold its index, or most of it.
const tableTail = 512 << 10

// announce tells the system that the indexes of all tables are going to be read, here and by Badger: a disk is
// faster when it may choose the order, and a large log has hundreds of them. What cannot be announced is read all the same.
func (i *inspection) announce(tables []string) {
	for _, name := range tables {
		f, err := os.Open(filepath.Join(i.store, name))
		if err != nil {
			continue
		}
		_ = unix.Fadvise(int(f.Fd()), max(0, i.files[name]-tableTail), tableTail, unix.FADV_WILLNEED)
		_ = f.Close()
	}
}

// named tells whether a finding names a file of the store already.
func (i *inspection) named(name string) bool {
	return slices.ContainsFunc(i.found, func(d Damage) bool { return d.File == inStore(name) })
}

// checkTable reads a table's index and blocks of up to budget bytes (all when it is below zero); at is
// the first damaged block's offset, or below zero when the index is.
func checkTable(path string, size, budget int64) (left, at int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return budget, -1, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	index, err := storefile.ReadIndex(f, size)
	if err != nil {
		return budget, -1, err
	}
	blocks := readAhead{f: f}
	bad, first := 0, error(nil)
	for _, b := range index {
		if budget >= 0 && budget < b.Len {
			break
		}
		buf, err := blocks.read(b)
		if err == nil {
			err = storefile.ScanBlock(buf, nil)
		}
		if err != nil {
			if bad++; bad == 1 {
				at, first = b.Offset, err
			}
		}
		if budget >= 0 {
			budget -= b.Len
		}
	}
	if bad > 0 {
		return budget, at, fmt.Errorf("%d of its %d blocks are damaged, the first at byte %d: %w", bad, len(index), at, first)
	}
	return budget, 0, nil
}

// readAhead reads the blocks of a table, which follow each other, many at a time.
type readAhead struct {
	f   *os.File
	buf []byte
	at  int64 // where buf begins in the file
}

func (r *readAhead) read(b storefile.Block) ([]byte, error) {
	if b.Offset < r.at || b.Offset+b.Len > r.at+int64(len(r.buf)) {
		r.buf, r.at = slices.Grow(r.buf[:0], int(max(b.Len, 1<<20)))[:max(b.Len, 1<<20)], b.Offset
		n, err := r.f.ReadAt(r.buf, b.Offset)
		if r.buf = r.buf[:n]; int64(n) < b.Len {
			return nil, err
		}
	}
	return r.buf[b.Offset-r.at:][:b.Len], nil
}

// logs reads what Badger would replay or cut: damage with acknowledged entries behind it would lose them.
func (i *inspection) logs(acked uint64) {
	names := i.with(".mem")
	if v := i.with(".vlog"); len(v) > 0 {
		names = append(names, v[len(v)-1])
	}
	for _, name := range names {
		b, err := readData(filepath.Join(i.store, name))
		if err != nil {
			i.add(false, inStore(name), "cannot be read: %v", err)
			continue
		}
		var at []int64 // of acknowledged entries
		gaps, _ := storefile.ScanLog(b, func(off int64, r storefile.Record) error {
			if len(r.Key) == 9 && r.Key[0] == tableEntry && binary.BigEndian.Uint64(r.Key[1:]) < acked {
				at = append(at, off)
			}
			return nil
		})
		for _, g := range gaps {
			if lost, _ := slices.BinarySearch(at, g.From); lost < len(at) {
				i.add(false, inStore(name), "bytes %d to %d are damaged, and %d acknowledged entries stand behind them", g.From, g.To-1, len(at)-lost)
				break
			}
		}
	}
}

// readData reads a sparse file up to the end of its data.
func readData(path string) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, err := dataEnd(f)
	if err != nil {
		return nil, err
	}
	b = make([]byte, end)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// dataEnd is where the last data of a sparse file ends: Badger's logs are large and mostly a hole.
func dataEnd(f *os.File) (end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	for end < info.Size() {
		data, err := f.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return end, nil // nothing but a hole is left
		}
		if err != nil {
			return info.Size(), nil // a file system that does not tell
		}
		if end, err = f.Seek(data, unix.SEEK_HOLE); err != nil {
			return 0, err
		}
	}
	return end, nil
}
