package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// storeDirName is where Badger's files lie inside a ledger's directory.
const storeDirName = "store"

// Options say whose ledger it is, where it lies, and who signs for it.
type Options struct {
	Dir      string // created when missing
	Origin   string // C2SP name of the log; of an existing ledger it must be the same
	Node     string // name of this process in entries
	Software string // name and version, for genesis
	Custody  string // "vault" or "file", for genesis

	Checkpoints Signer
	Receipts    ReceiptSigner
	Keys        ClassKeys
	Classes     []string    // retention classes whose next month's keys are made a day ahead, besides those in use
	PublicKeys  []PublicKey // for genesis; the checkpoint key must be among them
	Stamper     Stamper     // nil: no time-stamp tokens
	StampEvery  time.Duration
	Witnesses   WitnessPolicy // zero: nobody cosigns

	Anchors         []Anchor      // where the newest checkpoint is kept outside; Open and verify compare
	AnchorsRequired bool          // refuse to open when one of them cannot be used
	AnchorEvery     time.Duration // least time between two marks; 0 means 10 s
	LaterOrigin     string        // the origin under which the log goes on after an accepted rollback, and
	LaterAnchors    []Anchor      // its anchors: a mark there means that this ledger is of before
	Previous        *PreviousLog  // for genesis, after an accepted rollback

	// DiskStop is the free space in bytes below which nothing is appended: Badger dies of SIGBUS on a
	// full disk. 0 means the default: twice what its files may grow by before the next check.
	DiskStop uint64
	DiskWarn uint64 // free space in bytes below which DiskState warns; 0: never

	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default()

	noSync bool // a test shows that the power-cut test fails without syncing
}

// defaultDiskStop is 2 × (value log file + all memtables).
const defaultDiskStop = 2 * (valueLogFileSize + numMemtables*memTableSize)

// ErrClosed says that the ledger is stopping or stopped.
var ErrClosed = errors.New("the ledger is closed")

// ErrNoSpace says that the disk has less free space than the stop mark.
var ErrNoSpace = errors.New("too little free space on the ledger's disk")

// Ledger is the one writer of a log. Its methods are safe for concurrent use.
//
// Its goroutines: the three stages of the sequencer; the notary's checkpoint signer, receipt signer and
// cosigner; one that asks time stamps when there is a Stamper. Close waits for all of them.
type Ledger struct {
	opts  Options
	log   *slog.Logger
	clock func() time.Time
	db    *badger.DB
	ring  *keyring
	self  *opener // opens what the gateway itself may open: receipts
	head  *headFile

	seq    *sequencer
	failed atomic.Pointer[error] // set once: the ledger must not go on
	synced atomic.Pointer[mark]  // newest size whose HEAD is synced

	notary  *notary
	anchors []*anchorer
	cancel  context.CancelFunc
	workers sync.WaitGroup
	closing sync.Once
	closeBy error
}

// mark is a size with its root: what a checkpoint may be signed for.
type mark struct {
	size uint64
	root Hash
	last Hash
}

// Open opens the ledger in o.Dir for writing, creates it when there is none, and recovers it after an
// unclean stop. It refuses, with *BehindError, a store that has lost what was acknowledged.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	if err := CheckOrigin(o.Origin); err != nil {
		return nil, err
	}
	if o.Checkpoints == nil || o.Receipts == nil || o.Keys == nil {
		return nil, errors.New("a ledger needs a checkpoint signer, a receipt signer and class keys")
	}
	if _, ok := o.Checkpoints.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("the checkpoint key is not Ed25519")
	}
	l := &Ledger{opts: o, log: o.Logger, clock: o.Clock}
	if l.log == nil {
		l.log = slog.Default()
	}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.opts.DiskStop == 0 {
		l.opts.DiskStop = defaultDiskStop
	}
	if l.opts.AnchorEvery == 0 {
		l.opts.AnchorEvery = defaultAnchor
	}
	seen, err := l.readAnchors(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(o.Dir, storeDirName), 0o700); err != nil {
		return nil, fmt.Errorf("creating the ledger's directory: %w", err)
	}
	if err := l.makeRoom(); err != nil {
		return nil, err
	}
	unclean, err := l.openStore(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.start(ctx, unclean, seen); err != nil {
		return nil, errors.Join(err, l.abandon(), l.leaveAsFound(unclean, err))
	}
	return l, nil
}

