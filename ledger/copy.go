package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copyFile copies a file and syncs the copy. It shares blocks where the file system can (reflink), and
// leaves holes where the source is zero: Badger's files are large and mostly empty.
func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return out.Sync()
	}
	end, err := dataEnd(in)
	if err != nil {
		return err
	}
	if err := copySparse(out, io.NewSectionReader(in, 0, end)); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	return out.Sync()
}

func copySparse(out *os.File, in io.Reader) error {
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, werr := out.WriteAt(buf[:n], at); werr != nil {
				return werr
			}
		}
		at += int64(n)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// copyLedger copies what a reader of a ledger needs: the store, HEAD and the lists of its files.
func copyLedger(to, from string) error {
	if err := os.MkdirAll(filepath.Join(to, storeDirName), 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(filepath.Join(from, storeDirName))
	if err != nil {
		return err
	}
	for _, f := range files {
		if !f.Type().IsRegular() || f.Name() == "LOCK" {
			continue
		}
		if err := copyFile(filepath.Join(to, storeDirName, f.Name()), filepath.Join(from, storeDirName, f.Name())); err != nil {
			return err
		}
	}
	for _, name := range []string{headFileName, cleanFileName, filesFileName} {
		if err := copyFile(filepath.Join(to, name), filepath.Join(from, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
