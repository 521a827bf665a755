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
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// keepEvery is how often a verification writes down how far it is; maxProgress bounds what is read back.
const (
	keepEvery   = 5 * time.Second
	maxProgress = 1 << 30
)

// InterruptedError says how far a verification came that did not reach its end.
type InterruptedError struct {
	Done, Total uint64
	Kept        bool // VerifyOptions.Resume holds the progress
	Err         error
}

// Error names the place.
func (e *InterruptedError) Error() string {
	return fmt.Sprintf("verification interrupted after %d of %d entries: %v", e.Done, e.Total, e.Err)
}

// Unwrap gives what interrupted it.
func (e *InterruptedError) Unwrap() error { return e.Err }

// ErrOtherProgress says that a progress file is of another log, of other options, or of a log that is
// not what it was.
var ErrOtherProgress = errors.New("the progress kept is not of this verification")

// progress is what the joiner knows between two stretches. The file is as trustworthy as the machine that
// verifies: it is read as data, but what it says of the entries before is believed.
type progress struct {
	Version int    `json:"version"`
	Origin  string `json:"origin"`
	Options Hash   `json:"options"` // digest of what the verification was asked
	Head    Hash   `json:"head"`    // root of the log when the verification began
	Size    uint64 `json:"size"`    // and its size
	At      uint64 `json:"at"`      // entries verified

	Tree     []Hash               `json:"tree"`
	Edge     [][]Hash             `json:"edge"`
	Whole    bool                 `json:"whole"`
	Last     Hash                 `json:"last"`
	Time     string               `json:"time"`
	Own      map[string]ownState  `json:"own"`
	Open     map[uuid.UUID]uint64 `json:"open"`
	Good     uint64               `json:"good"`
	Gap      *progressGap         `json:"gap,omitempty"`
	NoKey    int64                `json:"no_key"`
	Stamp    *Timestamp           `json:"stamp,omitempty"`
	Cosigned cosigned             `json:"cosigned"`
	Findings []exchange.Finding   `json:"findings"`
	Said     map[string]*saidOf   `json:"said"`
	Order    []string             `json:"order"`
	Counts   map[string]int64     `json:"counts"`
}

type progressGap struct {
	First uint64 `json:"first"`
	End   uint64 `json:"end"`
	Why   string `json:"why"`
}

const progressVersion = 1

// optionsDigest is the same for verifications that ask the same.
func (v *verifier) optionsDigest() Hash {
	h := sha256.New()
	o := v.opts
	fmt.Fprintf(h, "%d %t %t %t %t %t %t %x %x", v.width, o.SkipContent, v.opener != nil, o.CheckReceipt != nil, o.CheckStamp != nil,
		o.Cosigned != nil, v.log.Partial(), sha256.Sum256(o.Checkpoint), v.key)
	return Hash(h.Sum(nil))
}

// keepProgress writes the progress file when its time has come, or now; never behind the last stretch,
// which may be short and is then read again.
func (v *verifier) keepProgress(now bool) error {
	if v.opts.Resume == "" || v.at%v.width != 0 || !now && time.Since(v.kept) < keepEvery {
		return nil
	}
	v.kept = time.Now()
	p := progress{Version: progressVersion, Origin: v.log.Origin(), Options: v.optionsDigest(), Head: v.log.Head.Root, Size: v.log.Head.Size,
		At: v.at, Tree: v.tree.hashes, Edge: v.edge.levels, Whole: v.whole, Last: v.last, Time: string(v.time[:]), Own: v.own, Open: v.open,
		Good: v.good, NoKey: v.noKey, Cosigned: v.cosign, Findings: v.out.list, Said: v.out.said, Order: v.out.order, Counts: v.out.counts}
	if v.gap != nil {
		p.Gap = &progressGap{v.gap.first, v.gap.end, v.gap.why}
	}
	if v.stamp.Size > 0 {
		p.Stamp = &v.stamp
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("writing the progress: %w", err)
	}
	if err := renameio.WriteFile(v.opts.Resume, b, 0o600); err != nil {
		return fmt.Errorf("writing the progress: %w", err)
	}
	return nil
}

