package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// fileAnchor is a signed checkpoint in a file, which should lie on another disk or another host's.
type fileAnchor struct {
	path string
	base string // must exist: that it does shows that the disk is there
}

// FileAnchor keeps the mark of a log in the file at path, as a signed note that stock tools read. The
// file must be there, empty at first: one that is missing is a disk that is not mounted, not an empty
// anchor. Of a log of epoch 2 and above (after an accepted rollback) the file is path + ".eN", which
// Advance makes.
func FileAnchor(path string, epoch int) Anchor {
	return fileAnchor{path: epochName(path, ".e", epoch), base: path}
}

// Name implements Anchor.
func (a fileAnchor) Name() string { return "file:" + a.path }

// Read implements Anchor.
func (a fileAnchor) Read(context.Context) (AnchorMark, error) {
	if _, err := os.Stat(a.base); err != nil {
		return AnchorMark{}, fmt.Errorf("%w (is its disk mounted? an anchor begins as an empty file: touch %s)", err, a.base)
	}
	b, err := readSmall(a.path, maxNote)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(b) == 0 {
		return AnchorMark{}, ErrNoMark
	}
	if err != nil {
		return AnchorMark{}, err
	}
	m, err := MarkOf(b)
	sum := sha256.Sum256(b)
	m.Version = binary.BigEndian.Uint64(sum[:]) | 1 // never 0: that is the empty anchor
	return m, err
}

// Advance implements Anchor: under a lock for the processes of this host, synced before and after the
// rename, so that a crash leaves the old mark or the new one.
func (a fileAnchor) Advance(ctx context.Context, next AnchorMark) (err error) {
	lock, err := os.OpenFile(a.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", a.path, err)
	}
	old, err := a.Read(ctx)
	if err != nil && !errors.Is(err, ErrNoMark) {
		return err
	}
	if write, err := old.Precedes(next); err != nil || !write {
		return err
	}
	dir := filepath.Dir(a.path)
	if err := renameio.WriteFile(a.path, next.Note, 0o644, renameio.WithTempDir(dir)); err != nil {
		return fmt.Errorf("writing %s: %w", a.path, err)
	}
	return syncDir(dir)
}

// readSmall reads a regular file of at most max bytes.
func readSmall(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err == nil && int64(len(b)) > max {
		err = fmt.Errorf("%s has more than %d bytes", path, max)
	}
	return b, err
}
