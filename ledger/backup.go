package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// A backup is a directory of parts and a manifest. Each run adds the part NNNN.part with what changed since
// the part before: written under another name, synced, renamed; only then the manifest that names it takes
// the place of the one before. Whatever ends a run, the parts that the manifest names are a whole backup.
const (
	manifestName   = "manifest.json"
	manifestFormat = "sigillo/backup/v1"
	maxManifest    = 64 << 20
	maxParts       = 9999
	partSuffix     = ".part"
	tempSuffix     = ".unfinished"
)

// ErrNoBackup says that a directory holds no backup, or something else beside one.
var ErrNoBackup = errors.New("not the directory of a backup")

// ErrBackupBusy says that another process writes to a backup.
var ErrBackupBusy = errors.New("another backup into this directory is running")

// PartInfo is one part as the manifest names it.
type PartInfo struct {
	Part   int    `json:"part"`
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 Hash   `json:"sha256"`
	PartHeader
	PartCounts
}

// BackupManifest names the parts of a backup, in order.
type BackupManifest struct {
	Format string     `json:"format"`
	Origin string     `json:"origin"`
	Parts  []PartInfo `json:"parts"`
}

func partName(part int) string { return fmt.Sprintf("%04d%s", part, partSuffix) }

// Bytes is the size of all parts.
func (m *BackupManifest) Bytes() int64 {
	sum := int64(0)
	for _, p := range m.Parts {
		sum += p.Bytes
	}
	return sum
}

// base is where the next part begins.
func (m *BackupManifest) base() backupBase {
	if len(m.Parts) == 0 {
		return backupBase{}
	}
	return m.Parts[len(m.Parts)-1].base()
}

// encode writes one line a part, so that people and line tools can read it.
func (m *BackupManifest) encode() ([]byte, error) {
	var b bytes.Buffer
	origin, err := json.Marshal(m.Origin)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "{\"format\":%q,\"origin\":%s,\"parts\":[\n", m.Format, origin)
	for i, p := range m.Parts {
		line, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		b.Write(line)
		if i < len(m.Parts)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]}\n")
	return b.Bytes(), nil
}

// ReadBackup reads the manifest of the backup in dir; ErrNoBackup where there is none. It holds the parts
// against each other, not against their files.
func ReadBackup(dir string) (*BackupManifest, error) {
	f, err := os.Open(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: there is no %s", dir, ErrNoBackup, manifestName)
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return parseManifest(b)
}

func parseManifest(b []byte) (*BackupManifest, error) {
	if len(b) > maxManifest {
		return nil, partError("%s has more than %d bytes", manifestName, maxManifest)
	}
	var m BackupManifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, partError("%s: %v", manifestName, err)
	}
	if again, err := m.encode(); err != nil || !bytes.Equal(again, b) {
		return nil, partError("%s is not in its one form", manifestName)
	}
	if m.Format != manifestFormat || len(m.Parts) == 0 || len(m.Parts) > maxParts {
		return nil, partError("%s: not format %q with 1 to %d parts", manifestName, manifestFormat, maxParts)
	}
	var from backupBase
	for i, p := range m.Parts {
		if err := p.check(); err != nil {
			return nil, partError("%s, part %d: %v", manifestName, i+1, err)
		}
		switch {
		case p.Part != i+1 || p.File != partName(i+1) || p.Bytes < 0:
			return nil, partError("%s: part %d comes next, not %d in %q", manifestName, i+1, p.Part, p.File)
		case p.Origin != m.Origin:
			return nil, partError("%s: part %d is of the log %q, not %q", manifestName, i+1, p.Origin, m.Origin)
		case p.Since != from.Since || i > 0 && p.Until <= p.Since || p.Size < from.Size:
			return nil, partError("%s: part %d does not go on from the part before it", manifestName, i+1)
		}
		from = p.base()
	}
	return &m, nil
}

