package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"sigillo/internal/exchange"
)

// A real disaster may leave a ledger behind its anchors for good. Going on then is for two people: one
// asks, naming what survived, what is lost and why; another confirms exactly this. The request's digest
// binds all of it, so that a confirmation serves for one state and one reason only.
const (
	rollbackFileName = "ROLLBACK.json" // in the new epoch's directory: who accepted, and why
	maxRollback      = 64 << 10
	maxReason        = 2000
)

// Person is who asks or confirms, as far as the machine can tell.
type Person struct {
	UID      int    `json:"uid"`
	Host     string `json:"host"`
	Accessor Hash   `json:"accessor"` // SHA-256 of the Vault token accessor; zeros: without Vault
}

// RollbackRequest is what one person asks and another confirms.
type RollbackRequest struct {
	V        int     `json:"v"`
	Origin   string  `json:"origin"`
	Epoch    int     `json:"epoch"`
	Survived LogHead `json:"survived"`
	Lost     LogHead `json:"lost"`
	Reason   string  `json:"reason"`
	By       Person  `json:"by"`
	Time     Time    `json:"time"`
	Salt     Hash    `json:"salt"` // random: the digest says nothing about the reason
}

// Digest binds everything that the request says.
func (r RollbackRequest) Digest() (Hash, error) {
	b, err := encodeJSON(r)
	return sha256.Sum256(append([]byte("sigillo/rollback/v1\n"), b...)), err
}

// Code is what the first person tells the second: 80 bits of the digest.
func (r RollbackRequest) Code() (string, error) {
	h, err := r.Digest()
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:2], h[2:4], h[4:6], h[6:8], h[8:10]), err
}

// RollbackConfirmation is the second person's word.
type RollbackConfirmation struct {
	V       int    `json:"v"`
	Request Hash   `json:"request"` // digest of the request
	By      Person `json:"by"`
	Time    Time   `json:"time"`
}

// acceptance is the record that stays in the new log's directory, and whose SHA-256 its genesis names.
type acceptance struct {
	Request      RollbackRequest      `json:"request"`
	Confirmation RollbackConfirmation `json:"confirmation"`
	Proof        string               `json:"proof"` // how the two persons were told apart: uid or vault
}

// ErrSamePerson says that a rollback was asked for and confirmed by one and the same.
var ErrSamePerson = errors.New("the confirmation is not another person's")

// ErrNothingLost says that a ledger agrees with its anchors.
var ErrNothingLost = errors.New("the ledger is not behind its anchors: there is nothing to accept")

// Rollback is a ledger that its anchors contradict, and what is at hand to look at both.
type Rollback struct {
	Dir     string // a missing one has survived with nothing
	Origin  string // of the directory's epoch
	Anchors []Anchor
	Key     ed25519.PublicKey // the log's checkpoint key
	Logger  *slog.Logger
}

// Ask looks at the ledger and at its anchors, all of which must be in reach, and makes the request.
// Nothing is written. ErrNothingLost where the two agree.
func (b Rollback) Ask(ctx context.Context, reason string, by Person, now Time) (RollbackRequest, error) {
	r := RollbackRequest{V: 1, Origin: b.Origin, Reason: reason, By: by, Time: now}
	if reason == "" || len(reason) > maxReason {
		return r, fmt.Errorf("the reason must be 1 to %d bytes", maxReason)
	}
	var err error
	if r.Epoch, err = Epoch(b.Dir); err != nil {
		return r, err
	}
	if r.Survived, r.Lost, err = b.look(ctx); err != nil {
		return r, err
	}
	_, err = rand.Read(r.Salt[:])
	return r, err
}

