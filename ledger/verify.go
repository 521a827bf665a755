package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// VerifyOptions say what a verification has at hand.
type VerifyOptions struct {
	// Keys opens sealed content; nil: content is reported as not checked, unless SkipContent.
	Keys        ClassKeys
	SkipContent bool
	// CheckReceipt checks a compact JWS and gives its payload; nil: receipts are not opened. It is called
	// from several goroutines at once, like CheckStamp and Cosigned.
	CheckReceipt func(compact string) ([]byte, error)
	// CheckStamp checks a time-stamp reply over data; nil: tokens are compared by digest only.
	CheckStamp func(reply, data []byte) error
	// Checkpoint is a signed note of before, kept outside: the ledger must contain its tree.
	Checkpoint []byte
	// CheckpointKey is the log's key as the verifier knows it; nil: the one that genesis names.
	CheckpointKey ed25519.PublicKey
	// Since is a signed note whose tree is trusted: only the entries after it are read, and the tree that
	// they complete must contain it. It cannot be joined with Resume.
	Since []byte
	// Resume names a file in which the verification keeps how far it is, every few seconds and when ctx
	// ends; when the file is there it goes on from it. A verification that reached its end removes it.
	Resume string
	// Anchored compares the log with its anchors: findings, and the assurance that they give ("" for none).
	Anchored func(ctx context.Context, l *Log) ([]exchange.Finding, string)
	// Cosigned counts the witnesses whose cosignatures of a checkpoint hold (have), says how many the policy
	// wants of how many, and what is wrong with the others; nil: cosignatures are not looked at.
	Cosigned func(ctx context.Context, l *Log, c Checkpoint, note []byte) (have, want, of int, found []exchange.Finding)
	// Progress, when set, is told how many entries were read, of how many.
	Progress func(done, total uint64)

	width   uint64 // length of a stretch: a power of two, at least tileWidth; 0: stretchWidth
	workers int    // 0: one for each core
}

// stretchWidth is how many entries a worker checks at a time: some milliseconds of work, and 150 KiB of
// leaves and places. Four stretches for each worker are in memory, never more.
const stretchWidth = 2048

// remoteWidth is that of a remote log: what is fetched ahead of a stretch's end is fetched in vain.
const remoteWidth = 16384

// Verify reads a whole log and lists everything that is wrong with it (ledger.md 6). It writes nothing
// but VerifyOptions.Resume. An error means that the log could not be begun, could not be reached any
// more, or that ctx ended (InterruptedError); everything else is a finding.
//
// Workers check stretches of the log by themselves: bytes, chain, tile, time, own chains, checkpoints'
// signatures, content, receipts, tokens. One joiner, the caller's goroutine, takes the stretches in order
// and checks what lies between them: it alone owns the verifier's state and the verdict.
func Verify(ctx context.Context, l *Log, o VerifyOptions) (*exchange.Verdict, error) {
	v := &verifier{log: l, opts: o, width: o.width, out: newFindings(), whole: true,
		own: map[string]ownState{}, open: map[uuid.UUID]uint64{}}
	if v.width == 0 && l.Partial() {
		v.width = remoteWidth
	} else if v.width == 0 {
		v.width = stretchWidth
	}
	if o.Keys != nil && !l.Partial() {
		v.opener = newOpener(l.View, o.Keys)
	}
	if err := v.keys(); err != nil {
		return nil, err
	}
	if err := v.earlier(); err != nil {
		return nil, err
	}
	var err error
	if !l.Partial() {
		if v.unsigned, err = readUnsigned(ctx, l); err != nil {
			v.addf("store", exchange.Broken, "%v", err)
		}
	}
	from, err := v.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.run(ctx, from); err != nil {
		return nil, v.interrupted(err)
	}
	if err := v.end(ctx); err != nil {
		return nil, v.interrupted(err)
	}
	return v.out.verdict(), v.forgetProgress()
}

