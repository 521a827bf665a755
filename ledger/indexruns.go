package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// The index is written in runs: what one batch adds under one term, or to one own chain, is one record.
// Its members are entry numbers in ascending order, the later ones as uvarint differences.

// run is the members that one batch adds under one prefix.
type run struct {
	prefix []byte
	first  uint64 // of an own chain: k of the first member; of a term: its first member
	last   uint64 // the newest member
	count  uint64
	value  []byte
}

func (r *run) add(n uint64) {
	r.value = binary.AppendUvarint(r.value, n-r.last)
	r.last, r.count = n, r.count+1
}

// indexWrites gathers the runs of one batch in order of first appearance.
type indexWrites struct {
	runs []*run
	at   map[string]*run
}

func (w *indexWrites) run(prefix []byte) (r *run, fresh bool) {
	if r = w.at[string(prefix)]; r != nil {
		return r, false
	}
	if w.at == nil {
		w.at = map[string]*run{}
	}
	r = &run{prefix: prefix}
	w.at[string(prefix)] = r
	w.runs = append(w.runs, r)
	return r, true
}

// own notes that entry n is number k of an own chain.
func (w *indexWrites) own(p string, k, n uint64) {
	r, fresh := w.run(ownIndexPrefix(p))
	if fresh {
		r.first = k
	}
	r.add(n)
}

// terms notes that entry n stands under each of the terms.
func (w *indexWrites) terms(terms [][]byte, n uint64) {
	for _, t := range terms {
		r, fresh := w.run(t)
		if fresh {
			r.first, r.last, r.count = n, n, 1 // the key says it
			continue
		}
		r.add(n)
	}
}

// records are what is stored of all runs. That of an own chain stands under its last k, so that a lookup of
// k finds it by seeking k.
func (w *indexWrites) records() []kv {
	out := make([]kv, len(w.runs))
	for i, r := range w.runs {
		at := r.first
		if r.prefix[0] == tableOwnIndex {
			at = r.first + r.count - 1
		}
		out[i] = kv{binary.BigEndian.AppendUint64(append(make([]byte, 0, len(r.prefix)+8), r.prefix...), at), r.value}
	}
	return out
}

// members calls fn for the numbers of a run: those that value holds, the first of them counted from before.
func members(before uint64, value []byte, fn func(n uint64) error) error {
	for n := before; len(value) > 0; {
		d, size := binary.Uvarint(value)
		if size <= 0 || n+d < n {
			return errors.New("a malformed run")
		}
		n, value = n+d, value[size:]
		if err := fn(n); err != nil {
			return err
		}
	}
	return nil
}

// scanTerm calls fn for the number of every entry under a term, in ascending order.
func scanTerm(ctx context.Context, v View, term []byte, fn func(n uint64) error) error {
	return v.Scan(ctx, term, nil, func(key, value []byte) error {
		if len(key) != len(term)+8 {
			return nil // another term that begins alike
		}
		first := binary.BigEndian.Uint64(key[len(term):])
		if err := fn(first); err != nil {
			return err
		}
		if err := members(first, value, fn); err != nil {
			return fmt.Errorf("index record %x: %w", key, err)
		}
		return nil
	})
}

// scanOwn calls fn for the entries of an own chain from number k on, in order.
func scanOwn(ctx context.Context, v View, p string, from uint64, fn func(k, n uint64) error) error {
	prefix := ownIndexPrefix(p)
	return v.Scan(ctx, prefix, ownIndexKey(p, from), func(key, value []byte) error {
		if len(key) != len(prefix)+8 {
			return nil
		}
		var ns []uint64
		if err := members(0, value, func(n uint64) error { ns = append(ns, n); return nil }); err != nil {
			return fmt.Errorf("own chain %s: %w", p, err)
		}
		last := binary.BigEndian.Uint64(key[len(prefix):])
		if uint64(len(ns)) > last+1 {
			return fmt.Errorf("own chain %s: a run of %d entries up to k %d", p, len(ns), last)
		}
		for i, n := range ns {
			if k := last + 1 - uint64(len(ns)-i); k >= from {
				if err := fn(k, n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
