package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// ConsistencyProof is the proof that the tree of size from is the beginning of the tree of size to
// (RFC 6962, 2.1.2). It is empty where there is nothing to prove: from 0, or both sizes equal. It reads
// tiles through v, at most 256 records at each level.
func ConsistencyProof(ctx context.Context, v View, from, to uint64) ([]Hash, error) {
	return consistencyPath(from, to, nodes(ctx, v, to))
}

// consistencyPath is SUBPROOF of RFC 6962 without its recursion: the way down to leaf from-1, and what
// stands beside it.
func consistencyPath(from, to uint64, node nodeReader) ([]Hash, error) {
	if from > to {
		return nil, fmt.Errorf("a tree of size %d is no beginning of one of size %d", from, to)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	var path []Hash
	lo, hi := uint64(0), to // the subtree in which the older tree's right edge lies
	for hi != from {
		k := halfWidth(hi - lo)
		l, r := lo+k, hi
		if from > lo+k {
			l, r, lo = lo, lo+k, lo+k
		} else {
			hi = lo + k
		}
		h, err := rangeRoot(l, r, node)
		if err != nil {
			return nil, err
		}
		path = append(path, h)
	}
	if lo > 0 { // else the subtree is the older tree itself, whose root the verifier has
		h, err := rangeRoot(lo, hi, node)
		if err != nil {
			return nil, err
		}
		path = append(path, h)
	}
	slices.Reverse(path)
	return path, nil
}

// VerifyConsistency checks that the tree with root fromRoot and size from is the beginning of the tree
// with root toRoot and size to (RFC 9162, section 2.1.4.2). Size 0 stands before every tree.
func VerifyConsistency(from, to uint64, path []Hash, fromRoot, toRoot Hash) error {
	switch {
	case from > to:
		return fmt.Errorf("a tree of size %d is no beginning of one of size %d", from, to)
	case from == 0 && fromRoot != Hash(sha256.Sum256(nil)):
		return errors.New("the root given for size 0 is not that of the empty tree")
	case from == to && fromRoot != toRoot:
		return fmt.Errorf("two roots at one size, %d: the log was forked", from)
	case from == 0 || from == to:
		if len(path) > 0 {
			return errors.New("consistency proof is too long")
		}
		return nil
	}
	if from&(from-1) == 0 { // the older tree is a perfect subtree: its root is the first hash
		path = append([]Hash{fromRoot}, path...)
	}
	if len(path) == 0 {
		return errors.New("consistency proof is too short")
	}
	fn, sn := from-1, to-1
	for fn&1 == 1 {
		fn, sn = fn>>1, sn>>1
	}
	fr, sr := path[0], path[0]
	for _, c := range path[1:] {
		if sn == 0 {
			return errors.New("consistency proof is too long")
		}
		if fn&1 == 1 || fn == sn {
			fr, sr = nodeHash(c, fr), nodeHash(c, sr)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			sr = nodeHash(sr, c)
		}
		fn, sn = fn>>1, sn>>1
	}
	switch {
	case sn != 0:
		return errors.New("consistency proof is too short")
	case fr != fromRoot:
		return errors.New("consistency proof does not lead to the older root")
	case sr != toRoot:
		return errors.New("consistency proof does not lead to the newer root")
	}
	return nil
}
