package bench

import (
	"crypto/sha256"
	"encoding/binary"
)

const tileWidth = 256

// tree is the right edge of an RFC 6962 tree and of its C2SP tiles.
type tree struct {
	size   uint64
	edge   [][32]byte    // roots of the perfect subtrees, widest first
	levels [8][][32]byte // hashes right of the last full tile, by tile level
	leaf   []byte
}

// add appends a leaf, and to batch the records of the tiles that it completes.
func (t *tree) add(batch, entry []byte) []byte {
	t.leaf = append(append(t.leaf[:0], 0), entry...)
	h := [32]byte(sha256.Sum256(t.leaf))
	batch = t.place(batch, 0, h)
	level := 0
	for n := t.size; n&1 == 1; n >>= 1 {
		h = node(t.edge[len(t.edge)-1], h)
		t.edge = t.edge[:len(t.edge)-1]
		if level++; level%8 == 0 {
			batch = t.place(batch, level/8, h)
		}
	}
	t.edge = append(t.edge, h)
	t.size++
	return batch
}

// place puts hash h into the open tile of a level, and writes the tile when it is full.
func (t *tree) place(batch []byte, level int, h [32]byte) []byte {
	t.levels[level] = append(t.levels[level], h)
	if len(t.levels[level]) < tileWidth {
		return batch
	}
	batch = frame(batch, 10, 32*tileWidth)
	batch = append(batch, 't', byte(level))
	batch = binary.BigEndian.AppendUint64(batch, t.size>>(8*(level+1)))
	for _, x := range t.levels[level] {
		batch = append(batch, x[:]...)
	}
	t.levels[level] = t.levels[level][:0]
	return batch
}

func (t *tree) root() [32]byte {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	h := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		h = node(t.edge[i], h)
	}
	return h
}

func node(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}
