package ledger

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/cpu"
)

// pairs tells whether this processor can compute two SHA-256 side by side.
var pairs = cpu.X86.HasAVX && cpu.X86.HasSSE41 && cpu.X86.HasSSSE3 && hasSHA()

// sha256Blocks runs SHA-256 over as many blocks of 64 bytes from p with state a and from q with state b.
//
//go:noescape
func sha256Blocks(a, b *[8]uint32, p, q *byte, blocks int)

func hasSHA() bool

// sha256Start is the initial state (FIPS 180-4, section 5.3.3).
var sha256Start = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// entryHashes are EntryHash and leafHash of an entry whose bytes follow a zero byte in b: both digests
// at once, for a verifier does little else.
func entryHashes(b []byte) (entry, leaf Hash) {
	if !pairs {
		return sha256.Sum256(b[1:]), sha256.Sum256(b)
	}
	size := len(b) - 1 // of the entry
	x, y := sha256Start, sha256Start
	whole := size / 64
	if whole > 0 {
		sha256Blocks(&x, &y, &b[1], &b[0], whole)
	}
	var p, q [128]byte
	n, m := sha256Pad(&p, b[1+64*whole:], size), sha256Pad(&q, b[64*whole:], size+1)
	sha256Blocks(&x, &y, &p[0], &q[0], min(n, m))
	if m > n { // the leaf is a byte longer: it may take a block more
		var idle [8]uint32
		sha256Blocks(&idle, &y, &p[0], &q[64], 1)
	}
	return digest(&x), digest(&y)
}

func digest(state *[8]uint32) (h Hash) {
	for i, x := range state {
		binary.BigEndian.PutUint32(h[4*i:], x)
	}
	return h
}

// nodePair are two nodeHash at once: of h[0] and h[1], and of h[2] and h[3].
func nodePair(h *[4]Hash) (Hash, Hash) {
	if !pairs {
		return nodeHash(h[0], h[1]), nodeHash(h[2], h[3])
	}
	var p, q [128]byte // 65 bytes and their padding
	p[0], p[65], p[126], p[127] = 1, 0x80, 65*8>>8, 65*8&0xff
	q = p
	copy(p[1:], h[0][:])
	copy(p[33:], h[1][:])
	copy(q[1:], h[2][:])
	copy(q[33:], h[3][:])
	x, y := sha256Start, sha256Start
	sha256Blocks(&x, &y, &p[0], &q[0], 2)
	return digest(&x), digest(&y)
}

// sha256Pad writes the last bytes of a message of the given size with its padding (FIPS 180-4, section
// 5.1.1) and gives the number of blocks.
func sha256Pad(to *[128]byte, rest []byte, size int) int {
	n := copy(to[:], rest)
	to[n] = 0x80
	blocks := 1
	if n+9 > 64 {
		blocks = 2
	}
	binary.BigEndian.PutUint64(to[64*blocks-8:], uint64(size)*8)
	return blocks
}
