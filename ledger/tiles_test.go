package ledger

import (
	"bytes"
	"context"
	"fmt"
	"sort"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// memoryView is a store in memory, for trees that are too large or too damaged to record them.
type memoryView map[string][]byte

func (m memoryView) Get(_ context.Context, key []byte) ([]byte, error) {
	if b, ok := m[string(key)]; ok {
		return bytes.Clone(b), nil
	}
	return nil, ErrNotFound
}

func (m memoryView) Scan(_ context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	var keys []string
	for k := range m {
		if bytes.HasPrefix([]byte(k), prefix) && k >= string(from) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := fn([]byte(k), bytes.Clone(m[k])); err != nil {
			return err
		}
	}
	return nil
}

// memoryTree is a store of size entries of a few bytes with its full tiles, and the root at every size.
func memoryTree(size uint64) (memoryView, []Hash) {
	m, roots := memoryView{}, []Hash{frontier{}.root()}
	var e edge
	var f frontier
	for n := range size {
		entry := fmt.Appendf(nil, "entry %d", n)
		m[string(entryKey(n))] = entry
		e.add(n, leafHash(entry), func(l uint, n uint64, tile []byte) { m[string(tileKey(l, n))] = tile })
		f.add(leafHash(entry))
		roots = append(roots, f.root())
	}
	return m, roots
}

// TestConsistencyProofsOfAllSizes lets x/mod/sumdb judge the proof between any two small sizes, and
// between sizes about tile borders; it must refuse every proof with a hash changed, gone or too many.
func TestConsistencyProofsOfAllSizes(t *testing.T) {
	view, roots := memoryTree(66_000)
	var pairs [][2]uint64
	for to := range uint64(36) {
		for from := range to + 1 {
			pairs = append(pairs, [2]uint64{from, to})
		}
	}
	borders := []uint64{1, 2, 255, 256, 257, 511, 512, 700, 1024, 65_279, 65_280, 65_535, 65_536, 65_537, 65_800, 66_000}
	for i, to := range borders {
		for _, from := range borders[:i+1] {
			pairs = append(pairs, [2]uint64{from, to})
		}
	}
	for _, p := range pairs {
		from, to := p[0], p[1]
		path, err := ConsistencyProof(t.Context(), view, from, to)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyConsistency(from, to, path, roots[from], roots[to]); err != nil {
			t.Fatalf("%d to %d: %v", from, to, err)
		}
		judge := func(path []Hash, old, now Hash) error {
			var proof tlog.TreeProof
			for _, h := range path {
				proof = append(proof, tlog.Hash(h))
			}
			return tlog.CheckTree(proof, int64(to), tlog.Hash(now), int64(from), tlog.Hash(old))
		}
		if from == 0 {
			continue // the judge takes no empty tree
		}
		if err := judge(path, roots[from], roots[to]); err != nil {
			t.Fatalf("%d to %d: the judge says %v", from, to, err)
		}
		for what, bad := range wrongPaths(path) {
			if VerifyConsistency(from, to, bad, roots[from], roots[to]) == nil || judge(bad, roots[from], roots[to]) == nil {
				t.Fatalf("%d to %d: a proof with %s is accepted", from, to, what)
			}
		}
		if from != to && VerifyConsistency(from, to, path, roots[from-1], roots[to]) == nil {
			t.Fatalf("%d to %d: accepted for another older root", from, to)
		}
		if VerifyConsistency(from, to, path, roots[from], roots[to-1]) == nil {
			t.Fatalf("%d to %d: accepted for another newer root", from, to)
		}
	}
	if _, err := ConsistencyProof(t.Context(), view, 5, 4); err == nil {
		t.Error("a proof that a tree grew smaller")
	}
}

// wrongPaths are the ways in which a proof can be wrong by one hash.
func wrongPaths(path []Hash) map[string][]Hash {
	out := map[string][]Hash{"a hash too many": append(append([]Hash(nil), path...), Hash{9})}
	if len(path) == 0 {
		return out
	}
	for name, i := range map[string]int{"the first hash changed": 0, "the last hash changed": len(path) - 1} {
		bad := append([]Hash(nil), path...)
		bad[i][31] ^= 1
		out[name] = bad
	}
	out["the last hash gone"] = path[:len(path)-1]
	return out
}

// TestPartialTilesOfAnyWidth: a tile of any width, at any level, is what the judge makes of the entries.
func TestPartialTilesOfAnyWidth(t *testing.T) {
	const size = 66_000
	view, _ := memoryTree(size)
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, hashes[i])
		}
		return out, nil
	})
	for n := range int64(size) {
		more, err := tlog.StoredHashes(n, view[string(entryKey(uint64(n)))], read)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, more...)
	}
	for _, r := range []tileRef{{level: 0, n: 0, width: 256}, {level: 0, n: 0, width: 1}, {level: 0, n: 256, width: 255}, {level: 0, n: 257, width: 208},
		{level: 0, n: 257, width: 1}, {level: 1, n: 0, width: 256}, {level: 1, n: 0, width: 17}, {level: 1, n: 1, width: 1}, {level: 2, n: 0, width: 1}} {
		if !r.within(size) {
			t.Fatalf("%s is not within %d", r.path(), size)
		}
		got, err := readResource(t.Context(), view, r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.ReadTileData(tlog.Tile{H: 8, L: int(r.level), N: int64(r.n), W: r.width}, read)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the judge's", r.path())
		}
	}
	for _, r := range []tileRef{{level: 0, n: 257, width: 209}, {level: 1, n: 1, width: 2}, {level: 2, n: 0, width: 2}, {level: 3, n: 0, width: 1}, {level: 0, n: 258, width: 1}} {
		if r.within(size) {
			t.Errorf("%s is within %d", r.path(), size)
		}
	}
}

