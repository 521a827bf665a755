package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
)

// The tree is that of RFC 6962, section 2.1; the leaf data is the entry's bytes.

func leafHash(entry []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(entry)
	return Hash(h.Sum(nil))
}

func nodeHash(left, right Hash) Hash {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// frontier is the right edge of a tree: the roots of its perfect subtrees, widest first. It is all
// that appending needs, so the cost of an append does not grow with the log.
type frontier struct {
	size   uint64
	hashes []Hash
}

func (f frontier) clone() frontier {
	return frontier{f.size, append([]Hash(nil), f.hashes...)}
}

func (f *frontier) add(leaf Hash) {
	h := leaf
	for n := f.size; n&1 == 1; n >>= 1 {
		h = nodeHash(f.hashes[len(f.hashes)-1], h)
		f.hashes = f.hashes[:len(f.hashes)-1]
	}
	f.hashes = append(f.hashes, h)
	f.size++
}

// root is the tree's root; that of the empty tree is SHA-256 of nothing.
func (f frontier) root() Hash {
	if f.size == 0 {
		return sha256.Sum256(nil)
	}
	h := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		h = nodeHash(f.hashes[i], h)
	}
	return h
}

// nodeReader gives the hash of the perfect subtree over leaves [i<<level, (i+1)<<level).
type nodeReader func(level uint, i uint64) (Hash, error)

// halfWidth is the greatest power of two below n, n > 1: how many leaves stand left in a tree of n.
func halfWidth(n uint64) uint64 { return 1 << (bits.Len64(n-1) - 1) }

// rangeRoot is the RFC 6962 hash of leaves [lo, hi), lo a multiple of the greatest power of two below
// the range's length.
func rangeRoot(lo, hi uint64, node nodeReader) (Hash, error) {
	n := hi - lo
	if n == 0 {
		return Hash{}, errors.New("hash of an empty range of leaves")
	}
	if n&(n-1) == 0 {
		level := uint(bits.TrailingZeros64(n))
		return node(level, lo>>level)
	}
	k := halfWidth(n)
	l, err := rangeRoot(lo, lo+k, node)
	if err != nil {
		return Hash{}, err
	}
	r, err := rangeRoot(lo+k, hi, node)
	if err != nil {
		return Hash{}, err
	}
	return nodeHash(l, r), nil
}

// inclusionPath is the audit path of leaf n in the tree of the given size, deepest first (RFC 6962, 2.1.1).
func inclusionPath(n, size uint64, node nodeReader) ([]Hash, error) {
	if n >= size {
		return nil, fmt.Errorf("entry %d is not in a tree of size %d", n, size)
	}
	var path []Hash
	lo, hi := uint64(0), size
	for hi-lo > 1 {
		k := halfWidth(hi - lo)
		var sibling Hash
		var err error
		if n < lo+k {
			sibling, err = rangeRoot(lo+k, hi, node)
			hi = lo + k
		} else {
			sibling, err = rangeRoot(lo, lo+k, node)
			lo += k
		}
		if err != nil {
			return nil, err
		}
		path = append(path, sibling)
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	return path, nil
}

// VerifyInclusion checks that the entry of the given bytes is number n of the tree with this size and
// root (RFC 9162, section 2.1.3.2).
func VerifyInclusion(entry []byte, n, size uint64, path []Hash, root Hash) error {
	if n >= size {
		return fmt.Errorf("entry %d is not in a tree of size %d", n, size)
	}
	h, fn, sn := leafHash(entry), n, size-1
	for _, p := range path {
		if sn == 0 {
			return errors.New("inclusion proof is too long")
		}
		if fn&1 == 1 || fn == sn {
			h = nodeHash(p, h)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			h = nodeHash(h, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return errors.New("inclusion proof is too short")
	}
	if h != root {
		return errors.New("inclusion proof does not lead to the root")
	}
	return nil
}
