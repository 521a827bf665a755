package archive

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Package says what an export made.
type Package struct {
	ID             string `json:"package"`
	Path           string `json:"path"` // its directory
	Own            string `json:"own"`
	First          uint64 `json:"first"` // own.k
	Last           uint64 `json:"last"`
	FirstEntry     uint64 `json:"first_entry"` // number in the log
	LastEntry      uint64 `json:"last_entry"`
	Entries        int    `json:"entries"`
	Exchanges      int    `json:"exchanges"`
	Messages       int    `json:"messages"`
	Erased         int    `json:"erased"` // messages whose content an erasure took
	Files          int    `json:"files"`  // of the payload
	Bytes          int64  `json:"bytes"`  // of the payload
	SHA256         string `json:"pindex_p7m_sha256"`
	CheckpointSize uint64 `json:"checkpoint_size"`
}

// Previous is the link that the next package of the same own chain carries.
func (p *Package) Previous() *PreviousPackage {
	return &PreviousPackage{ID: p.ID, LastK: p.Last, SHA256: p.SHA256}
}

// partialPrefix begins the names of directories that are not packages yet.
const partialPrefix = ".partial-"

// Export writes the package of the entries k first..last of one own chain into a directory below opt.Dir that
// appears under its name only when it is complete, sealed, stamped and synced. Whatever fails, nothing is left
// under that name; what a killed export left behind is removed by the next one. Every commitment, chain
// link, inclusion path and the checkpoint's signature are recomputed on the way: an error names entry and message.
//
// The same range gives the same bytes but for PIndex.xml.p7m, the tag manifest that lists it, and the tokens.
// Content is held in memory one message at a time, besides it some 4 KiB an exchange. Errors: ErrExists, ErrBusy,
// otherwise those of src, sealer and stamper. One export into a directory at a time; safe for concurrent use.
func Export(ctx context.Context, opt Options, src Source, sealer Sealer, stamper Stamper) (*Package, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	id := opt.id()
	p, err := export(ctx, &opt, src, sealer, stamper)
	if err != nil {
		return nil, fmt.Errorf("exporting %s (%s, k %d to %d): %w", id, opt.own(), opt.First, opt.Last, err)
	}
	return p, nil
}

func export(ctx context.Context, opt *Options, src Source, sealer Sealer, stamper Stamper) (p *Package, err error) {
	unlock, err := lock(opt.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	id := opt.id()
	target := filepath.Join(opt.Dir, id)
	if _, err := os.Lstat(target); err == nil {
		return nil, fmt.Errorf("%s: %w", target, ErrExists)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	partial := filepath.Join(opt.Dir, partialPrefix+id)
	defer func() {
		if err != nil {
			// The error that stopped the export is the one to tell.
			_ = os.RemoveAll(partial)
		}
	}()
	if err := os.Mkdir(partial, 0o750); err != nil {
		return nil, err
	}
	w := &packer{opt: opt, src: src, bag: newBag(partial)}
	if err := w.payload(ctx); err != nil {
		return nil, err
	}
	sealed, err := w.index(ctx, sealer)
	if err != nil {
		return nil, err
	}
	// The archive time-stamp comes last: it has to fall into the window of the revocation lists in the seal.
	reply, err := stamper.Stamp(ctx, sealed)
	if err != nil {
		return nil, fmt.Errorf("archive time-stamp over PIndex.xml.p7m: %w", err)
	}
	if len(reply) == 0 {
		return nil, errors.New("archive time-stamp over PIndex.xml.p7m: empty answer")
	}
	if _, err := w.bag.write("evidence/0001.tsr", reply); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := syncTree(partial); err != nil {
		return nil, fmt.Errorf("syncing: %w", err)
	}
	if err := os.Rename(partial, target); err != nil {
		return nil, err
	}
	if err := syncDir(opt.Dir); err != nil {
		return nil, fmt.Errorf("syncing %s: %w", opt.Dir, err)
	}
	return w.result(target), nil
}

// lock makes an export the only one in dir until unlock, then removes what killed ones left.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	unlock = func() { _ = f.Close() } // closing gives the lock back
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		unlock()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrBusy)
		}
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		unlock()
		return nil, err
	}
	for _, n := range names {
		if id, ok := strings.CutPrefix(n, partialPrefix); ok && idForm.MatchString(id) {
			if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
				unlock()
				return nil, fmt.Errorf("removing what a killed export left: %w", err)
			}
		}
	}
	return unlock, nil
}

// index writes everything beside the payload up to the seal, which it returns.
func (w *packer) index(ctx context.Context, sealer Sealer) ([]byte, error) {
	opt, payload := w.opt, w.bag.sorted()
	// In the zone that days are cut in, so that the date is that of the package's name.
	date := w.span.end.In(opt.Day.Location()).Format("2006-01-02")
	index := opt.pindex(payload, w.span)
	sealed, err := sealer.SealAttached(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("sealing PIndex.xml: %w", err)
	}
	if len(sealed) == 0 {
		return nil, errors.New("sealing PIndex.xml: empty seal")
	}
	var tags []bagFile
	for _, f := range []struct {
		path string
		data []byte
	}{
		{"PIndex.xml", index}, {"PIndex.xml.p7m", sealed}, {"bag-info.txt", bagInfo(opt.Producer.Name, opt.id(), date, payload)},
		{"bagit.txt", []byte(bagitText)}, {"manifest-sha256.txt", manifest(payload)},
	} {
		file, err := w.bag.write(f.path, f.data)
		if err != nil {
			return nil, err
		}
		tags = append(tags, file)
	}
	w.seal = tags[1]
	if _, err := w.bag.write("tagmanifest-sha256.txt", manifest(tags)); err != nil {
		return nil, err
	}
	return sealed, nil
}

func (w *packer) result(target string) *Package {
	p := &Package{
		ID: w.opt.id(), Path: target, Own: w.opt.own(), First: w.opt.First, Last: w.opt.Last, FirstEntry: w.span.firstN, LastEntry: w.span.lastN,
		Entries: len(w.leaves), Exchanges: len(w.order), Messages: w.messages, Erased: w.erased, Files: len(w.bag.payload),
		SHA256: w.seal.hex(), CheckpointSize: w.tree.size,
	}
	for _, f := range w.bag.payload {
		p.Bytes += f.size
	}
	return p
}
