package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// preservedDirName holds untouched copies of the store's active files, made before an unclean store is
// opened: Badger "repairs" a damaged tail by cutting it off and deleting the file (ledger.md 3).
const (
	preservedDirName = "preserved"
	preservedLayout  = "20060102T150405.000000000Z" // the name of a copy, without the dot
	preservedMost    = 16                           // copies that are kept without a full verification
)

// preserve copies the active memtable logs, the last value log, tables that the MANIFEST does not name,
// MANIFEST and HEAD aside. Where nothing was acknowledged since the newest copy, that copy stands: it
// holds what this one would, as it was before Badger touched it.
func (l *Ledger) preserve(seen *inspection) (string, error) {
	dir := l.opts.Dir
	kept, err := preservedCopies(dir)
	if err != nil {
		return "", err
	}
	if n := len(kept); n > 0 && sameHead(dir, kept[n-1]) {
		return kept[n-1], nil
	}
	names := seen.with(".mem")
	if v := seen.with(".vlog"); len(v) > 0 {
		names = append(names, v[len(v)-1])
	}
	names = append(append(names, seen.orphans...), "MANIFEST")
	if err := l.roomFor(seen.store, names); err != nil {
		return "", err
	}
	to := filepath.Join(dir, preservedDirName, strings.ReplaceAll(l.clock().UTC().Format(preservedLayout), ".", ""))
	part := filepath.Join(dir, preservedDirName, "part") // renamed when it is whole: a start that is killed here leaves no half copy
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o700)); err != nil {
		return "", err
	}
	for _, name := range names {
		if err := copyFile(filepath.Join(part, name), filepath.Join(seen.store, name)); err != nil {
			return "", err
		}
	}
	if err := copyFile(filepath.Join(part, headFileName), filepath.Join(dir, headFileName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if err := errors.Join(syncDir(part), os.Rename(part, to), syncDir(filepath.Dir(to)), syncDir(dir)); err != nil {
		return "", err
	}
	return to, l.boundPreserved(append(kept, to))
}

// roomFor refuses to begin a copy that would leave less than the stop mark.
func (l *Ledger) roomFor(store string, names []string) error {
	var size uint64
	for _, name := range names {
		var s unix.Stat_t
		if err := unix.Stat(filepath.Join(store, name), &s); err != nil {
			return err
		}
		size += uint64(s.Blocks) * 512
	}
	free, err := freeSpace(l.opts.Dir)
	if err != nil {
		return err
	}
	if free < size+l.opts.DiskStop {
		return fmt.Errorf("%d MiB free, %d MiB are needed: make room on this disk, then start again; nothing is lost: %w", free>>20, (size+l.opts.DiskStop)>>20, ErrNoSpace)
	}
	return nil
}

// boundPreserved keeps copies from filling the disk. It drops the oldest of those beyond the bound: the
// starts that made them went on, for HEAD moved behind them. The first and the newest always stay.
func (l *Ledger) boundPreserved(kept []string) error {
	for len(kept) > preservedMost {
		l.log.Warn("too many copies of unclean stops: the second oldest is dropped; a full 'sigillo verify' that passes drops them all",
			"dropped", kept[1], "kept", preservedMost)
		if err := os.RemoveAll(kept[1]); err != nil {
			return fmt.Errorf("dropping a preserved copy: %w", err)
		}
		kept = append(kept[:1:1], kept[2:]...)
	}
	return nil
}

// sameHead tells whether the HEAD file is the one in a preserved copy.
func sameHead(dir, kept string) bool {
	now, err := os.ReadFile(filepath.Join(dir, headFileName))
	then, err2 := os.ReadFile(filepath.Join(kept, headFileName))
	return err == nil && err2 == nil && bytes.Equal(now, then)
}

// preservedCopies gives the whole copies, oldest first.
func preservedCopies(dir string) ([]string, error) {
	names, err := os.ReadDir(filepath.Join(dir, preservedDirName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range names {
		if _, ok := preservedTime(f.Name()); ok && f.IsDir() {
			out = append(out, filepath.Join(dir, preservedDirName, f.Name()))
		}
	}
	sort.Strings(out)
	return out, nil
}

func preservedTime(name string) (time.Time, bool) {
	whole, nano, ok := strings.Cut(preservedLayout, ".")
	if !ok || len(name) != len(preservedLayout)-1 {
		return time.Time{}, false
	}
	t, err := time.Parse(whole+"."+nano, name[:len(whole)]+"."+name[len(whole):])
	return t, err == nil
}

// DropPreserved removes the copies of unclean stops in dir's ledger that were made before the given time
// and says how many. The caller has just verified the whole ledger, content included, and found it
// intact; before is when that verification began. A user who may not write there gets an error that is
// os.ErrPermission, and has lost nothing.
func DropPreserved(dir string, before time.Time) (n int, err error) {
	root := filepath.Join(dir, preservedDirName)
	names, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, f := range names {
		if t, ok := preservedTime(f.Name()); !ok || !t.Before(before) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, f.Name())); err != nil {
			return n, fmt.Errorf("dropping a preserved copy: %w", err)
		}
		n++
	}
	return n, nil
}

// Preserved counts the copies of unclean stops that wait for a full verification.
func (l *Ledger) Preserved() int {
	kept, err := preservedCopies(l.opts.Dir)
	if err != nil {
		return 0
	}
	return len(kept)
}