// interrupted keeps the progress of a verification that does not go on, and says where it stands.
func (v *verifier) interrupted(err error) error {
	e := &InterruptedError{Done: v.at, Total: v.log.Head.Size, Err: err}
	if v.opts.Resume == "" {
		return e
	}
	if kerr := v.keepProgress(true); kerr != nil {
		e.Err = errors.Join(err, kerr)
		return e
	}
	_, serr := os.Stat(v.opts.Resume)
	e.Kept = serr == nil
	return e
}

// forgetProgress removes the progress of a verification that reached its end.
func (v *verifier) forgetProgress() error {
	if v.opts.Resume == "" {
		return nil
	}
	if err := os.Remove(v.opts.Resume); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the progress: %w", err)
	}
	return nil
}

// resume goes on from a progress file, once it has shown that the log is still the one that was verified.
func (v *verifier) resume(ctx context.Context) (uint64, error) {
	v.kept = time.Now()
	f, err := os.Open(v.opts.Resume)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the progress: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxProgress))
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("reading the progress: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var p progress
	if err := d.Decode(&p); err != nil {
		return 0, fmt.Errorf("%s is no progress of a verification: %w", v.opts.Resume, err)
	}
	if err := v.checkProgress(ctx, &p); err != nil {
		return 0, fmt.Errorf("%w; remove %s to verify from the beginning", err, v.opts.Resume)
	}
	v.at, v.tiles = p.At, p.At/tileWidth
	v.tree, v.edge, v.whole = frontier{size: p.At / v.width, hashes: p.Tree}, edge{p.Edge}, p.Whole
	v.last, v.own, v.open, v.good, v.noKey, v.cosign = p.Last, p.Own, p.Open, p.Good, p.NoKey, p.Cosigned
	copy(v.time[:], p.Time)
	if p.Gap != nil {
		v.gap = &span{p.Gap.First, p.Gap.End, p.Gap.Why}
	}
	if p.Stamp != nil {
		v.stamp = *p.Stamp
	}
	v.out.list, v.out.said, v.out.order, v.out.counts = p.Findings, p.Said, p.Order, p.Counts
	return p.At, nil
}

// checkProgress holds the log as it is against what the progress says of it: origin, options, and the
// tree over the entries that were verified, which must be that of the stored tiles.
func (v *verifier) checkProgress(ctx context.Context, p *progress) error {
	switch {
	case p.Version != progressVersion || p.Origin != v.log.Origin() || p.Options != v.optionsDigest():
		return fmt.Errorf("%w: another log, other options or another version", ErrOtherProgress)
	case p.At%v.width != 0 || p.At > p.Size || len(p.Time) != len(timeLayout) || p.Own == nil || p.Open == nil || p.Said == nil || p.Counts == nil:
		return fmt.Errorf("%w: it is malformed", ErrOtherProgress)
	case p.Size > v.log.Head.Size:
		return fmt.Errorf("%w: the log had %d entries then and has %d now", ErrOtherProgress, p.Size, v.log.Head.Size)
	case p.Size == v.log.Head.Size && p.Head != v.log.Head.Root:
		return fmt.Errorf("%w: the log has another root at size %d", ErrOtherProgress, p.Size)
	case p.At == 0:
		return nil
	}
	if p.Last != (Hash{}) {
		b, err := v.log.Get(ctx, entryKey(p.At-1))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("reading entry %d: %w", p.At-1, err)
		}
		if err != nil || EntryHash(b) != p.Last {
			return fmt.Errorf("%w: entry %d is not what it was", ErrOtherProgress, p.At-1)
		}
	}
	if !p.Whole || p.Said["tile "+exchange.Broken] != nil || p.Said["tree "+exchange.Broken] != nil {
		return nil // the tiles cannot vouch for the tree: that was found, and stays found
	}
	root := frontier{size: p.At / v.width, hashes: p.Tree}
	if len(p.Tree) == 0 {
		return fmt.Errorf("%w: it is malformed", ErrOtherProgress)
	}
	now, err := rangeRoot(0, p.At, nodes(ctx, v.log, p.At))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("reading the tree up to entry %d: %w", p.At, err)
	}
	if err != nil || root.root() != now {
		return fmt.Errorf("%w: its first %d entries have another root now", ErrOtherProgress, p.At)
	}
	return nil
}
