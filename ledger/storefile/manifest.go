package storefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Manifest is what the MANIFEST says of a store.
type Manifest struct {
	Tables []string // file names of the tables, in order
	Rest   int64    // bytes behind the last whole change: a torn write, or damage
}

// ReadManifest reads dir's MANIFEST. Its changes have checksums; the first that is damaged is an error.
func ReadManifest(dir string) (m Manifest, err error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	defer hostile(&err)
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	read, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions("").WithLogger(nil))
	if err != nil {
		return m, err
	}
	for id, t := range read.Tables {
		if t.Compression != 0 || t.KeyID != 0 {
			return m, fmt.Errorf("table %d is compressed or encrypted: not a store of Sigillo", id)
		}
		m.Tables = append(m.Tables, TableName(id))
	}
	slices.Sort(m.Tables)
	m.Rest = info.Size() - end
	return m, nil
}

// TableName is the file name of a table.
func TableName(id uint64) string { return fmt.Sprintf("%06d.sst", id) }
