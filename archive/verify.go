package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"sigillo/internal/exchange"
)

// VerifyOptions says what a package is judged against besides itself. Trust anchors live in Seal and Stamp.
type VerifyOptions struct {
	Seal  SealVerifier  // nil: the seal is not checked, which is indeterminate
	Stamp StampVerifier // nil: the tokens are not checked, likewise
	// VKey is the verifier key that the log is known by; "": the one in the package, which the seal vouches for.
	VKey string
	// Entry reads the bytes of an entry strictly; what it refuses is indeterminate. nil: as far as the archive reads them.
	Entry func(line []byte) error
	// Schemas is a directory of official schemas that replace ours; "": ours. Those in the package are not used:
	// they are its maker's word.
	Schemas string
}

// Verify checks a package, a directory or a ZIP, and lists all that is wrong with it, not only the first. The
// error is one of reading (path, context, options); whatever is wrong with the package is a finding. It reads
// nothing outside the package, keeps index, segment and a list of the files in memory, and runs xmllint where there is one; where
// there is none, counts say how many files were not held against their schema.
func Verify(ctx context.Context, path string, opt VerifyOptions) (*exchange.Verdict, error) {
	v := &verifier{opt: opt, Verdict: exchange.NewVerdict(), sums: map[string]bagFile{}}
	var err error
	v.bundle, err = openBundle(path, func(format string, args ...any) { v.broken(CheckLayout, format, args...) })
	if err != nil {
		return nil, fmt.Errorf("opening package %s: %w", path, err)
	}
	defer v.bundle.close()
	if opt.VKey != "" {
		if v.key, err = parseVKey(opt.VKey); err != nil {
			return nil, fmt.Errorf("known verifier key: %w", err)
		}
	}
	for _, step := range []func(context.Context) error{
		v.layout, v.bag, v.index, v.evidence, v.segment, v.contents, v.checkpoints, v.previous, v.metadata, v.schemas,
	} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("verifying package %s: %w", path, err)
		}
	}
	v.conclude()
	return v.Verdict, nil
}

// verifier holds what one step of Verify learns for the next ones.
type verifier struct {
	*exchange.Verdict
	opt    VerifyOptions
	bundle *bundle
	sums   map[string]bagFile // of every file, as read

	manifest map[string]string // path to hex, data/ only
	pindex   []byte            // nil: unreadable
	stated   *stated           // what the index says
	stampAt  time.Time         // of the archive stamp; zero: not known

	key      *verifierKey
	entries  []*filed            // of the segment, in order
	erasures map[string]bool     // every string in an erasure entry
	dirs     map[uint64]*dir     // exchange directories that entries name
	lintable map[string][]string // schema to the well-formed files that it is for
}

// required are the files that the layout asks for. Schemas and revocation lists have names of their own.
var required = []string{
	"bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt", "PIndex.xml", "PIndex.xml.p7m", "evidence/0001.tsr",
	"data/README.txt", "data/evidence/trust-chain.pem", "data/ledger/segment.jsonl", "data/ledger/proofs.jsonl", "data/ledger/checkpoint.before",
	"data/ledger/checkpoint.after", "data/ledger/checkpoint.after.tsq", "data/ledger/checkpoint.after.tsr", "data/ledger/keys.json",
	"data/ledger/vkey.txt", "data/ledger/previous.json", "data/schemas/PIndex.xsd", "data/schemas/exchange.schema.json",
}

