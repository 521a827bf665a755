package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// Tiles are those of C2SP tlog-tiles: height 8, so a full tile holds the 256 hashes of one level that
// stand under one hash eight levels up. Only full tiles are stored; what is right of the last full
// tile of a level is recomputed from entries and from the tiles below, never more than 255 of each.

const tileWidth = 256

// tileKey is the store key of full tile number n of tile level l.
func tileKey(l uint, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'t', byte(l)}, n)
}

// tileRoot is the root of a full tile.
func tileRoot(tile []byte) Hash {
	var hs [tileWidth]Hash
	for i := range hs {
		copy(hs[i][:], tile[32*i:])
	}
	return foldHashes(hs[:])
}

// foldHashes is the root over a power of two of hashes; it overwrites hs.
func foldHashes(hs []Hash) Hash {
	for n := len(hs); n > 1; n /= 2 {
		for i := 0; i < n/2; i++ {
			hs[i] = nodeHash(hs[2*i], hs[2*i+1])
		}
	}
	return hs[0]
}

// edge holds, for each tile level, the hashes right of the last full tile: what the next tiles are made of.
type edge struct {
	levels [][]Hash
}

func (e edge) clone() edge {
	c := edge{levels: make([][]Hash, len(e.levels))}
	for i, l := range e.levels {
		c.levels[i] = append(make([]Hash, 0, tileWidth), l...)
	}
	return c
}

// add appends a leaf and calls full for every tile that it completes; size is the tree's size before.
func (e *edge) add(size uint64, leaf Hash, full func(l uint, n uint64, tile []byte)) {
	h := leaf
	for l := uint(0); ; l++ {
		if int(l) == len(e.levels) {
			e.levels = append(e.levels, make([]Hash, 0, tileWidth))
		}
		e.levels[l] = append(e.levels[l], h)
		if len(e.levels[l]) < tileWidth {
			return
		}
		tile := make([]byte, 0, 32*tileWidth)
		for _, x := range e.levels[l] {
			tile = append(tile, x[:]...)
		}
		full(l, size>>(8*(l+1)), tile)
		h = foldHashes(e.levels[l])
		e.levels[l] = e.levels[l][:0]
	}
}

// loadEdge recomputes the right edge of a log of the given size from what is stored.
func loadEdge(ctx context.Context, v View, size uint64) (edge, error) {
	var e edge
	for l := uint(0); size>>(8*l) > 0; l++ {
		width := size >> (8 * l)
		hs := make([]Hash, 0, tileWidth)
		if rest := width % tileWidth; rest > 0 {
			var err error
			if hs, err = tileHashes(ctx, v, l, width/tileWidth, rest); err != nil {
				return edge{}, err
			}
		}
		e.levels = append(e.levels, hs)
	}
	return e, nil
}

// subtreeHash is hash i of tile level l: of an entry at level 0, of the full tile below otherwise.
func subtreeHash(ctx context.Context, v View, l uint, i uint64) (Hash, error) {
	if l == 0 {
		b, err := v.Get(ctx, entryKey(i))
		if err != nil {
			return Hash{}, fmt.Errorf("reading entry %d: %w", i, err)
		}
		return leafHash(b), nil
	}
	t, err := readTile(ctx, v, l-1, i)
	if err != nil {
		return Hash{}, err
	}
	return tileRoot(t), nil
}

func readTile(ctx context.Context, v View, l uint, n uint64) ([]byte, error) {
	t, err := v.Get(ctx, tileKey(l, n))
	if err != nil {
		return nil, fmt.Errorf("reading tile %d/%d: %w", l, n, err)
	}
	if len(t) != 32*tileWidth {
		return nil, fmt.Errorf("tile %d/%d has %d bytes instead of %d", l, n, len(t), 32*tileWidth)
	}
	return t, nil
}

// nodes reads subtree hashes of a log of the given size through its tiles.
func nodes(ctx context.Context, v View, size uint64) nodeReader {
	cache := map[string][]Hash{}
	return func(level uint, i uint64) (Hash, error) {
		l, within := level/8, level%8
		first := i << within // index of the first hash of tile level l under the node
		n, from, count := first/tileWidth, first%tileWidth, uint64(1)<<within
		key := string(tileKey(l, n))
		all, ok := cache[key]
		if !ok {
			var err error
			if all, err = tileHashes(ctx, v, l, n, min(tileWidth, size>>(8*l)-n*tileWidth)); err != nil {
				return Hash{}, err
			}
			if len(cache) < 64 {
				cache[key] = all
			}
		}
		if uint64(len(all)) < from+count {
			return Hash{}, fmt.Errorf("tile %d/%d has %d hashes where %d are needed", l, n, len(all), from+count)
		}
		return foldHashes(append([]Hash(nil), all[from:from+count]...)), nil
	}
}

// tileHashes gives the first width hashes of tile n of level l: a full tile is stored, the others are computed.
func tileHashes(ctx context.Context, v View, l uint, n, width uint64) ([]Hash, error) {
	hs := make([]Hash, 0, tileWidth)
	if width == tileWidth {
		t, err := readTile(ctx, v, l, n)
		if err != nil {
			return nil, err
		}
		for j := range tileWidth {
			hs = append(hs, Hash(t[32*j:]))
		}
		return hs, nil
	}
	first := n * tileWidth
	if l > 0 {
		for i := first; i < first+width; i++ {
			h, err := subtreeHash(ctx, v, l, i)
			if err != nil {
				return nil, err
			}
			hs = append(hs, h)
		}
		return hs, nil
	}
	err := scanEntries(ctx, v, first, first+width, func(_ uint64, entry []byte) error {
		hs = append(hs, leafHash(entry))
		return nil
	})
	return hs, err
}

// scanEntries calls fn for the entries from first to below end; it fails where one is missing.
func scanEntries(ctx context.Context, v View, first, end uint64, fn func(n uint64, entry []byte) error) error {
	next := first
	err := v.Scan(ctx, []byte{tableEntry}, entryKey(first), func(key, entry []byte) error {
		if next == end {
			return errStop
		}
		if n, ok := entryNumber(key); !ok || n != next {
			return fmt.Errorf("reading entry %d: %w", next, ErrNotFound)
		}
		next++
		return fn(next-1, entry)
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	if next < end {
		return fmt.Errorf("reading entry %d: %w", next, ErrNotFound)
	}
	return nil
}

// InclusionProof is the audit path of entry n in the tree of the given size (RFC 6962, 2.1.1).
func InclusionProof(ctx context.Context, v View, n, size uint64) ([]Hash, error) {
	return inclusionPath(n, size, nodes(ctx, v, size))
}