// readCounter counts the records that are read through it.
type readCounter struct {
	View
	records int
}

func (c *readCounter) Get(ctx context.Context, key []byte) ([]byte, error) {
	c.records++
	return c.View.Get(ctx, key)
}

func (c *readCounter) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	return c.View.Scan(ctx, prefix, from, func(key, value []byte) error {
		c.records++
		return fn(key, value)
	})
}

// TestTilesAndProofsReadLittle: the cost of an answer does not grow with the log. A tile or bundle reads
// one record for each hash or entry, and one more to see that there is no full tile or no further entry;
// a proof reads a tile for each hash, and the right edge.
func TestTilesAndProofsReadLittle(t *testing.T) {
	view, _ := memoryTree(66_000)
	for _, r := range []tileRef{{width: 256}, {n: 3, width: 9}, {n: 257, width: 208}, {level: 1, n: 0, width: 256}, {level: 1, n: 1, width: 1},
		{entries: true, n: 0, width: 256}, {entries: true, n: 257, width: 208}} {
		c := &readCounter{View: view}
		if _, err := readResource(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
		if c.records > tileWidth+1 {
			t.Errorf("%s reads %d records", r.path(), c.records)
		}
	}
	for _, size := range []uint64{1_000, 65_800, 66_000} {
		c := &readCounter{View: view}
		if _, err := InclusionProof(t.Context(), c, 7, size); err != nil {
			t.Fatal(err)
		}
		if _, err := ConsistencyProof(t.Context(), c, 333, size); err != nil {
			t.Fatal(err)
		}
		if c.records > 2*3*tileWidth {
			t.Errorf("two proofs at size %d read %d records", size, c.records)
		}
	}
}

// TestTilePathsAreThoseOfTheSpecification holds names against C2SP tlog-tiles and against the judge's.
func TestTilePathsAreThoseOfTheSpecification(t *testing.T) {
	for want, r := range map[string]tileRef{
		"tile/0/x001/x234/067":       {n: 1234067, width: 256},
		"tile/0/x001/x234/067.p/1":   {n: 1234067, width: 1},
		"tile/1/000.p/255":           {level: 1, width: 255},
		"tile/entries/x001/000":      {entries: true, n: 1000, width: 256},
		"tile/entries/999.p/10":      {entries: true, n: 999, width: 10},
		"tile/7/x036/x028/x797/018":  {level: 7, n: 36_028_797_018, width: 256},
		"tile/entries/x001/x000/000": {entries: true, n: 1_000_000, width: 256},
	} {
		if got := r.path(); got != want {
			t.Errorf("%+v is called %s, not %s", r, got, want)
		}
		if got, err := parseTilePath(want); err != nil || got != r {
			t.Errorf("%s reads as %+v, %v", want, got, err)
		}
	}
	for _, bad := range badTilePaths {
		if r, err := parseTilePath(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, r)
		}
	}
}

