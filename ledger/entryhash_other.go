//go:build !amd64

package ledger

import "crypto/sha256"

// entryHashes are EntryHash and leafHash of an entry whose bytes follow a zero byte in b.
func entryHashes(b []byte) (entry, leaf Hash) { return sha256.Sum256(b[1:]), sha256.Sum256(b) }

// nodePair are nodeHash of h[0] and h[1], and of h[2] and h[3].
func nodePair(h *[4]Hash) (Hash, Hash) { return nodeHash(h[0], h[1]), nodeHash(h[2], h[3]) }
