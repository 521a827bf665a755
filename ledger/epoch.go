package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// After an accepted rollback a log goes on as a new one: under its old origin it would be a fork. The
// epoch counts these logs: the first has the configured origin, the others origin/e2, origin/e3, … The
// file EPOCH in the ledger's directory says which it is; genesis says it too and is what counts.
const (
	epochFileName = "EPOCH"
	maxEpoch      = 999
)

// Epoch gives the epoch of the ledger in dir: 1 where no rollback was ever accepted, or no ledger is.
func Epoch(dir string) (int, error) {
	b, err := readSmall(filepath.Join(dir, epochFileName), 16)
	if errors.Is(err, os.ErrNotExist) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the ledger's epoch: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(string(b), "\n"))
	if err != nil || n < 2 || n > maxEpoch || string(b) != strconv.Itoa(n)+"\n" {
		return 0, fmt.Errorf("%s: not a number from 2 to %d", filepath.Join(dir, epochFileName), maxEpoch)
	}
	return n, nil
}

// EpochOrigin is the origin of a log's epoch.
func EpochOrigin(origin string, epoch int) string { return epochName(origin, "/e", epoch) }

// epochOf reads the epoch from a log that says it goes on after an accepted rollback; 1 for any other.
func epochOf(genesis *Genesis) (int, error) {
	if genesis.Previous == nil {
		return 1, nil
	}
	n, err := strconv.Atoi(genesis.Origin[strings.LastIndex(genesis.Origin, "/e")+2:])
	if err != nil || n < 2 || n > maxEpoch {
		return 0, fmt.Errorf("the log %s goes on after a rollback, and its origin names no epoch", genesis.Origin)
	}
	return n, nil
}

// keepEpoch leaves the mark by which a ledger of a later epoch is known.
func keepEpoch(dir string, epoch int) error {
	if epoch == 1 {
		return nil
	}
	return errors.Join(renameio.WriteFile(filepath.Join(dir, epochFileName), []byte(strconv.Itoa(epoch)+"\n"), 0o600, renameio.WithTempDir(dir)), syncDir(dir))
}

// CarryRollback copies the record of an accepted rollback, where there is one, from a ledger's directory to
// its backup and back: genesis names its digest, so a verifier wants to see it.
func CarryRollback(from, to string) error {
	b, err := readSmall(filepath.Join(from, rollbackFileName), maxRollback)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("carrying the record of an accepted rollback: %w", err)
	}
	return errors.Join(renameio.WriteFile(filepath.Join(to, rollbackFileName), b, 0o600, renameio.WithTempDir(to)), syncDir(to))
}

func epochName(name, join string, epoch int) string {
	if epoch <= 1 {
		return name
	}
	return name + join + strconv.Itoa(epoch)
}

// PastDir is where the directory of a past epoch lies: data.e1 beside data.
func PastDir(dir string, epoch int) string {
	return filepath.Clean(dir) + ".e" + strconv.Itoa(epoch)
}

func nextDir(dir string) string { return filepath.Clean(dir) + ".next" }

// beginEpoch sets the ledger in dir aside, untouched, and puts an empty directory of the next epoch in
// its place, with the record of the acceptance. A crash at any step is put right by calling it again.
func beginEpoch(dir string, epoch int, record []byte) error {
	next, parent := nextDir(dir), filepath.Dir(filepath.Clean(dir))
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return err
	}
	for name, b := range map[string][]byte{epochFileName: []byte(strconv.Itoa(epoch+1) + "\n"), rollbackFileName: record} {
		if err := renameio.WriteFile(filepath.Join(next, name), b, 0o600, renameio.WithTempDir(next)); err != nil {
			return err
		}
	}
	if err := errors.Join(syncDir(next), syncDir(parent)); err != nil {
		return err
	}
	if _, err := os.Lstat(PastDir(dir, epoch)); err == nil {
		return fmt.Errorf("%s is in the way", PastDir(dir, epoch))
	}
	if err := os.Rename(dir, PastDir(dir, epoch)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return finishEpoch(dir)
}

// finishEpoch is the last step of beginEpoch.
func finishEpoch(dir string) error {
	if err := os.Rename(nextDir(dir), dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// noticeRollback leaves the notice that follows the genesis of a log that goes on after an accepted
// rollback, unless it is there.
func (l *Ledger) noticeRollback(ctx context.Context) error {
	g, err := readEntry(ctx, l.View(), 0)
	if err != nil || g.Genesis.Previous == nil {
		return err
	}
	if _, err := l.View().Get(ctx, entryKey(1)); !errors.Is(err, ErrNotFound) {
		return err
	}
	p := g.Genesis.Previous
	lost := int64(0)
	if p.Lost.Size > p.Survived.Size {
		lost = int64(p.Lost.Size - p.Survived.Size)
	}
	it, err := l.noticeItem("rollback-accepted", lost)
	if err != nil {
		return err
	}
	_, err = l.append(ctx, it)
	return err
}
