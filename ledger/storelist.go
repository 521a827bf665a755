package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// A list of the store's files tells what must be there: CLEAN after a clean stop, FILES while a process
// has the store and after an unclean stop. Badger itself misses no value log that was taken away.
const (
	filesFileName = "FILES"

	listStopped    = "stopped"    // every file, none may differ
	listRunning    = "running"    // the value logs that are no longer written
	listCollecting = "collecting" // value logs are being collected: any may go
)

type listedFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

type storeList struct {
	State    string       `json:"state"`
	Active   int          `json:"active,omitempty"` // number of the value log that was written
	Manifest Hash         `json:"manifest"`         // SHA-256, where State is stopped
	Files    []listedFile `json:"files"`
	path     string
}

func (s storeList) has(name string) bool {
	return slices.ContainsFunc(s.Files, func(f listedFile) bool { return f.Name == name })
}

// readStoreList reads the list beside a store; one that is missing, or of an earlier version, lists nothing.
func readStoreList(dir string, clean bool) (s storeList, err error) {
	name := filesFileName
	if clean {
		name = cleanFileName
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) || err == nil && string(b) == "stopped cleanly\n" {
		return storeList{path: name}, nil
	}
	if err == nil {
		err = errors.New("wrong checksum")
		if line, ok := bytes.CutSuffix(b, []byte("\n")); ok && len(line) > 65 && fmt.Sprintf("%x", sha256.Sum256(line[65:])) == string(line[:64]) {
			err = json.Unmarshal(line[65:], &s)
		}
	}
	s.path = name
	if err != nil {
		return s, fmt.Errorf("the list of the store's files is damaged: %w", err)
	}
	return s, nil
}

// StoppedCleanly tells whether the ledger in dir was stopped cleanly, without changing anything. A list
// that is damaged is none: the start is then that after an unclean stop.
func StoppedCleanly(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, cleanFileName)); err != nil {
		return false
	}
	_, err := readStoreList(dir, true)
	return err == nil
}

// listStore makes the list of the files in dir's store as they are.
func listStore(dir, state string) (storeList, error) {
	s := storeList{State: state, Files: []listedFile{}}
	store := filepath.Join(dir, storeDirName)
	names, err := os.ReadDir(store)
	if err != nil {
		return s, err
	}
	for _, f := range names {
		if ext := filepath.Ext(f.Name()); ext == ".vlog" {
			s.Active = max(s.Active, logNumber(f.Name()))
		} else if state != listStopped || ext != ".sst" && ext != ".mem" {
			continue // Badger rewrites these, or the MANIFEST lists them
		}
		info, err := f.Info()
		if err != nil {
			return s, err
		}
		s.Files = append(s.Files, listedFile{f.Name(), info.Size()})
	}
	if state == listStopped {
		s.Active = 0
		s.Manifest, err = fileDigest(filepath.Join(store, "MANIFEST"))
		return s, err
	}
	active := logName(s.Active, ".vlog")
	s.Files = slices.DeleteFunc(s.Files, func(f listedFile) bool {
		return f.Name == active || f.Size <= 20 // Badger deletes empty ones
	})
	return s, nil
}

func writeStoreList(dir, name string, s storeList) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "%x %s\n", sha256.Sum256(b), b), 0o600); err != nil {
		return err
	}
	return syncDir(dir)
}

// markClean leaves the sign of a clean stop: the list of the closed store's files.
func markClean(dir string) error {
	s, err := listStore(dir, listStopped)
	if err == nil {
		err = writeStoreList(dir, cleanFileName, s)
	}
	if err != nil {
		return fmt.Errorf("marking the clean stop: %w", err)
	}
	return nil
}

// takeClean takes the sign of a clean stop away; until markRunning its list stands as that of the store.
func takeClean(dir string) error {
	clean := filepath.Join(dir, cleanFileName)
	take := func() error { return os.Rename(clean, filepath.Join(dir, filesFileName)) }
	if !StoppedCleanly(dir) {
		take = func() error { return os.Remove(clean) } // damaged, or not there
	}
	err := take()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// markRunning lists the files of an open store.
func markRunning(dir string) error {
	s, err := listStore(dir, listRunning)
	if err == nil {
		err = writeStoreList(dir, filesFileName, s)
	}
	if err != nil {
		return fmt.Errorf("listing the store's files: %w", err)
	}
	return nil
}

// closeStore closes Badger and lists what it leaves: its logs are then written into tables, although the
// ledger may not have been stopped cleanly.
func (l *Ledger) closeStore() error {
	if err := l.db.Close(); err != nil {
		return err
	}
	s, err := listStore(l.opts.Dir, listStopped)
	if err != nil {
		return err
	}
	return writeStoreList(l.opts.Dir, filesFileName, s)
}

// collecting runs fn, which may make Badger delete value logs (RunValueLogGC): after an unclean stop in
// the midst of it a value log that is gone is no damage.
func (l *Ledger) collecting(fn func() error) error {
	if err := writeStoreList(l.opts.Dir, filesFileName, storeList{State: listCollecting}); err != nil {
		return fmt.Errorf("listing the store's files: %w", err)
	}
	return errors.Join(fn(), markRunning(l.opts.Dir))
}

func fileDigest(path string) (h Hash, err error) {
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d := sha256.New()
	_, err = io.Copy(d, f)
	return Hash(d.Sum(nil)), err
}

// logNumber is the number in the name of a log file; -1 where there is none.
func logNumber(name string) int {
	n, err := strconv.Atoi(strings.TrimSuffix(name, filepath.Ext(name)))
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// logName is the name of a log file: five digits for write-ahead files, six for value logs.
func logName(n int, ext string) string {
	if ext == ".mem" {
		return fmt.Sprintf("%05d.mem", n)
	}
	return fmt.Sprintf("%06d%s", n, ext)
}