var badTilePaths = []string{"", "tile", "tile/", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/001", "tile/0/001/002", "tile/0/x001",
	"tile/00/001", "tile/+1/001", "tile/-1/001", "tile/8/000", "tile/99999999999999999999/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/",
	"tile/0/000.p/1/2", "tile/0/000.p", "tile/0/../entries/000", "tile/0//000", "tile//000", "tile/entries/x9/000", "tile/entries/x+01/000", "tile/0/00a", "tile/0/000 ", "tile/0/000%2Ep/1",
	"tile/0/x999/x999/x999/x999/x999/x999/x999/999", "tile/data/000", "Tile/0/000", "tile/0/000/", "/tile/0/000"}

func FuzzTilePath(f *testing.F) {
	f.Add("tile/0/x001/x234/067.p/17")
	f.Add("tile/entries/000")
	for _, b := range badTilePaths {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, p string) {
		r, err := parseTilePath(p)
		if err != nil {
			return
		}
		if r.path() != p {
			t.Fatalf("%q reads as the tile that is called %q", p, r.path())
		}
		if r.level > maxTileLevel || r.width < 1 || r.width > tileWidth || r.entries && r.level != 0 {
			t.Fatalf("%q reads as %+v", p, r)
		}
		if r.n > 0 && r.within(r.n) {
			t.Fatalf("%q is within a tree of %d entries", p, r.n)
		}
	})
}

func FuzzEntryBundle(f *testing.F) {
	view, _ := memoryTree(3)
	good, err := readBundle(f.Context(), view, 0, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, 3)
	f.Add(good[:len(good)-1], 3)
	f.Add([]byte{0, 0}, 1)
	f.Add([]byte{255, 255, 1}, 1)
	f.Fuzz(func(t *testing.T, b []byte, width int) {
		if width < 1 || width > tileWidth {
			return
		}
		es, err := parseBundle(b, width)
		if err != nil {
			return
		}
		m := memoryView{}
		for i, e := range es {
			m[string(entryKey(uint64(i)))] = e
		}
		if again, err := readBundle(t.Context(), m, 0, width); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("a bundle that reads does not write the same (%v)", err)
		}
	})
}

func FuzzConsistency(f *testing.F) {
	view, roots := memoryTree(40)
	for _, p := range [][2]uint64{{1, 40}, {7, 13}, {8, 16}, {16, 40}, {39, 40}} {
		path, err := ConsistencyProof(f.Context(), view, p[0], p[1])
		if err != nil {
			f.Fatal(err)
		}
		var flat []byte
		for _, h := range path {
			flat = append(flat, h[:]...)
		}
		f.Add(p[0], p[1], flat)
	}
	f.Fuzz(func(t *testing.T, from, to uint64, flat []byte) {
		var path []Hash
		for ; len(flat) >= 32; flat = flat[32:] {
			path = append(path, Hash(flat))
		}
		if from > 40 || to > 40 {
			if VerifyConsistency(from, to, path, Hash{1}, Hash{2}) == nil {
				t.Fatal("roots of nothing are consistent")
			}
			return
		}
		got := VerifyConsistency(from, to, path, roots[from], roots[to]) == nil
		want := false
		if from <= to {
			honest, err := ConsistencyProof(t.Context(), view, from, to)
			want = err == nil && fmt.Sprint(honest) == fmt.Sprint(path)
		}
		if got != want {
			t.Fatalf("%d to %d: accepted %v, honest %v", from, to, got, want)
		}
	})
}
