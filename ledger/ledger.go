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
	PublicKeys  []PublicKey // for genesis; the checkpoint key must be among them
	Stamper     Stamper     // nil: no time-stamp tokens
	StampEvery  time.Duration

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
// Three goroutines belong to it: the sequencer owns the head and commits batches, the acknowledger
// syncs HEAD and answers the callers, the notary signs checkpoints and receipts; a fourth asks time
// stamps when there is a Stamper. Close waits for all of them.
type Ledger struct {
	opts  Options
	log   *slog.Logger
	clock func() time.Time
	db    *badger.DB
	ring  *keyring
	self  *opener // opens what the gateway itself may open: receipts
	head  *headFile

	mu     sync.RWMutex // guards closed against sends on queue
	closed bool
	queue  chan *item

	state     state // owned by the sequencer
	committed chan *batch
	failed    atomic.Pointer[error] // set once: the ledger must not go on
	synced    atomic.Pointer[mark]  // newest size whose HEAD is synced

	notary  *notary
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
	l := &Ledger{opts: o, log: o.Logger, clock: o.Clock, queue: make(chan *item, queueLength), committed: make(chan *batch, 1)}
	if l.log == nil {
		l.log = slog.Default()
	}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.opts.DiskStop == 0 {
		l.opts.DiskStop = defaultDiskStop
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
	if err := l.start(ctx, unclean); err != nil {
		return nil, errors.Join(err, l.abandon())
	}
	return l, nil
}

// start brings head, key ring and goroutines up over the open store.
func (l *Ledger) start(ctx context.Context, unclean bool) error {
	view := badgerView{l.db}
	l.ring = newKeyring(l.opts.Origin, l.opts.Keys, func(k, v []byte) error { return write(l.db, []kv{{k, v}}, nil) })
	l.self = newOpener(view, l.opts.Keys)
	var err error
	if l.state, err = loadState(ctx, view); err != nil {
		return err
	}
	fresh := l.state.head.Size == 0
	if !fresh {
		if err := l.checkIdentity(ctx, view); err != nil {
			return err
		}
	}
	started := l.state.head.Start
	l.state.head.Start = l.state.head.Size
	if l.head, err = openHeadFile(l.opts.Dir); err != nil {
		return fmt.Errorf("opening HEAD: %w", err)
	}
	m := l.state.mark()
	l.synced.Store(&m)
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.notary = newNotary(l)
	if err := l.notary.load(ctx); err != nil {
		cancel()
		return err
	}
	l.workers.Add(2)
	go func() { defer l.workers.Done(); l.sequence() }()
	go func() { defer l.workers.Done(); l.acknowledge() }()
	if fresh {
		err = l.writeGenesis(ctx)
	} else if unclean {
		err = l.closeOpen(ctx, started, m.size)
	}
	if err == nil {
		err = l.noteSalvage(ctx)
	}
	if err != nil {
		cancel()
		return err
	}
	l.notary.start(run)
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
	l.mu.Lock()
	started := l.cancel != nil
	if started && !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	if started {
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
	l.mu.Lock()
	l.closed = true
	close(l.queue)
	l.mu.Unlock()
	l.cancel()
	l.notary.wait()
	l.workers.Wait()
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
	if f := l.failed.Load(); f != nil {
		return *f
	}
	free, err := freeSpace(l.opts.Dir)
	if err == nil && free < l.opts.DiskStop {
		err = ErrNoSpace
	}
	return err
}

// fail stops the ledger for good: nothing is acknowledged after an error that leaves doubt.
func (l *Ledger) fail(err error) {
	if l.failed.CompareAndSwap(nil, &err) {
		l.log.Error("the ledger stopped", "error", err.Error())
	}
}
