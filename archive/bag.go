package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// bagFile is a file of the bag as its manifests list it.
type bagFile struct {
	path string // relative to the bag, slashes
	size int64
	sum  [32]byte
}

func (f bagFile) hex() string { return hex.EncodeToString(f.sum[:]) }

// bag writes the files of a package below dir. Every file is written once and never opened again.
type bag struct {
	dir     string
	payload []bagFile       // below data/, in order of writing until sorted
	made    map[string]bool // directories that exist
}

func newBag(dir string) *bag { return &bag{dir: dir, made: map[string]bool{"": true}} }

// add writes one file of the payload.
func (b *bag) add(path string, data []byte) (bagFile, error) {
	f, err := b.write(path, data)
	if err == nil {
		b.payload = append(b.payload, f)
	}
	return f, err
}

// write writes one file without listing it in the payload.
func (b *bag) write(path string, data []byte) (bagFile, error) {
	w, err := b.create(path)
	if err != nil {
		return bagFile{}, err
	}
	_, err = w.Write(data)
	return w.close(err)
}

func (b *bag) mkdir(dir string) error {
	if b.made[dir] {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(b.dir, filepath.FromSlash(dir)), 0o750); err != nil {
		return err
	}
	b.made[dir] = true
	return nil
}

// bagWriter hashes what it writes.
type bagWriter struct {
	path string
	file *os.File
	buf  *bufio.Writer
	hash hash.Hash
	size int64
}

func (b *bag) create(path string) (*bagWriter, error) {
	dir := ""
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir = path[:i]
	}
	if err := b.mkdir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(b.dir, filepath.FromSlash(path)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o440)
	if err != nil {
		return nil, err
	}
	return &bagWriter{path: path, file: f, buf: bufio.NewWriter(f), hash: sha256.New()}, nil
}

func (w *bagWriter) Write(p []byte) (int, error) {
	w.hash.Write(p)
	w.size += int64(len(p))
	return w.buf.Write(p)
}

// close ends the file, also after an error in writing, which it then returns.
func (w *bagWriter) close(err error) (bagFile, error) {
	if e := w.buf.Flush(); err == nil {
		err = e
	}
	if e := w.file.Close(); err == nil {
		err = e
	}
	return bagFile{w.path, w.size, [32]byte(w.hash.Sum(nil))}, err
}

// sorted puts the payload into byte order of paths, as LC_ALL=C sort does.
func (b *bag) sorted() []bagFile {
	sort.Slice(b.payload, func(i, j int) bool { return b.payload[i].path < b.payload[j].path })
	return b.payload
}

// manifest is a BagIt manifest, which is what sha256sum -c reads.
func manifest(files []bagFile) []byte {
	var b bytes.Buffer
	for _, f := range files {
		b.WriteString(f.hex() + "  " + f.path + "\n")
	}
	return b.Bytes()
}

const bagitText = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

// bagInfo obeys RFC 8493, section 2.2.2. Bagging-Date is the end of the range, so that the same range gives
// the same bytes.
func bagInfo(organization, id, date string, payload []bagFile) []byte {
	var size int64
	for _, f := range payload {
		size += f.size
	}
	return fmt.Appendf(nil, "Source-Organization: %s\nExternal-Identifier: %s\nBagging-Date: %s\nPayload-Oxum: %d.%d\n",
		organization, id, date, size, len(payload))
}