// layout hashes every file and sees that none is missing.
func (v *verifier) layout(ctx context.Context) error {
	for _, f := range v.bundle.files {
		if err := ctx.Err(); err != nil {
			return err
		}
		sum, err := v.hash(f.name)
		if err != nil {
			v.broken(CheckLayout, "%s cannot be read: %v", f.name, err)
			continue
		}
		v.sums[f.name] = sum
		if !strings.HasPrefix(f.name, "data/") && !strings.HasPrefix(f.name, "evidence/") && !contains(required, f.name) {
			v.note(CheckLayout, "%s is beside the package: nothing vouches for it", f.name)
		}
	}
	v.Counts["files"] = int64(len(v.sums))
	for _, name := range required {
		if _, ok := v.sums[name]; !ok {
			v.broken(CheckLayout, "%s is missing", name)
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (v *verifier) hash(name string) (bagFile, error) {
	f, err := v.bundle.open(name)
	if err != nil {
		return bagFile{}, err
	}
	h := sha256.New()
	size, err := io.Copy(h, io.LimitReader(f, maxTotal))
	if e := f.Close(); err == nil {
		err = e
	}
	return bagFile{name, size, [32]byte(h.Sum(nil))}, err
}

// file reads a file for a check; a missing one was found by layout, or by the manifest that names it.
func (v *verifier) file(check, name string, limit int64) []byte {
	data, err := v.bundle.read(name, limit)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			v.broken(check, "%s cannot be read: %v", name, err)
		}
		return nil
	}
	if data == nil {
		data = []byte{}
	}
	return data
}

// bag checks the declarations and the two manifests (RFC 8493).
func (v *verifier) bag(context.Context) error {
	if text := v.file(CheckBag, "bagit.txt", maxSmall); text != nil && string(text) != bagitText {
		v.broken(CheckBag, "bagit.txt does not declare BagIt 1.0 in UTF-8")
	}
	v.manifest = v.checkManifest(CheckManifest, "manifest-sha256.txt", func(p string) bool { return strings.HasPrefix(p, "data/") })
	tags := v.checkManifest(CheckTagManifest, "tagmanifest-sha256.txt", func(p string) bool { return !strings.HasPrefix(p, "data/") })
	for _, name := range []string{"bagit.txt", "bag-info.txt", "manifest-sha256.txt", "PIndex.xml", "PIndex.xml.p7m"} {
		if _, ok := tags[name]; tags != nil && !ok {
			v.broken(CheckTagManifest, "%s is not in tagmanifest-sha256.txt", name)
		}
	}
	var size int64
	count := 0
	for name, f := range v.sums {
		if !strings.HasPrefix(name, "data/") {
			continue
		}
		size, count = size+f.size, count+1
		if _, ok := v.manifest[name]; v.manifest != nil && !ok {
			v.broken(CheckManifest, "%s is not in manifest-sha256.txt", name)
		}
	}
	if info := v.file(CheckBag, "bag-info.txt", maxSmall); info != nil {
		if want := fmt.Sprintf("\nPayload-Oxum: %d.%d\n", size, count); !bytes.Contains(info, []byte(want)) {
			v.broken(CheckBag, "bag-info.txt: Payload-Oxum is not %d.%d", size, count)
		}
		if !bytes.Contains(info, []byte("\nExternal-Identifier: "+v.bundle.name+"\n")) {
			v.note(CheckBag, "bag-info.txt: External-Identifier is not %q, the name of the directory", v.bundle.name)
		}
	}
	return nil
}

// checkManifest holds the files that a manifest lists against it; nil when there is none to read.
func (v *verifier) checkManifest(check, name string, belongs func(string) bool) map[string]string {
	if _, ok := v.sums[name]; !ok {
		return nil
	}
	listed := map[string]string{}
	err := v.bundle.lines(name, 400, func(line []byte) error {
		sum, p, ok := strings.Cut(string(line), "  ")
		switch f, there := v.sums[p]; {
		case !ok || !isHex64(sum) || !plainPath(p) || !belongs(p):
			return fmt.Errorf("malformed line %.100q", line)
		case listed[p] != "":
			return fmt.Errorf("%s stands twice", p)
		case !there:
			v.broken(check, "%s is missing", p)
			fallthrough
		default:
			listed[p] = sum
			if there && f.hex() != sum {
				v.broken(check, "%s is not the file that %s lists", p, name)
			}
		}
		return nil
	})
	if err != nil {
		v.broken(check, "%s: %v", name, err)
	}
	return listed
}

// evidence checks archive time-stamp and seal. Trusted time comes first: the seal is judged as of it.
func (v *verifier) evidence(ctx context.Context) error {
	p7m := v.file(CheckSeal, "PIndex.xml.p7m", maxIndex)
	if tsr := v.file(CheckArchiveStamp, "evidence/0001.tsr", maxSmall); tsr != nil && p7m != nil {
		if v.opt.Stamp == nil {
			v.unsure(CheckArchiveStamp, "evidence/0001.tsr was not checked: no trust anchor configured")
		} else {
			var err error
			if v.stampAt, err = v.opt.Stamp.VerifyStamp(ctx, p7m, tsr, time.Time{}); err != nil {
				v.stampFailed(CheckArchiveStamp, "evidence/0001.tsr", err)
			}
		}
	}
	if p7m == nil {
		return ctx.Err()
	}
	if v.opt.Seal == nil {
		v.unsure(CheckSeal, "PIndex.xml.p7m was not checked: no trust anchor configured")
		return ctx.Err()
	}
	report := v.opt.Seal.VerifySeal(ctx, p7m, v.stampAt)
	for _, f := range report.Findings {
		v.add(f)
	}
	switch {
	case v.pindex == nil:
	case report.Content == nil && len(report.Findings) == 0:
		v.unsure(CheckSealedIndex, "the content of PIndex.xml.p7m could not be read")
	case report.Content != nil && !bytes.Equal(report.Content, v.pindex):
		v.broken(CheckSealedIndex, "what PIndex.xml.p7m seals is not PIndex.xml")
	}
	return ctx.Err()
}

func (v *verifier) stampFailed(check, name string, err error) {
	if errors.Is(err, ErrNoAnchor) {
		v.unsure(check, "%s: %v", name, err)
	} else {
		v.broken(check, "%s: %v", name, err)
	}
}

// stemAndKind splits the name of a file in an exchange's directory.
func stemAndKind(name string) (stem, kind string) {
	stem, kind, _ = strings.Cut(path.Base(name), ".")
	return stem, kind
}