// look gives what survives, and the greatest mark of the anchors.
func (b Rollback) look(ctx context.Context) (survived, lost LogHead, err error) {
	survived.Root = frontier{}.root()
	var view View
	l, _, err := OpenLog(ctx, b.Dir, b.Logger)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, l.Close()) }()
		if l.Origin() != b.Origin {
			return survived, lost, fmt.Errorf("the ledger in %s is of origin %s, not %s", b.Dir, l.Origin(), b.Origin)
		}
		survived, view = LogHead{l.Head.Size, l.Head.Root}, l.View
	case !errors.Is(err, ErrNoLedger) && !errors.Is(err, ErrNotFound):
		return survived, lost, err
	}
	contradicted := false
	for _, a := range b.Anchors {
		m, err := readMark(ctx, a, b.Origin, b.Key)
		if errors.Is(err, ErrNoMark) {
			continue
		}
		if err != nil {
			return survived, lost, fmt.Errorf("anchor %s: %w", a.Name(), err)
		}
		err = holdAgainst(ctx, view, survived.Size, b.Dir, a.Name(), m)
		if err != nil && !refusedByAnchors(err) {
			return survived, lost, err
		}
		contradicted = contradicted || err != nil
		if m.Size > lost.Size {
			lost = LogHead{m.Size, m.Root}
		}
	}
	if !contradicted {
		return survived, lost, ErrNothingLost
	}
	return survived, lost, nil
}

// Accept checks that the two files are the words of two persons about exactly what is there now, sets
// the directory aside, to the path that it gives, and puts an empty one of the next epoch in its place. confirmed asks
// Vault which token accessor (its SHA-256) confirmed a request there; nil: there is no Vault.
func (b Rollback) Accept(ctx context.Context, reason, requestFile, confirmationFile string, confirmed func(context.Context, Hash) (Hash, error)) (past string, err error) {
	var a acceptance
	asked, err := ReadRollback(requestFile, &a.Request)
	if err != nil {
		return "", fmt.Errorf("the request: %w", err)
	}
	said, err := ReadRollback(confirmationFile, &a.Confirmation)
	if err != nil {
		return "", fmt.Errorf("the confirmation: %w", err)
	}
	digest, err := a.Request.Digest()
	if err != nil {
		return "", err
	}
	switch r, c := a.Request, a.Confirmation; {
	case c.Request != digest:
		return "", errors.New("the confirmation is of another request")
	case r.V != 1 || c.V != 1:
		return "", fmt.Errorf("the request or its confirmation: %w", ErrUnknown)
	case r.By.UID != asked || c.By.UID != said:
		return "", fmt.Errorf("the files belong to uids %d and %d, their words to %d and %d: %w", asked, said, r.By.UID, c.By.UID, ErrSamePerson)
	case r.Reason != reason:
		return "", errors.New("the reason given is not the one that was confirmed")
	}
	if a.Proof, err = a.proof(ctx, digest, confirmed); err != nil {
		return "", err
	}
	record, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return "", err
	}
	record = append(record, '\n')
	if _, err := os.Lstat(b.Dir); errors.Is(err, os.ErrNotExist) {
		if left, err := readSmall(filepath.Join(nextDir(b.Dir), rollbackFileName), maxRollback); err == nil && bytes.Equal(left, record) {
			if _, err := os.Lstat(PastDir(b.Dir, a.Request.Epoch)); err == nil {
				return PastDir(b.Dir, a.Request.Epoch), finishEpoch(b.Dir) // an earlier call ended between its two renames
			}
		}
	}
	now, err := b.Ask(ctx, reason, a.Request.By, a.Request.Time)
	if err != nil {
		return "", err
	}
	if r := a.Request; now.Origin != r.Origin || now.Epoch != r.Epoch || now.Survived != r.Survived || now.Lost != r.Lost {
		return "", fmt.Errorf("the request is of another state: %d of %d entries of %s then, %d of %d of %s now; ask and confirm again",
			r.Survived.Size, r.Lost.Size, r.Origin, now.Survived.Size, now.Lost.Size, now.Origin)
	}
	if err := beginEpoch(b.Dir, a.Request.Epoch, record); err != nil {
		return "", fmt.Errorf("setting the old ledger aside: %w", err)
	}
	return PastDir(b.Dir, a.Request.Epoch), nil
}

// proof tells how the two persons are known to be two.
func (a acceptance) proof(ctx context.Context, digest Hash, confirmed func(context.Context, Hash) (Hash, error)) (string, error) {
	first, second := a.Request.By, a.Confirmation.By
	if first.UID != second.UID {
		return "uid", nil
	}
	if confirmed == nil || !otherAccessor(first, second) {
		return "", fmt.Errorf("uid %d asked for it and confirmed it: %w", first.UID, ErrSamePerson)
	}
	accessor, err := confirmed(ctx, digest)
	if err != nil {
		return "", fmt.Errorf("asking Vault who confirmed: %w", err)
	}
	if accessor != second.Accessor {
		return "", fmt.Errorf("in Vault there is another token's confirmation: %w", ErrSamePerson)
	}
	return "vault", nil
}

