package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxBundle is the greatest size of an entry bundle in bytes.
const maxBundle = tileWidth * (2 + MaxEntry)

// readResource gives the bytes of a tile or an entry bundle, full or partial, computed from what is
// stored: at most 256 entries or tiles are read. The caller has checked that it lies within a signed size.
func readResource(ctx context.Context, v View, r tileRef) ([]byte, error) {
	if r.entries {
		return readBundle(ctx, v, r.n, r.width)
	}
	t, err := readTile(ctx, v, r.level, r.n)
	if err == nil {
		return t[:32*r.width], nil
	}
	if r.width == tileWidth || !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	hs, err := tileHashes(ctx, v, r.level, r.n, uint64(r.width))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 32*r.width)
	for _, h := range hs {
		out = append(out, h[:]...)
	}
	return out, nil
}

// readBundle is the entry bundle of the width entries from n*256 on: each is two bytes of its length,
// big-endian, and its bytes (C2SP tlog-tiles).
func readBundle(ctx context.Context, v View, n uint64, width int) ([]byte, error) {
	var out []byte
	err := scanEntries(ctx, v, n*tileWidth, n*tileWidth+uint64(width), func(n uint64, entry []byte) error {
		if len(entry) > MaxEntry {
			return fmt.Errorf("entry %d has %d bytes, more than a bundle can hold", n, len(entry))
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(entry))), entry...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading entry bundle %d: %w", n, err)
	}
	return out, nil
}

// parseBundle gives the entries of a bundle that must hold exactly width of them. They share b's memory.
func parseBundle(b []byte, width int) ([][]byte, error) {
	out := make([][]byte, 0, width)
	for range width {
		if len(b) < 2 {
			return nil, fmt.Errorf("entry bundle ends after %d of %d entries", len(out), width)
		}
		n := int(binary.BigEndian.Uint16(b))
		if len(b) < 2+n {
			return nil, fmt.Errorf("entry bundle is cut inside of its entry %d", len(out))
		}
		out = append(out, b[2:2+n:2+n])
		b = b[2+n:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("entry bundle has %d bytes more than its %d entries", len(b), width)
	}
	return out, nil
}
