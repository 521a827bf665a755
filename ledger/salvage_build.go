package ledger

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// salvageMagic opens records.salvage. Behind it stand records: length of the key and of the value
// (uint32, big-endian), version (uint64), key, value, SHA-256 over all of the record before it.
const salvageMagic = "sigillo-salvage/v1\n"

// salvagedFileName marks a rebuilt ledger until its first opening has recorded the salvage.
const salvagedFileName = "SALVAGED"

// salvaged is what the mark says.
type salvaged struct {
	Entries uint64 `json:"entries"`
}

// writeRecords writes all recovered records, in the order of their keys.
func writeRecords(ctx context.Context, db *badger.DB, path string) (count uint64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := w.WriteString(salvageMagic); err != nil {
		return 0, err
	}
	err = eachRecord(ctx, db, nil, func(key []byte, version uint64, value []byte) error {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(key)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
		b = binary.BigEndian.AppendUint64(b, version)
		b = append(append(b, key...), value...)
		sum := sha256.Sum256(b)
		count++
		_, err := w.Write(append(b, sum[:]...))
		return err
	})
	if err == nil {
		err = errors.Join(w.Flush(), f.Sync())
	}
	return count, err
}

func eachRecord(ctx context.Context, db *badger.DB, prefix []byte, fn func(key []byte, version uint64, value []byte) error) error {
	txn := db.NewTransactionAt(^uint64(0), false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchSize = prefix, 64
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		if err := fn(it.Item().KeyCopy(nil), it.Item().Version(), value); err != nil {
			return err
		}
	}
	return nil
}

// derive makes all derived tables anew from the entries and takes away what stands above the size. The
// index of business keys stays as it was recovered: only who has the class keys can make it anew.
func (a *assembly) derive(ctx context.Context) error {
	size := a.acked.Size
	batch := a.db.NewWriteBatchAt(a.got.top + 1)
	defer batch.Cancel()
	drop := func(table byte, which func(key []byte) bool) error {
		return eachRecord(ctx, a.db, []byte{table}, func(key []byte, _ uint64, _ []byte) error {
			if which(key) {
				return batch.Delete(key)
			}
			return nil
		})
	}
	all := func([]byte) bool { return true }
	// Terms that entries tell are made anew; those of their content stay as they were recovered.
	derivable := func(key []byte) bool {
		return len(key) < 2 || strings.IndexByte(string([]byte{termParticipant, termOperation, termOutcome, termDisposal}), key[1]) >= 0
	}
	// In these tables the key ends in an entry's number, or in a tree's size.
	above := func(limit uint64) func([]byte) bool {
		return func(key []byte) bool {
			return len(key) < 9 || binary.BigEndian.Uint64(key[len(key)-8:]) >= limit
		}
	}
	err := errors.Join(drop(tableOwn, all), drop(tableOwnIndex, all), drop(tableTile, all),
		drop(tableEntry, above(size)), drop(tableExchange, above(size)), drop(tableTerm, derivable), drop(tableKeyed, above(size)),
		drop(tableNote, above(size+1)), drop(tableStamp, above(size+1)))
	if err == nil {
		err = batch.Flush() // else deletions and new values of one key would have one version
	}
	if err != nil {
		return err
	}
	batch = a.db.NewWriteBatchAt(a.got.top + 2)
	set := func(key, value []byte) error { return batch.Set(key, value) }
	a.unsigned = size
	j := newJudge(badgerView{a.db}, a.key)
	j.derived = func(e judged) error { return a.index(ctx, j.view, e, set) }
	if err := j.entries(ctx, size); err != nil {
		return err
	}
	if !j.reaches(a.acked) {
		return errors.New("the rebuilt store does not hold what was judged whole")
	}
	err = a.flushIndex(set)
	oldest := size
	for _, n := range j.open {
		oldest = min(oldest, n)
	}
	for p, s := range j.own {
		b, jerr := json.Marshal(s)
		err = errors.Join(err, jerr, set(ownKey(p), b))
	}
	if mark, rerr := readUnsigned(ctx, j.view); rerr != nil || mark > a.unsigned {
		put := unsignedRecord(a.unsigned)
		err = errors.Join(err, set(put.key, put.value))
	}
	b, jerr := json.Marshal(Head{Size: size, Last: j.last, Time: j.time, Root: j.tree.root(), Edge: j.tree.hashes, Start: size, Open: oldest})
	return errors.Join(err, jerr, set(headKey(), b), batch.Flush())
}