// PreviousOf gives, for genesis, the log that the one in dir goes on for; nil in the first epoch.
func PreviousOf(dir string, epoch int) (*PreviousLog, error) {
	if epoch == 1 {
		return nil, nil
	}
	b, err := readSmall(filepath.Join(dir, rollbackFileName), maxRollback)
	if err != nil {
		return nil, fmt.Errorf("the record of the accepted rollback: %w", err)
	}
	var a acceptance
	if err := json.Unmarshal(b, &a); err != nil {
		return nil, fmt.Errorf("the record of the accepted rollback: %w", err)
	}
	r := a.Request
	return &PreviousLog{Origin: r.Origin, Survived: r.Survived, Lost: r.Lost, Acceptance: sha256.Sum256(b)}, nil
}

// ConfirmRollback makes the second person's word on a request. One with the first's uid and without a
// Vault accessor of their own is refused at once.
func ConfirmRollback(r RollbackRequest, code string, by Person, now Time) (RollbackConfirmation, error) {
	want, err := r.Code()
	if err != nil {
		return RollbackConfirmation{}, err
	}
	if code != want {
		return RollbackConfirmation{}, errors.New("the code is not this request's: ask the first person again")
	}
	if by.UID == r.By.UID && !otherAccessor(r.By, by) {
		return RollbackConfirmation{}, fmt.Errorf("uid %d asked for it: %w", r.By.UID, ErrSamePerson)
	}
	h, err := r.Digest()
	return RollbackConfirmation{V: 1, Request: h, By: by, Time: now}, err
}

func otherAccessor(a, b Person) bool {
	return a.Accessor != Hash{} && b.Accessor != Hash{} && a.Accessor != b.Accessor
}

// WriteRollback writes a request or a confirmation where everybody may read it; the owner of the file
// is who wrote it.
func WriteRollback(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(b, '\n'), 0o644, renameio.WithTempDir(filepath.Dir(path)))
}

// ReadRollback reads a request or a confirmation into v and gives the uid that owns the file.
func ReadRollback(path string, v any) (owner int, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Size() > maxRollback {
		return 0, fmt.Errorf("%s is no regular file of at most %d bytes", path, maxRollback)
	}
	d := json.NewDecoder(io.LimitReader(f, maxRollback))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int(stat.Uid), nil
}

// ComparePrevious holds what the genesis of a log in dir says of the log before it against the record of
// the acceptance and the anchors of that log, all of which stay. Nothing in a first epoch.
func ComparePrevious(ctx context.Context, l *Log, dir string, anchors []Anchor) (findings []exchange.Finding) {
	p := l.Genesis.Genesis.Previous
	if p == nil {
		return nil
	}
	first := uint64(0)
	find := func(severity, format string, a ...any) {
		findings = append(findings, exchange.Finding{Check: "previous", Severity: severity, Entry: &first, Detail: fmt.Sprintf(format, a...)})
	}
	find(exchange.Remark, "this log goes on for %s after an accepted rollback: %d of %d entries survived (acceptance %s)", p.Origin, p.Survived.Size, p.Lost.Size, p.Acceptance)
	if b, err := readSmall(filepath.Join(dir, rollbackFileName), maxRollback); err != nil {
		find(exchange.Indeterminate, "the record of the acceptance: %s", oneLine(err))
	} else if sha256.Sum256(b) != p.Acceptance {
		find(exchange.Broken, "the record of the acceptance is not the one that genesis names")
	}
	pub, err := genesisKey(l)
	if err != nil {
		return findings // CompareAnchors says it
	}
	for _, a := range anchors {
		m, err := readMark(ctx, a, p.Origin, pub)
		switch {
		case errors.Is(err, ErrNoMark):
		case err != nil:
			find(exchange.Indeterminate, "anchor %s cannot be used: %s", a.Name(), oneLine(err))
		case m.Size > p.Lost.Size || m.Size == p.Lost.Size && m.Root != p.Lost.Root:
			find(exchange.Broken, "genesis says that %s had %d entries with root %s; anchor %s vouches for %d with root %s", p.Origin, p.Lost.Size, p.Lost.Root, a.Name(), m.Size, m.Root)
		}
	}
	return findings
}
