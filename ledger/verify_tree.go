package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"sigillo/internal/exchange"
)

// A stretch begins at a multiple of its greatest length, a power of two. So the tree up to there is made
// of perfect subtrees at least as wide, and the root at any size within the stretch is the local root of
// the stretch's leaves up to there, joined to those subtrees: workers hash the leaves, the joiner only
// one node for each subtree.

// sizedNote is a signed checkpoint that stands in the store, opened by a worker.
type sizedNote struct {
	size  uint64
	note  []byte
	said  Checkpoint
	err   error
	given bool // not of the store: the checkpoint that the verifier was given
	local Hash // root of the stretch's leaves up to size
	known bool // every leaf up to size is

	have, want, of int // cosignatures of witnesses that hold
}

// readNotes reads the checkpoints whose newest entry lies in the stretch, and checks their signatures.
func (w *worker) readNotes(ctx context.Context, s *stretch) error {
	v := w.v
	if b := v.before; b != nil && b.Size > s.first && b.Size <= s.end {
		s.notes = append(s.notes, sizedNote{size: b.Size, said: *b, given: true})
	}
	err := v.log.Scan(ctx, []byte{tableNote}, noteKey(s.first+1), func(key, value []byte) error {
		if len(key) != 9 {
			return nil // told apart by derived tables
		}
		size := binary.BigEndian.Uint64(key[1:])
		if size > s.end {
			return errStop
		}
		s.notes = append(s.notes, sizedNote{size: size, note: value})
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		if unreachable(ctx, err) {
			return err
		}
		s.addf("checkpoint", "reading checkpoints from size %d: %v", s.first+1, err)
	}
	for i := range s.notes {
		n := &s.notes[i]
		if n.given {
			continue
		}
		n.said, n.err = OpenCheckpoint(n.note, v.log.Origin(), v.key)
		if n.err == nil && v.opts.Cosigned != nil {
			var found []exchange.Finding
			n.have, n.want, n.of, found = v.opts.Cosigned(ctx, v.log, n.said, n.note)
			s.findings = append(s.findings, found...)
		}
	}
	// The given one, put first, may be of a greater size than those that follow.
	for i := 0; i+1 < len(s.notes) && s.notes[i].size > s.notes[i+1].size; i++ {
		s.notes[i], s.notes[i+1] = s.notes[i+1], s.notes[i]
	}
	return nil
}

// hashTree joins the leaves that are known into the local tree, with the local roots that the notes
// want and the hash of every 256 leaves.
func (s *stretch) hashTree() {
	s.tree.hashes, s.tree.size = s.tree.hashes[:0], 0
	next := 0
	for at := 0; at < len(s.leaves); {
		end := at + tileWidth
		if at%tileWidth == 0 && end <= len(s.leaves) && (next == len(s.notes) || s.notes[next].size >= s.first+uint64(end)) {
			h := foldTile(s.leaves[at:end])
			s.tiles = append(s.tiles, h)
			s.push(h, 8)
			at = end
		} else {
			s.push(s.leaves[at], 0)
			at++
		}
		for next < len(s.notes) && s.notes[next].size <= s.first+s.tree.size {
			s.notes[next].local, s.notes[next].known = s.tree.root(), true
			next++
		}
	}
}

// push appends the root of a perfect subtree of the given height to the local tree.
func (s *stretch) push(h Hash, height int) {
	width := uint64(1) << height
	for n := s.tree.size >> height; n&1 == 1; n >>= 1 {
		last := len(s.tree.hashes) - 1
		h = nodeHash(s.tree.hashes[last], h)
		s.tree.hashes = s.tree.hashes[:last]
		if height++; height == 8 {
			s.tiles = append(s.tiles, h)
		}
	}
	s.tree.hashes = append(s.tree.hashes, h)
	s.tree.size += width
}

// foldTile is the root over 256 leaves.
func foldTile(leaves []Hash) Hash {
	var hs [tileWidth]Hash
	copy(hs[:], leaves)
	for n := tileWidth; n > 2; n /= 2 {
		for i := 0; i < n; i += 4 {
			hs[i/2], hs[i/2+1] = nodePair((*[4]Hash)(hs[i : i+4]))
		}
	}
	return nodeHash(hs[0], hs[1])
}

// joinTree puts the stretch's tree to the right of the tree so far.
func (v *verifier) joinTree(ctx context.Context, s *stretch) {
	if !v.whole {
		return
	}
	if v.whole = uint64(len(s.leaves)) == s.end-s.first; !v.whole {
		return
	}
	for _, h := range s.tiles {
		v.edge.add(v.tiles, h, func(l uint, n uint64, tile []byte) { v.upperTile(ctx, l+1, n, tile) })
		v.tiles++
	}
	if s.end-s.first == v.width {
		v.tree.add(s.tree.root())
	} else {
		root := s.tree.root()
		v.rest = &root
	}
}

// rootWith is the root of the tree so far with local beside it.
func (v *verifier) rootWith(local Hash) Hash {
	h := local
	for i := len(v.tree.hashes) - 1; i >= 0; i-- {
		h = nodeHash(v.tree.hashes[i], h)
	}
	return h
}

// upperTile holds a stored tile of level 1 and above against the tiles below it.
func (v *verifier) upperTile(ctx context.Context, l uint, n uint64, want []byte) {
	first := n * tileWidth << (8 * l)
	t, err := readTile(ctx, v.log, l, n)
	switch {
	case err != nil && v.unreached(ctx, err):
	case err != nil:
		v.entryf("tile", first, "%v", err)
	case string(t) != string(want):
		v.entryf("tile", first, "tile %d/%d does not hold the hashes of the tiles below it", l, n)
	}
}

// startTree sets the tree up to first, a multiple of the stretch's length, from the stored tiles.
func (v *verifier) startTree(ctx context.Context, first uint64) error {
	node := nodes(ctx, v.log, first)
	level := uint(0)
	for uint64(1)<<level < v.width {
		level++
	}
	units := first >> level
	for bit := 63; bit >= 0; bit-- {
		if units>>bit&1 == 0 {
			continue
		}
		h, err := node(level+uint(bit), units>>bit&^1)
		if err != nil {
			return fmt.Errorf("the tree up to entry %d: %w", first, err)
		}
		v.tree.hashes = append(v.tree.hashes, h)
	}
	v.tree.size, v.tiles = units, first/tileWidth
	e, err := loadEdge(ctx, v.log, first)
	if err != nil {
		return fmt.Errorf("the tree up to entry %d: %w", first, err)
	}
	if len(e.levels) > 1 {
		v.edge = edge{levels: e.levels[1:]}
	}
	return nil
}
