package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sigillo/internal/exchange"
)

// VerifyBackup reads every part of the backup in dir and holds it against the manifest: digests, framing,
// headers, and that each part goes on where the one before ends. It says nothing about what the records mean:
// only a restore does. An error means that there is no backup; everything else is a finding. progress, when
// set, is told the bytes read, of how many.
func VerifyBackup(ctx context.Context, dir string, progress func(done, total int64)) (*exchange.Verdict, error) {
	out := exchange.NewVerdict()
	m, err := ReadBackup(dir)
	if errors.Is(err, ErrPart) {
		out.Addf("manifest", exchange.Broken, "%v", err)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	done, total := int64(0), m.Bytes()
	for _, p := range m.Parts {
		err := readPart(ctx, dir, p, func(n int64) {
			if progress != nil {
				progress(done+n, total)
			}
		}, func(partRecord) error { return nil })
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			out.Addf("part", exchange.Broken, "%v", err)
		}
		out.Findings = append(out.Findings, damageFindings(p)...)
		if p.Damaged > 0 {
			out.Verdict = exchange.Broken
		}
		done += p.Bytes
		out.Counts["records"] += int64(p.Records)
	}
	out.Counts["parts"], out.Counts["bytes"], out.Counts["entries"] = int64(len(m.Parts)), total, int64(m.Parts[len(m.Parts)-1].Size)
	return out, unnamed(dir, m, out)
}

// damageFindings are what the ledger could not give when a part was written.
func damageFindings(p PartInfo) (found []exchange.Finding) {
	for _, d := range p.Damage {
		found = append(found, exchange.Finding{Check: "damage", Severity: exchange.Broken, Detail: fmt.Sprintf("%s: the ledger was damaged when it was written: %s", p.File, d)})
	}
	if more := p.Damaged - uint64(len(p.Damage)); more > 0 {
		found = append(found, exchange.Finding{Check: "damage", Severity: exchange.Broken, Detail: fmt.Sprintf("%s: the ledger was damaged when it was written: %d more records", p.File, more)})
	}
	return found
}

// unnamed remarks on files that the manifest does not name: a run was broken off.
func unnamed(dir string, m *BackupManifest, out *exchange.Verdict) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := f.Name()
		if strings.HasSuffix(name, tempSuffix) || strings.HasSuffix(name, partSuffix) && name > partName(len(m.Parts)) {
			out.Addf("part", exchange.Remark, "%s is not named by the manifest: a backup runs, or was broken off; it does not count", name)
		}
	}
	return nil
}

// readPart reads a part's file to its end and calls fn for each record. An error that is ErrPart says that
// the file is not the one that the manifest names; fn has then seen records that do not count.
func readPart(ctx context.Context, dir string, p PartInfo, progress func(int64), fn func(partRecord) error) (err error) {
	f, err := os.Open(filepath.Join(dir, p.File))
	if errors.Is(err, os.ErrNotExist) {
		return partError("%s is missing", p.File)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != p.Bytes {
		return partError("%s has %d bytes, the manifest says %d", p.File, info.Size(), p.Bytes)
	}
	sum := sha256.New()
	r, err := newPartReader(io.TeeReader(f, io.MultiWriter(sum, &countingWriter{progress: progress})))
	if err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	if r.Header != p.PartHeader {
		return partError("%s: its header is not what the manifest says", p.File)
	}
	for {
		x, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = errors.Join(ctx.Err(), fn(x))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.File, err)
		}
	}
	if Hash(sum.Sum(nil)) != p.SHA256 {
		return partError("%s: its SHA-256 is not the manifest's", p.File)
	}
	if r.Counts.Records != p.Records || r.Counts.Deleted != p.Deleted || r.Counts.Damaged != p.Damaged {
		return partError("%s: its counts are not what the manifest says", p.File)
	}
	return nil
}