// verifier is the state after the stretches joined so far. The workers read log, opts, key, before and
// opener, which do not change; everything else belongs to the joiner.
type verifier struct {
	log      *Log
	opts     VerifyOptions
	width    uint64
	opener   *opener
	key      ed25519.PublicKey
	before   *Checkpoint // VerifyOptions.Checkpoint or Since, opened
	unsigned uint64      // below it every receipt is signed, the store says

	out    *findings
	at     uint64   // entries joined
	since  uint64   // first entry read, where an earlier checkpoint is trusted
	tree   frontier // of whole stretches: its leaves are their roots
	edge   edge     // hashes of tile level 1 and above right of their last full tile
	tiles  uint64   // full tiles of level 0 so far
	rest   *Hash    // root of the last stretch, where it is not of full length
	whole  bool     // every leaf so far is known
	last   Hash     // of the entry before; zeros when it is lost
	time   timeText
	own    map[string]ownState
	open   map[uuid.UUID]uint64 // exchanges without a closing entry: n of the request
	good   uint64               // size of the newest checkpoint whose root held
	gap    *span                // entries lost up to where the joiner stands
	noKey  int64
	stamp  Timestamp // the newest that held
	cosign cosigned  // the newest that was
	lost   error     // the log cannot be reached any more
	kept   time.Time // when the progress was written
}

// cosigned is a checkpoint with enough cosignatures.
type cosigned struct {
	Size     uint64 `json:"size"`
	Have, Of int
}

// keys finds the checkpoint key that the log is held against.
func (v *verifier) keys() error {
	g := v.log.Genesis.Genesis
	if g.Custody != "vault" {
		v.out.add(exchange.Finding{Check: "custody", Severity: exchange.Remark, Detail: "the keys of this log lie in a file: a demonstration, not evidence"})
	}
	v.key = v.opts.CheckpointKey
	switch named, err := v.log.CheckpointKey(); {
	case v.key == nil && err != nil:
		return err
	case v.key == nil:
		v.key = named
	case err != nil || !v.key.Equal(named):
		v.entryf("genesis", 0, "does not name the checkpoint key that was given")
	}
	return nil
}

// earlier opens the checkpoint of before.
func (v *verifier) earlier() error {
	note := v.opts.Checkpoint
	if v.opts.Since != nil {
		if note != nil || v.opts.Resume != "" {
			return errors.New("a verification since a checkpoint takes no other checkpoint, and is not resumed")
		}
		note = v.opts.Since
	}
	if note == nil {
		return nil
	}
	c, err := OpenCheckpoint(note, v.log.Origin(), v.key)
	if err != nil {
		return fmt.Errorf("the checkpoint given: %w", err)
	}
	v.before = &c
	if size := v.log.Head.Size; c.Size > size {
		v.entryf("rolled-back", size,
			"the checkpoint given is of size %d, the ledger holds %d entries: entries %d to %d are gone", c.Size, size, size, c.Size-1)
	}
	return nil
}

// begin gives the first entry to read: 0, or that of the stretch in which the trusted checkpoint ends,
// or where an interrupted verification was.
func (v *verifier) begin(ctx context.Context) (uint64, error) {
	if v.opts.Resume != "" {
		return v.resume(ctx)
	}
	if v.opts.Since == nil || v.before.Size > v.log.Head.Size {
		return 0, nil
	}
	v.since = v.before.Size &^ (v.width - 1)
	if v.since == 0 {
		return 0, nil
	}
	if err := v.startTree(ctx, v.since); err != nil {
		return 0, err
	}
	prev, err := v.log.Get(ctx, entryKey(v.since-1))
	if err != nil {
		return 0, fmt.Errorf("reading entry %d: %w", v.since-1, err)
	}
	v.at, v.last = v.since, EntryHash(prev)
	return v.since, nil
}

func (v *verifier) workers() int {
	if v.opts.workers > 0 {
		return v.opts.workers
	}
	return runtime.GOMAXPROCS(0)
}

func (v *verifier) entryf(check string, n uint64, format string, a ...any) {
	v.out.add(exchange.Finding{Check: check, Severity: exchange.Broken, Entry: &n, Detail: fmt.Sprintf(format, a...)})
}

func (v *verifier) addf(check, severity, format string, a ...any) {
	v.out.add(exchange.Finding{Check: check, Severity: severity, Detail: fmt.Sprintf(format, a...)})
}

// unreached takes note of an answer that never came.
func (v *verifier) unreached(ctx context.Context, err error) bool {
	if !unreachable(ctx, err) {
		return false
	}
	v.lost = err
	return true
}
