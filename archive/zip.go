package archive

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Zip writes the package in directory dir as dir + ".zip" and returns that name: entries stored, in byte order of
// names, below one directory of the package's id, with a fixed time and no extra fields, so that the same
// files give the same bytes. It appears under its name only when it is complete and synced; ErrExists if
// there is one.
func Zip(ctx context.Context, dir string) (name string, err error) {
	dir = filepath.Clean(dir)
	name = dir + ".zip"
	if _, err := os.Lstat(name); err == nil {
		return "", fmt.Errorf("%s: %w", name, ErrExists)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	out, err := os.CreateTemp(filepath.Dir(dir), partialPrefix+filepath.Base(dir)+".zip-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			// Closed twice at worst; the error that stopped the writing is the one to tell.
			_ = out.Close()
			_ = os.Remove(out.Name())
			err = fmt.Errorf("writing %s: %w", name, err)
		}
	}()
	if err := zipTree(ctx, out, dir); err != nil {
		return "", err
	}
	if err := out.Chmod(0o440); err != nil {
		return "", err
	}
	if err := out.Sync(); err != nil {
		return "", err
	}
	if err := out.Close(); err != nil {
		return "", err
	}
	if err := os.Rename(out.Name(), name); err != nil {
		return "", err
	}
	return name, syncDir(filepath.Dir(dir))
}

func zipTree(ctx context.Context, out io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	files, err := listDir(root.FS())
	if err != nil {
		return err
	}
	w := zip.NewWriter(out)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := zipFile(w, root.FS(), filepath.Base(dir), f.name); err != nil {
			return err
		}
	}
	return w.Close()
}

// zipFile reads the file twice: the header, which carries its checksum, goes first, and no data descriptor after.
func zipFile(w *zip.Writer, tree fs.FS, prefix, name string) error {
	f, err := tree.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	// 1980-01-01, the first day that a ZIP can name.
	header := &zip.FileHeader{
		Name: prefix + "/" + name, Method: zip.Store, CRC32: sum.Sum32(),
		CompressedSize64: uint64(size), UncompressedSize64: uint64(size),
	}
	//lint:ignore SA1019 CreateRaw writes this field as it is; Modified would add an extra field
	header.ModifiedDate = 1<<5 | 1
	header.SetMode(0o440)
	header.NonUTF8 = !strings.ContainsFunc(name, func(r rune) bool { return r > 126 }) // plain ASCII needs no flag
	body, err := w.CreateRaw(header)
	if err != nil {
		return err
	}
	again, err := tree.Open(name)
	if err != nil {
		return err
	}
	defer again.Close()
	n, err := io.Copy(body, again)
	if err == nil && n != size {
		err = fmt.Errorf("%s changed while it was read", name)
	}
	return err
}