// Backup adds a part to the backup in dir, which it creates when it is missing, with what changed in l since
// the newest part: everything, in an empty directory. It works on one snapshot of l and holds nothing back.
// added is false when nothing has changed. What the ledger could not give is counted in the part's damage:
// such a part is kept all the same. ErrOtherHistory, ErrNoBackup and ErrBackupBusy change nothing.
// progress, when set, is told the bytes written so far.
func Backup(ctx context.Context, l *Log, dir string, progress func(bytes int64)) (p PartInfo, added bool, err error) {
	source, ok := l.View.(backupSource)
	if !ok {
		return p, false, errors.New("this log cannot be backed up: it is read from elsewhere")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return p, false, fmt.Errorf("creating the backup's directory: %w", err)
	}
	unlock, err := lockBackup(dir)
	if err != nil {
		return p, false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	m, err := startBackup(dir, l.Origin())
	if err != nil {
		return p, false, err
	}
	p.Part = len(m.Parts) + 1
	if p.File = partName(p.Part); p.Part > maxParts {
		return p, false, fmt.Errorf("%s has %d parts, the most that a backup may have; begin a new one in an empty directory", dir, maxParts)
	}
	temp := filepath.Join(dir, p.File+tempSuffix)
	if err := writePart(ctx, source, m, &p, temp, progress); err != nil || len(m.Parts) > 0 && p.Until == p.Since {
		return p, false, errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, filepath.Join(dir, p.File)); err != nil {
		return p, false, fmt.Errorf("naming the part: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return p, false, err
	}
	m.Parts = append(m.Parts, p)
	b, err := m.encode()
	if err == nil {
		_, err = parseManifest(b) // what could not be read again must not take the place of what can
	}
	if err == nil {
		err = renameio.WriteFile(filepath.Join(dir, manifestName), b, 0o600)
	}
	if err != nil {
		return p, false, fmt.Errorf("writing the manifest: %w", err)
	}
	return p, true, syncDir(dir)
}

// lockBackup keeps two processes from adding the same part.
func lockBackup(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", dir, ErrBackupBusy)
		}
		return nil, errors.Join(err, d.Close())
	}
	return d.Close, nil
}

// startBackup gives the manifest, an empty one in a directory without, and removes what a broken-off run left
// unfinished. It refuses to go on before parts that no manifest names, but for the one that a run leaves which
// was broken off just before its manifest.
func startBackup(dir, origin string) (*BackupManifest, error) {
	m, err := ReadBackup(dir)
	if errors.Is(err, ErrNoBackup) {
		m, err = &BackupManifest{Format: manifestFormat, Origin: origin}, nil
	}
	if err != nil {
		return nil, err
	}
	if m.Origin != origin {
		return nil, fmt.Errorf("%s: the backup is of the log %q, the ledger is %q: %w", dir, m.Origin, origin, ErrOtherHistory)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	next := partName(len(m.Parts) + 1)
	for _, f := range files {
		switch name := f.Name(); {
		case strings.HasSuffix(name, tempSuffix), strings.HasPrefix(name, "."+manifestName):
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("removing what an earlier run left: %w", err)
			}
		case strings.HasSuffix(name, partSuffix) && name > next:
			return nil, fmt.Errorf("%s: %w: %s is there, and no %s that names it; give an empty directory", dir, ErrNoBackup, name, manifestName)
		}
	}
	return m, nil
}

// writePart writes what source gives to the file temp, reading it as a restore will on the way.
func writePart(ctx context.Context, source backupSource, m *BackupManifest, p *PartInfo, temp string, progress func(int64)) (err error) {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	from := m.base()
	in, err := source.openBackup(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	sum := sha256.New()
	counted := &countingWriter{progress: progress}
	r, err := newPartReader(io.TeeReader(in, io.MultiWriter(f, sum, counted)))
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	p.PartHeader = r.Header
	if p.Origin != m.Origin || p.Since != from.Since {
		return fmt.Errorf("reading the ledger: it gave %q from version %d, not %q from %d", p.Origin, p.Since, m.Origin, from.Since)
	}
	if len(m.Parts) > 0 && p.Until == p.Since {
		return nil // nothing has changed
	}
	for err == nil {
		_, err = r.next()
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	p.PartCounts, p.Bytes, p.SHA256 = r.Counts, counted.n, Hash(sum.Sum(nil))
	return f.Sync()
}

// countingWriter counts what passes.
type countingWriter struct {
	n        int64
	progress func(int64)
}

func (c *countingWriter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	if c.progress != nil {
		c.progress(c.n)
	}
	return len(b), nil
}
