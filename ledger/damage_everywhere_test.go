package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigillo/internal/exchange"
	"sigillo/ledger/storefile"
)

// region is a run of bytes of a file.
type region struct{ from, to int64 }

// liveRecords gives, by value log, where the newest version of every key stands: the only bytes of value
// logs that carry evidence (docs/formats.md 5).
func liveRecords(t *testing.T, dir string) map[string][]region {
	t.Helper()
	type newest struct {
		version uint64
		file    string
		at      region
	}
	found := map[string]newest{}
	take := func(r storefile.Record, file string, at region) {
		n, ok := found[string(r.Key)]
		switch {
		case !ok || r.Version > n.version:
			found[string(r.Key)] = newest{r.Version, file, at}
		case r.Version == n.version && r.In == nil:
			found[string(r.Key)] = newest{r.Version, file, at}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, storeDirName, "*"))
	must(t, err)
	for _, path := range files {
		b, err := readData(path)
		must(t, err)
		switch filepath.Ext(path) {
		case ".vlog":
			type placed struct {
				r  storefile.Record
				at int64
			}
			var all []placed
			_, err = storefile.ScanLog(b, func(at int64, r storefile.Record) error { all = append(all, placed{r, at}); return nil })
			for i, p := range all {
				end := int64(len(b))
				if i+1 < len(all) {
					end = all[i+1].at
				}
				take(p.r, filepath.Base(path), region{p.at, end})
			}
		case ".sst":
			var blocks []storefile.Block
			blocks, err = storefile.ReadIndex(memory(b), int64(len(b)))
			for _, at := range blocks {
				must(t, storefile.ScanBlock(b[at.Offset:at.Offset+at.Len], func(r storefile.Record) error { take(r, "", region{}); return nil }))
			}
		}
		must(t, err)
	}
	live := map[string][]region{}
	for _, n := range found {
		if n.file != "" {
			live[n.file] = append(live[n.file], n.at)
		}
	}
	return live
}

// TestNoDamageHidesBehindAnOverwrittenValue flips bytes all over the files of a stopped ledger. Verify
// must say broken, or the byte must be one of those that docs/formats.md says carry no evidence: the
// header of a value log, a value that a newer one replaced, Badger's DISCARD and KEYREGISTRY.
func TestNoDamageHidesBehindAnOverwrittenValue(t *testing.T) {
	k, dir := newSeedKeys(51), t.TempDir()
	for range 2 {
		l := openTest(t, dir, k)
		fill(t, l, 140)
		closeTest(t, l)
	}
	wantIntact(t, verifyDir(t, dir, k))
	live := liveRecords(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, storeDirName, "*"))
	must(t, err)
	began := time.Now()
	broken, free := 0, 0
	for _, path := range files {
		name := filepath.Base(path)
		info, err := os.Stat(path)
		must(t, err)
		step := max(1, info.Size()/24) | 1 // some twenty-four places a file, at odd distances
		for at := began.UnixNano() % step; at < info.Size(); at += step {
			flip(t, path, at)
			v := verifyDir(t, dir, k)
			flip(t, path, at)
			if v.Verdict == exchange.Broken {
				broken++
				continue
			}
			free++
			switch ext := filepath.Ext(name); {
			case name == "DISCARD" || name == "KEYREGISTRY" || name == "LOCK":
			case ext == ".vlog" && !anyHolds(live[name], at):
			default:
				t.Errorf("byte %d of %s (%d bytes): verdict %s, and it carries evidence", at, name, info.Size(), v.Verdict)
			}
		}
	}
	wantIntact(t, verifyDir(t, dir, k))
	t.Logf("%d flips found, %d in bytes that carry no evidence, in %s", broken, free, time.Since(began).Round(time.Second))
}

func anyHolds(s []region, at int64) bool {
	for _, x := range s {
		if at >= x.from && at < x.to {
			return true
		}
	}
	return false
}