// start brings head, key ring and goroutines up over the open store.
func (l *Ledger) start(ctx context.Context, unclean bool, seen []seenMark) error {
	view := badgerView{l.db}
	l.ring = newKeyring(l.opts.Origin, l.opts.Keys, view, func(k, v []byte) error { return write(l.db, []kv{{k, v}}, nil) })
	l.self = newOpener(view, l.opts.Keys)
	now, err := loadState(ctx, view)
	if err != nil {
		return err
	}
	fresh := now.head.Size == 0
	if !fresh {
		if err := l.checkIdentity(ctx, view); err != nil {
			return err
		}
	}
	if err := l.compareAnchors(ctx, seen, now.head.Size); err != nil {
		return err
	}
	started := now.head.Start
	now.head.Start = now.head.Size
	if l.head, err = openHeadFile(l.opts.Dir); err != nil {
		return fmt.Errorf("opening HEAD: %w", err)
	}
	m := now.mark()
	l.synced.Store(&m)
	l.seq = newSequencer(view, l.head, now)
	l.seq.clock, l.seq.room, l.seq.notice, l.seq.placed = l.clock, l.room, l.noticeItem, l.placed
	l.seq.fail, l.seq.failure = l.fail, l.failedErr
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.notary = newNotary(l)
	if err := l.notary.load(ctx); err != nil {
		cancel()
		return err
	}
	l.workers.Add(1)
	go func() { defer l.workers.Done(); l.seq.run() }()
	if fresh {
		err = l.writeGenesis(ctx)
	}
	if err == nil {
		err = l.noticeRollback(ctx)
	}
	if err == nil && !fresh && unclean {
		err = l.closeOpen(ctx, started, m.size)
	}
	if err == nil {
		err = l.noteSalvage(ctx)
	}
	if err != nil {
		cancel()
		return err
	}
	if err := l.dropSpools(ctx); err != nil {
		cancel()
		return err
	}
	l.notary.start(run)
	l.startAnchors(run)
	l.workers.Add(1)
	go func() { defer l.workers.Done(); l.keysAheadLoop(run) }()
	l.workers.Add(1)
	go func() { defer l.workers.Done(); l.watch(run) }()
	if l.opts.Stamper != nil && l.opts.StampEvery > 0 {
		l.workers.Add(1)
		go func() { defer l.workers.Done(); l.stampLoop(run) }()
	}
	return nil
}

// abandon gives up a half-opened ledger without the sign of a clean stop.
func (l *Ledger) abandon() error {
	if l.cancel != nil {
		l.seq.close()
		l.cancel()
		l.workers.Wait()
	}
	if l.head != nil {
		return errors.Join(l.head.close(), l.closeStore())
	}
	return l.closeStore()
}

// Close refuses new entries, commits those that wait, tries until ctx ends to sign the receipts that
// are pending, and stops. What is still pending then is signed after the next Open.
func (l *Ledger) Close(ctx context.Context) error {
	l.closing.Do(func() { l.closeBy = l.shut(ctx) })
	return l.closeBy
}

func (l *Ledger) shut(ctx context.Context) error {
	l.notary.drain(ctx)
	l.seq.close()
	l.cancel()
	l.notary.wait()
	l.workers.Wait()
	l.lastAnchors(ctx)
	err := errors.Join(l.head.close(), l.closeStore())
	if f := l.failed.Load(); f != nil {
		return errors.Join(*f, err)
	}
	if err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	return markClean(l.opts.Dir)
}

// View reads the live store.
func (l *Ledger) View() View { return badgerView{l.db} }

// Log gives the live store as a log at its present size. Closing it closes nothing.
func (l *Ledger) Log(ctx context.Context) (*Log, error) {
	return newLog(ctx, l.View(), func() error { return nil })
}

// Origin is the log's C2SP name.
func (l *Ledger) Origin() string { return l.opts.Origin }

// Dir is where the ledger lies.
func (l *Ledger) Dir() string { return l.opts.Dir }

// Size is the number of acknowledged entries.
func (l *Ledger) Size() uint64 { return l.synced.Load().size }

// Err is nil while the ledger can append, and says why when it cannot.
func (l *Ledger) Err() error {
	if err := l.failedErr(); err != nil {
		return err
	}
	return l.room()
}

// room says why nothing may be appended for want of space.
func (l *Ledger) room() error {
	free, err := freeSpace(l.opts.Dir)
	if err == nil && free < l.opts.DiskStop {
		err = fmt.Errorf("%d MiB free: %w", free>>20, ErrNoSpace)
	}
	return err
}

// append queues one item and waits until it is durable; see sequencer.append.
func (l *Ledger) append(ctx context.Context, it *item) (exchange.Recorded, error) {
	return l.seq.append(ctx, it)
}

// store makes records durable that are no entries, with the next batch.
func (l *Ledger) store(ctx context.Context, writes []kv, deletes [][]byte) error {
	_, err := l.seq.append(ctx, &item{writes: writes, deletes: deletes})
	return err
}

// placed takes note of a durable batch: its size may be signed, its receipts follow.
func (l *Ledger) placed(m mark, b *batch) {
	l.synced.Store(&m)
	for i, it := range b.items {
		if it.receipt != nil {
			it.receipt.place(b.entries[i])
			l.notary.add(it.receipt)
		}
	}
	l.notary.wake()
}

func (l *Ledger) failedErr() error {
	if f := l.failed.Load(); f != nil {
		return *f
	}
	return nil
}

// fail stops the ledger for good: nothing is acknowledged after an error that leaves doubt.
func (l *Ledger) fail(err error) {
	if l.failed.CompareAndSwap(nil, &err) {
		l.log.Error("the ledger stopped", "error", err.Error())
		if l.notary != nil {
			l.notary.wake() // who waits for a signature learns it
		}
	}
}
