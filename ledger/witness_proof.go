package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
)

// witnessConsistency is the consistency proof between two sizes of the log (RFC 6962, 2.1.2), held
// against the root of the larger one before it leaves: a witness that refuses it then speaks of
// another history, not of a store that cannot be read rightly.
func witnessConsistency(ctx context.Context, v View, from, to uint64, root Hash) ([]Hash, error) {
	node := nodes(ctx, v, to)
	if whole, err := rangeRoot(0, to, node); err != nil || whole != root {
		return nil, errors.Join(fmt.Errorf("the tree of size %d does not have the root that was signed", to), err)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	if from > to {
		return nil, fmt.Errorf("no tree of size %d is the beginning of one of size %d", from, to)
	}
	before, err := rangeRoot(0, from, node)
	if err != nil {
		return nil, err
	}
	path, err := subproof(from, 0, to, true, node)
	if err != nil {
		return nil, err
	}
	old, now, rest, err := subroots(from, to, true, before, path)
	if err != nil || len(rest) > 0 || old != before || now != root {
		return nil, errors.Join(fmt.Errorf("the proof from size %d to %d does not hold", from, to), err)
	}
	return path, nil
}

// subproof is SUBPROOF of RFC 6962, section 2.1.2, over the leaves [lo, hi) of which m are old.
func subproof(m, lo, hi uint64, whole bool, node nodeReader) ([]Hash, error) {
	if m == hi-lo {
		if whole {
			return nil, nil
		}
		h, err := rangeRoot(lo, hi, node)
		return []Hash{h}, err
	}
	k := uint64(1) << (bits.Len64(hi-lo-1) - 1)
	var path []Hash
	var h Hash
	var err error
	if m <= k {
		if path, err = subproof(m, lo, lo+k, whole, node); err == nil {
			h, err = rangeRoot(lo+k, hi, node)
		}
	} else if path, err = subproof(m-k, lo+k, hi, false, node); err == nil {
		h, err = rangeRoot(lo, lo+k, node)
	}
	return append(path, h), err
}

// subroots undoes subproof: the roots of the m old and of all n leaves that a path leads to.
func subroots(m, n uint64, whole bool, before Hash, path []Hash) (old, now Hash, rest []Hash, err error) {
	if m == n && whole {
		return before, before, path, nil
	}
	if len(path) == 0 {
		return old, now, nil, errors.New("too short")
	}
	if m == n {
		return path[0], path[0], path[1:], nil
	}
	k := uint64(1) << (bits.Len64(n-1) - 1)
	if m <= k {
		old, now, path, err = subroots(m, k, whole, before, path)
	} else {
		old, now, path, err = subroots(m-k, n-k, false, before, path)
	}
	if err != nil || len(path) == 0 {
		return old, now, nil, errors.Join(errors.New("too short"), err)
	}
	if m <= k {
		return old, nodeHash(now, path[0]), path[1:], nil
	}
	return nodeHash(path[0], old), nodeHash(path[0], now), path[1:], nil
}