// index writes what is derived from one entry.
func (a *assembly) index(ctx context.Context, v View, e judged, set func(key, value []byte) error) (err error) {
	put := func(key, value []byte) { err = errors.Join(err, set(key, value)) }
	if a.runs.own(e.entry.Own.P, e.entry.Own.K, e.n); e.n%batchItems == batchItems-1 {
		defer func() { err = errors.Join(err, a.flushIndex(set)) }()
	}
	for _, t := range e.tiles {
		put(t.key, t.value)
	}
	x, perr := uuid.Parse(string(e.entry.Exchange))
	if perr != nil {
		return err
	}
	switch there, serr := (badgerView{a.db}).stands(exchangeIndexKey(x, e.n)); {
	case serr != nil:
		return serr
	case !there: // what it enclosed was named as lost
		put(exchangeIndexKey(x, e.n), nil)
	}
	switch principal, _, _ := cutOwn(e.entry.Own.P); e.entry.Kind {
	case exchange.KindRequest, exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure, exchange.KindUndelivered:
		a.runs.terms(plainTerms(e.entry.Tail, principal), e.n)
	case KindDisposal:
		a.runs.terms([][]byte{plainTerm(termDisposal, classMonthID{e.entry.Disposal.Class, e.entry.Disposal.Month}.String())}, e.n)
	}
	if answers(e.entry.Kind) && e.n < a.unsigned {
		b, gerr := v.Get(ctx, receiptKey(x))
		if gerr != nil && !errors.Is(gerr, ErrNotFound) {
			return gerr
		}
		if len(b) > 0 && b[0] == receiptPending {
			a.unsigned = e.n
		}
	}
	return err
}

// flushIndex writes what was gathered of the index.
func (a *assembly) flushIndex(set func(key, value []byte) error) (err error) {
	for _, x := range a.runs.records() {
		err = errors.Join(err, set(x.key, x.value))
	}
	a.runs = indexWrites{}
	return err
}

// keepHead gives a store that lost its head record one that says what was acknowledged.
func (a *assembly) keepHead(ctx context.Context) error {
	if _, ok := salvagedHead(ctx, badgerView{a.db}); ok || a.acked.Size == 0 {
		return nil
	}
	b, err := json.Marshal(Head{Size: a.acked.Size, Last: a.acked.Last, Root: a.acked.Root})
	if err != nil {
		return err
	}
	batch := a.db.NewWriteBatchAt(a.got.top + 1)
	defer batch.Cancel()
	return errors.Join(batch.Set(headKey(), b), batch.Flush())
}

// finish puts HEAD, the mark of the salvage and the list of files beside the closed store.
func (a *assembly) finish(r *SalvageReport) error {
	h, err := openHeadFile(a.dir)
	if err != nil {
		return err
	}
	m := a.acked
	if err := errors.Join(h.write(m), h.write(m), h.close()); err != nil {
		return err
	}
	b, err := json.Marshal(salvaged{Entries: m.Size})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dir, salvagedFileName), b, 0o600); err != nil {
		return err
	}
	if err := syncTree(a.dir); err != nil {
		return err
	}
	r.Ledger = a.dir
	return markClean(a.dir)
}

// syncTree syncs every file under dir: the store was written without.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() && !d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// noteSalvage records, at the first opening of a rebuilt ledger, that it was rebuilt.
func (l *Ledger) noteSalvage(ctx context.Context) error {
	path := filepath.Join(l.opts.Dir, salvagedFileName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var s salvaged
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return fmt.Errorf("reading the mark of the salvage: %w", err)
	}
	if _, err := l.appendLog(ctx, LogChain, Tail{Kind: KindNotice, Notice: &Notice{Code: "salvage", Value: int64(s.Entries)}}); err != nil {
		return fmt.Errorf("recording the salvage: %w", err)
	}
	return errors.Join(os.Remove(path), syncDir(l.opts.Dir))
}
