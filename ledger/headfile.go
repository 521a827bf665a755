package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The HEAD file stands beside the store and tells what was acknowledged: two slots of 4 KiB, written
// in turn and synced after the commit and before the acknowledgement. Badger may lose a damaged tail
// without a word (ledger.md 3); HEAD is how Sigillo notices.
const (
	headFileName  = "HEAD"
	cleanFileName = "CLEAN"
	slotSize      = 4096
)

// headMark is one slot of the HEAD file.
type headMark struct {
	Seq  uint64 `json:"seq"`
	Size uint64 `json:"size"`
	Last Hash   `json:"last"`
	Root Hash   `json:"root"`
}

// headFile writes the marks of one ledger. One goroutine uses it.
type headFile struct {
	f   *os.File
	seq uint64
}

func openHeadFile(dir string) (*headFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, headFileName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	m, _, err := readHeadFile(dir)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &headFile{f: f, seq: m.Seq}, nil
}

// write makes m durable. It returns only when the bytes are synced.
func (h *headFile) write(m headMark) error {
	h.seq++
	m.Seq = h.seq
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	slot := make([]byte, slotSize)
	sum := sha256.Sum256(b)
	copy(slot, fmt.Sprintf("%x %s\n", sum, b))
	if _, err := h.f.WriteAt(slot, int64(h.seq%2)*slotSize); err != nil {
		return fmt.Errorf("writing HEAD: %w", err)
	}
	if err := fdatasync(h.f); err != nil {
		return fmt.Errorf("syncing HEAD: %w", err)
	}
	return nil
}

func fdatasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

func (h *headFile) close() error { return h.f.Close() }

// readHeadFile gives the newer valid mark; found is false where there is none, which is an error when
// the file is not empty: both slots cannot be torn at once.
func readHeadFile(dir string) (m headMark, found bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, headFileName))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(b) == 0 {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	for _, s := range headSlots(b) {
		if !found || s.Seq > m.Seq {
			m, found = s, true
		}
	}
	if !found {
		return m, false, errors.New("HEAD: neither slot is intact")
	}
	return m, true, nil
}

// headSlots gives the intact marks of a HEAD file.
func headSlots(b []byte) (marks []headMark) {
	for i := 0; i+slotSize <= len(b) || i == 0; i += slotSize {
		line, _, ok := bytes.Cut(b[i:min(i+slotSize, len(b))], []byte("\n"))
		if !ok || len(line) < 66 {
			continue
		}
		var s headMark
		if fmt.Sprintf("%x", sha256.Sum256(line[65:])) == string(line[:64]) && json.Unmarshal(line[65:], &s) == nil {
			marks = append(marks, s)
		}
	}
	return marks
}

// intactSlots counts the intact slots of the HEAD file.
func intactSlots(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, headFileName))
	if err != nil {
		return 0
	}
	return len(headSlots(b))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
