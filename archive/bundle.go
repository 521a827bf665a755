package archive

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
)

// Bounds of what is read as a package, whoever made it.
const (
	maxFiles = 200_000
	maxTotal = 4 << 30 // bytes of all files
	maxIndex = 64 << 20
	maxLines = 256 << 20 // bytes of segment.jsonl or proofs.jsonl
	maxSmall = 1 << 20   // tag files, exchange.json, one metadata file
)

// errTooLarge says that a file is over its bound.
var errTooLarge = errors.New("file is too large")

type bundleFile struct {
	name string
	size int64
}

// bundle is a package as a set of plain files, in a directory or in a ZIP.
type bundle struct {
	name  string // of the directory or, in a ZIP, of its top directory
	files []bundleFile
	open  func(name string) (io.ReadCloser, error)
	close func() error
}

// openBundle lists the files of a package. What it cannot take for a file (links, names that lead elsewhere,
// more than the bounds) it tells bad and leaves out; an error is one of reading.
func openBundle(path string, bad func(format string, args ...any)) (*bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openZip(path, bad)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	b := &bundle{name: info.Name(), close: root.Close, open: func(name string) (io.ReadCloser, error) { return root.Open(name) }}
	if b.files, err = listFiles(root.FS(), bad); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return b, nil
}

// listDir lists the files of a package that we are to copy: anything else than plain files is an error.
func listDir(tree fs.FS) ([]bundleFile, error) {
	var problem error
	files, err := listFiles(tree, func(format string, args ...any) {
		if problem == nil {
			problem = fmt.Errorf(format, args...)
		}
	})
	return files, errors.Join(err, problem)
}

func listFiles(tree fs.FS, bad func(string, ...any)) ([]bundleFile, error) {
	var files []bundleFile
	var total int64
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !plainPath(name) {
			bad("name %.120q is not made of letters, digits, dot, hyphen and underscore", name)
			return nil
		}
		if !d.Type().IsRegular() {
			bad("%s is not a plain file", name)
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if total += info.Size(); len(files) == maxFiles || total > maxTotal {
			bad("more than %d files or %d bytes: the rest is not read", maxFiles, int64(maxTotal))
			return fs.SkipAll
		}
		files = append(files, bundleFile{name, info.Size()})
		return nil
	})
	sort.Slice(files, func(i, j int) bool { return files[i].name < files[j].name })
	return files, err
}

// plainPath says whether a path stays below where it starts and needs no quoting anywhere.
func plainPath(name string) bool {
	if !fs.ValidPath(name) || len(name) > 240 || name == "." {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '-' && c != '_' && c != '/' {
			return false
		}
	}
	return true
}

func openZip(path string, bad func(string, ...any)) (*bundle, error) {
	r, err := zip.OpenReader(path)
	if errors.Is(err, zip.ErrInsecurePath) {
		err = nil // such names are refused one by one below
	}
	if err != nil {
		if errors.Is(err, zip.ErrFormat) || errors.Is(err, zip.ErrAlgorithm) || errors.Is(err, io.ErrUnexpectedEOF) {
			bad("not a readable ZIP: %v", err)
			return &bundle{close: func() error { return nil }, open: func(string) (io.ReadCloser, error) { return nil, fs.ErrNotExist }}, nil
		}
		return nil, err
	}
	b, members := &bundle{close: r.Close}, map[string]*zip.File{}
	var total uint64
	for _, f := range r.File {
		if strings.HasSuffix(f.Name, "/") && f.UncompressedSize64 == 0 && plainPath(strings.TrimSuffix(f.Name, "/")) {
			continue
		}
		top, name, below := strings.Cut(f.Name, "/")
		if b.name == "" {
			b.name = top
		}
		switch {
		case !plainPath(f.Name) || !below:
			bad("name %.120q in the ZIP is refused", f.Name)
			continue
		case top != b.name:
			bad("%.120q is not below %q, the ZIP's one directory", f.Name, b.name)
			continue
		case members[name] != nil:
			bad("%s stands twice in the ZIP", name)
			continue
		case !f.Mode().IsRegular() || f.Flags&1 != 0:
			bad("%s in the ZIP is not a plain file", name)
			continue
		}
		if f.UncompressedSize64 > maxTotal || total+f.UncompressedSize64 > maxTotal || len(members) == maxFiles {
			bad("more than %d files or %d bytes: the rest is not read", maxFiles, int64(maxTotal))
			break
		}
		total += f.UncompressedSize64
		members[name] = f
		b.files = append(b.files, bundleFile{name, int64(f.UncompressedSize64)})
	}
	sort.Slice(b.files, func(i, j int) bool { return b.files[i].name < b.files[j].name })
	b.open = func(name string) (io.ReadCloser, error) {
		f := members[name]
		if f == nil {
			return nil, fs.ErrNotExist
		}
		return f.Open()
	}
	return b, nil
}

// read gives a whole file of at most limit bytes.
func (b *bundle) read(name string, limit int64) ([]byte, error) {
	f, err := b.open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", errTooLarge, limit)
	}
	return data, err
}

// lines calls fn with each line of a file, without its newline; the last must have one. Lines are at most limit bytes.
func (b *bundle) lines(name string, limit int, fn func(line []byte) error) error {
	data, err := b.read(name, maxLines)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			return errors.New("last line does not end")
		}
		if end > limit {
			return fmt.Errorf("a line has %d bytes, more than %d", end, limit)
		}
		if err := fn(data[:end]); err != nil {
			return err
		}
		data = data[end+1:]
	}
	return nil
}
