package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"sigillo/ledger/storefile"
)

// reserveFileName is a file that holds room: a start on a full disk frees it to get up again.
const reserveFileName = "RESERVE"

// How often the disk is looked at while nothing is appended, and how long the reading of tables rests
// after each of them: they hold up to some ten MiB.
const (
	diskEvery  = time.Minute
	tablePause = 200 * time.Millisecond
)

// DiskState tells how the free space on a ledger's disk stands to its marks.
type DiskState int

// States of a disk.
const (
	DiskOK   DiskState = iota
	DiskWarn           // below Options.DiskWarn: readiness says so, everything goes on
	DiskStop           // below Options.DiskStop: new entries are refused
)

// DiskState measures the free space on the ledger's disk, in bytes.
func (l *Ledger) DiskState() (state DiskState, free uint64, err error) {
	if free, err = freeSpace(l.opts.Dir); err != nil {
		return DiskStop, 0, err
	}
	switch {
	case free < l.opts.DiskStop:
		return DiskStop, free, nil
	case free < l.opts.DiskWarn:
		return DiskWarn, free, nil
	}
	return DiskOK, free, nil
}

// reserveSize is what a start needs: the stop mark, and half of it for the copies of an unclean stop and for what recovery writes.
func (l *Ledger) reserveSize() uint64 { return l.opts.DiskStop + l.opts.DiskStop/2 }

// makeRoom refuses to open on a disk with less free space than the stop mark. It frees the reserve
// before it gives up.
func (l *Ledger) makeRoom() error {
	free, err := freeSpace(l.opts.Dir)
	if err != nil {
		return err
	}
	if free < l.opts.DiskStop {
		path := filepath.Join(l.opts.Dir, reserveFileName)
		if err := os.Remove(path); err == nil {
			l.log.Warn("the disk is full: the reserve was freed to open the ledger; make room soon", "file", path, "free_mib", free>>20)
			if free, err = freeSpace(l.opts.Dir); err != nil {
				return err
			}
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("freeing the reserve: %w", err)
		}
	}
	if free < l.opts.DiskStop {
		return fmt.Errorf("%d MiB free in %s, %d MiB are needed to open the ledger (disk.stop): make room on this disk, then start again; nothing is lost: %w",
			free>>20, l.opts.Dir, l.opts.DiskStop>>20, ErrNoSpace)
	}
	return nil
}

// keepReserve lays the reserve down where it is missing and there is room beside it. A file system that
// cannot reserve leaves the ledger without one, which is said at the start.
func (l *Ledger) keepReserve() {
	path, size := filepath.Join(l.opts.Dir, reserveFileName), l.reserveSize()
	if info, err := os.Stat(path); err == nil && uint64(info.Size()) == size {
		return
	}
	free, err := freeSpace(l.opts.Dir)
	if err == nil && free < 2*size {
		err = fmt.Errorf("%d MiB free, %d MiB are needed", free>>20, 2*size>>20)
	}
	if err == nil {
		err = reserve(path, int64(size))
	}
	if err != nil {
		l.log.Warn("no room is reserved for a start on a full disk", "file", path, "error", err.Error())
	}
}

func reserve(path string, size int64) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return fmt.Errorf("reserving %d bytes: %w", size, err)
	}
	return f.Sync()
}

// watch runs until ctx ends: it reads the blocks of all tables once, slowly, and looks after the disk.
// A damaged block ends the ledger: Badger would leave out what it cannot read when it compacts the table.
func (l *Ledger) watch(ctx context.Context) {
	if err := l.readTables(ctx); err != nil {
		l.fail(err)
		return
	}
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	before := DiskOK
	for first := true; ; first = false {
		state, free, err := l.DiskState()
		switch {
		case err != nil:
			l.log.Warn("the disk cannot be measured", "error", err.Error())
		case state == DiskOK && before != DiskOK || first:
			l.keepReserve()
		case state > before:
			l.log.Warn("the ledger's disk fills up", "free_mib", free>>20, "warn_mib", l.opts.DiskWarn>>20, "stop_mib", l.opts.DiskStop>>20)
		}
		before = state
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// damagedFileName names a table that was found damaged while serving: the next start reads it whole.
const damagedFileName = "DAMAGED"

// knownDamage gives the tables that were found damaged while serving.
func knownDamage(dir string) []string {
	b, err := os.ReadFile(filepath.Join(dir, damagedFileName))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

// readTables checks every block of the tables that are there now.
func (l *Ledger) readTables(ctx context.Context) error {
	m, err := storefile.ReadManifest(filepath.Join(l.opts.Dir, storeDirName))
	if err != nil {
		return nil // it is being rewritten; a start reads it before anybody writes
	}
	pause := time.NewTicker(tablePause)
	defer pause.Stop()
	for _, name := range m.Tables {
		path := filepath.Join(l.opts.Dir, storeDirName, name)
		info, err := os.Stat(path)
		if err != nil {
			continue // compacted away, blocks verified as they were read
		}
		if _, _, err := checkTable(path, info.Size(), -1); err != nil && !errors.Is(err, os.ErrNotExist) {
			if werr := renameio.WriteFile(filepath.Join(l.opts.Dir, damagedFileName), []byte(name+"\n"), 0o600); werr != nil {
				l.log.Error("the damage cannot be written down", "error", werr.Error())
			}
			return &DamagedError{Dir: l.opts.Dir, Damage: []Damage{{File: inStore(name), Problem: err.Error()}}}
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}
