package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// tamperedView is a log with some records changed, removed or added, in memory.
type tamperedView struct {
	View
	changed map[string][]byte // nil: removed
}

func (v tamperedView) Get(ctx context.Context, key []byte) ([]byte, error) {
	if b, ok := v.changed[string(key)]; ok {
		if b == nil {
			return nil, ErrNotFound
		}
		return b, nil
	}
	return v.View.Get(ctx, key)
}

func (v tamperedView) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	added := slices.Sorted(maps.Keys(v.changed))
	upTo := func(key []byte) error {
		for len(added) > 0 && (key == nil || added[0] <= string(key)) {
			k := added[0]
			added = added[1:]
			if b := v.changed[k]; b != nil && strings.HasPrefix(k, string(prefix)) && k >= string(from) {
				if err := fn([]byte(k), b); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := v.View.Scan(ctx, prefix, from, func(key, value []byte) error {
		if err := upTo(key); err != nil {
			return err
		}
		if _, ok := v.changed[string(key)]; ok {
			return nil
		}
		return fn(key, value)
	})
	if err != nil {
		return err
	}
	return upTo(nil)
}

// lines are the findings of a verdict in one order, those of some checks left out.
func lines(v *exchange.Verdict, without ...string) (out []string) {
	for _, f := range v.Findings {
		if !slices.Contains(without, f.Check) {
			out = append(out, f.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestStretchesFindWhatOneWalkFinds tampers with a log at random, and holds what the stretches find
// against what one walk over the log finds: the same findings, at the same entries.
func TestStretchesFindWhatOneWalkFinds(t *testing.T) {
	k := newSeedKeys(61)
	const size = 1700 // six stretches of 256 and a part, tiles of two levels' worth left open
	dir := makeLog(t, k, size, 40, 61)
	l, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	clean, store := l.View, records(t, l.View)
	kinds := map[string]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		changed := map[string][]byte{}
		for range 1 + r.IntN(4) {
			kinds[tamper(r, store, changed, size)]++
		}
		l.View = tamperedView{clean, changed}
		o := VerifyOptions{SkipContent: true, CheckpointKey: k.checkpoint.Public().(ed25519.PublicKey), width: 256, workers: 3}
		want, err := oracleVerify(t.Context(), l, o, o.CheckpointKey)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(t.Context(), l, o)
		if err != nil {
			t.Fatal(err)
		}
		// The walk looks neither at derived tables and upper tiles, nor at the tree right of a lost entry.
		w, g := lines(want, "custody"), lines(got, "custody", "index")
		if missing := without(w, g); len(missing) > 0 || got.Verdict == exchange.Intact && want.Verdict != exchange.Intact {
			t.Errorf("seed %d, %v\none walk finds\n%s\nthe stretches do not; they find\n%s", seed, slices.Collect(maps.Keys(changed)), strings.Join(missing, "\n"), strings.Join(g, "\n"))
		}
		for _, f := range without(g, w) {
			if !strings.Contains(f, "tile ") && !strings.Contains(f, "checkpoint") && !strings.Contains(f, "above the head") && !strings.Contains(f, "root that the head names") {
				t.Errorf("seed %d: only the stretches find %s", seed, f)
			}
		}
	}
	t.Log(kinds)
}

func without(all, some []string) (out []string) {
	for _, x := range all {
		if !slices.Contains(some, x) {
			out = append(out, x)
		}
	}
	return out
}

// tamper changes one thing of a log, often beside the end of a stretch.
func tamper(r *rand.Rand, store, changed map[string][]byte, size int) string {
	n := uint64(r.IntN(size))
	if r.IntN(2) == 0 {
		n = min(uint64(r.IntN(size/256+1)*256+r.IntN(4))-min(2, n), uint64(size-1))
	}
	key := string(entryKey(n))
	b := bytes.Clone(store[key])
	replace := func(old, new string) {
		b = bytes.Replace(b, []byte(old), []byte(new), 1)
		changed[key] = b
	}
	pick := func(table byte) string {
		var all []string
		for k := range store {
			if k[0] == table {
				all = append(all, k)
			}
		}
		slices.Sort(all)
		return all[r.IntN(len(all))]
	}
	switch what := r.IntN(14); what {
	case 0:
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		changed[key] = b
		return "a flipped bit"
	case 1:
		changed[key] = nil
		return "a removed entry"
	case 2:
		for i := range uint64(r.IntN(600)) {
			changed[string(entryKey(n+i))] = nil
		}
		return "a removed range"
	case 3:
		changed[key] = store[string(entryKey(uint64(r.IntN(size))))]
		return "another entry in its place"
	case 4:
		replace(`"v":1`, `"v":2`)
		return "an unknown version"
	case 5:
		replace(`"kind":"response"`, `"kind":"failure"`)
		return "another kind"
	case 6:
		replace(`"time":"2026-11-01`, `"time":"2026-10-01`)
		return "an older time"
	case 7:
		replace(`"k":`, `"k":1`)
		return "another place"
	case 8:
		changed[pick(tableTile)] = nil
		return "a removed tile"
	case 9:
		k := pick(tableTile)
		tile := bytes.Clone(store[k])
		tile[r.IntN(len(tile))] ^= 1
		changed[k] = tile
		return "a changed tile"
	case 10:
		k := pick(tableNote)
		changed[k] = bytes.Replace(store[k], []byte(fmt.Sprintf("\n%d\n", binary.BigEndian.Uint64([]byte(k[1:])))), []byte("\n7\n"), 1)
		return "a changed checkpoint"
	case 11:
		changed[pick(tableNote)] = store[pick(tableNote)]
		return "another checkpoint in its place"
	case 12:
		if at := bytes.Index(b, []byte(`,"request":`)); at > 0 {
			b[at+len(`,"request":`)] = '1' + byte(r.IntN(9))
			changed[key] = b
		}
		return "another request"
	}
	if at := bytes.Index(b, []byte(`"exchange":"`)); at > 0 {
		other := store[string(entryKey(uint64(r.IntN(size))))]
		if from := bytes.Index(other, []byte(`"exchange":"`)); from > 0 {
			copy(b[at:at+48], other[from:])
			changed[key] = b
		}
	}
	return "another exchange's id"
}
