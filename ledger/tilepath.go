package ledger

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// tileRef names a tile or an entry bundle of C2SP tlog-tiles.
type tileRef struct {
	entries bool   // an entry bundle; level is 0
	level   uint   // 0 to 7: a tree of 2^63 leaves has no higher tile
	n       uint64 // index in its level
	width   int    // 1 to 256; below 256 it is partial
}

// maxTileLevel is the highest level of which a tree of less than 2^63 leaves can have a tile.
const maxTileLevel = 7

// errTilePath says that a path is not the one canonical name of a tile.
var errTilePath = errors.New("not the path of a tile")

// path is the resource's path below the log's prefix: tile/0/x001/x234/067, tile/entries/000.p/17.
func (r tileRef) path() string {
	kind := "entries"
	if !r.entries {
		kind = strconv.Itoa(int(r.level))
	}
	index := fmt.Sprintf("%03d", r.n%1000)
	for n := r.n / 1000; n > 0; n /= 1000 {
		index = fmt.Sprintf("x%03d/%s", n%1000, index)
	}
	p := "tile/" + kind + "/" + index
	if r.width < tileWidth {
		p += ".p/" + strconv.Itoa(r.width)
	}
	return p
}

// parseTilePath reads what path writes, and nothing else.
func parseTilePath(p string) (tileRef, error) {
	r := tileRef{width: tileWidth}
	if len(p) > 64 { // the longest is tile/entries/ with an index of seven elements and a width
		return r, errTilePath
	}
	rest, ok := strings.CutPrefix(p, "tile/")
	kind, index, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return r, errTilePath
	}
	if r.entries = kind == "entries"; !r.entries {
		l, err := strconv.ParseUint(kind, 10, 8)
		if err != nil || l > maxTileLevel {
			return r, errTilePath
		}
		r.level = uint(l)
	}
	if before, w, partial := strings.Cut(index, ".p/"); partial {
		width, err := strconv.ParseUint(w, 10, 8)
		if err != nil || width == 0 {
			return r, errTilePath
		}
		index, r.width = before, int(width)
	}
	for _, part := range strings.Split(index, "/") {
		d, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 16)
		if err != nil || d > 999 || r.n > math.MaxInt64/(1000*tileWidth) {
			return r, errTilePath
		}
		r.n = r.n*1000 + d
	}
	if r.path() != p { // leading zeros, a missing x, an empty element: not the canonical name
		return r, errTilePath
	}
	return r, nil
}

// within tells whether all that r holds stands in a tree of the given size.
func (r tileRef) within(size uint64) bool {
	return r.n*tileWidth+uint64(r.width) <= size>>(8*r.level)
}
