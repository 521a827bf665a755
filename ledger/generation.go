package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"sigillo/internal/exchange"
)

// classMonthID names a retention class in one UTC month: what class keys belong to.
type classMonthID struct {
	class string
	month string // YYYY-MM
}

func (id classMonthID) String() string { return id.class + "/" + id.month }

// firstGeneration is that of a class-month in which nothing was erased.
const firstGeneration = 1

// generationRecord is the state of a class-month's keys, stored when it is no longer the first generation
// without more. It is written by the sequencer together with the entry that causes it.
type generationRecord struct {
	Generation int      `json:"generation"`
	Erasing    *erasing `json:"erasing,omitempty"`   // begun: old generations are not destroyed yet
	Disposing  bool     `json:"disposing,omitempty"` // begun: the keys may be there still
	Disposed   bool     `json:"disposed,omitempty"`
}

// erasing is what an erasure that has begun leaves out when it wraps keys anew.
type erasing struct {
	Exchange exchange.ID     `json:"exchange"`
	Messages []int           `json:"messages"`
	Kinds    []exchange.Kind `json:"kinds"` // of the entries whose index terms go too
}

// ErrDisposed says that a class-month was disposed of: nothing can be sealed or kept in it any more.
var ErrDisposed = errors.New("the class-month was disposed of")

func generationKey(id classMonthID) []byte {
	k := append([]byte{tableGeneration}, id.class...)
	return append(append(k, 0), id.month...)
}

func readGeneration(ctx context.Context, v View, id classMonthID) (generationRecord, error) {
	g := generationRecord{Generation: firstGeneration}
	b, err := v.Get(ctx, generationKey(id))
	if errors.Is(err, ErrNotFound) {
		return g, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err == nil && g.Generation < firstGeneration {
		err = fmt.Errorf("generation %d", g.Generation)
	}
	if err != nil {
		return g, fmt.Errorf("reading the generation of class-month %s: %w", id, err)
	}
	return g, nil
}

// write is the record as the sequencer commits it.
func (g generationRecord) write(id classMonthID) (kv, error) {
	b, err := json.Marshal(g)
	return kv{generationKey(id), b}, err
}

// classKeyParts is the name of a transit key, taken apart.
type classKeyParts struct {
	classMonthID
	purpose    classPurpose
	generation int
}

var classKeyPattern = regexp.MustCompile(`^(r-)?[0-9a-f]{16}-(.+)-([0-9]{4}-[0-9]{2})-g([1-9][0-9]{0,8})$`)

func parseClassKeyName(name string) (classKeyParts, bool) {
	m := classKeyPattern.FindStringSubmatch(name)
	if m == nil {
		return classKeyParts{}, false
	}
	g, err := strconv.Atoi(m[4])
	return classKeyParts{classMonthID{m[2], m[3]}, classPurpose(m[1] != ""), g}, err == nil
}

// parseMonth reads YYYY-MM and gives the month's first instant (UTC).
func parseMonth(month string) (time.Time, error) {
	t, err := time.Parse("2006-01", month)
	if err != nil || t.Format("2006-01") != month {
		return time.Time{}, fmt.Errorf("month %q: YYYY-MM", month)
	}
	return t, nil
}

// monthKeys are the data keys and transit keys that the store knows of one class-month.
type monthKeys struct {
	ids   map[classKeyID]classKeyParts
	names map[string]classKeyParts
}

// newest is the highest generation that was ever used; 0 when none was.
func (m monthKeys) newest() int {
	n := 0
	for _, p := range m.names {
		n = max(n, p.generation)
	}
	return n
}

// before keeps what is of generations below g.
func (m monthKeys) before(g int) monthKeys {
	old := monthKeys{map[classKeyID]classKeyParts{}, map[string]classKeyParts{}}
	for id, p := range m.ids {
		if p.generation < g {
			old.ids[id] = p
		}
	}
	for name, p := range m.names {
		if p.generation < g {
			old.names[name] = p
		}
	}
	return old
}

// readMonthKeys scans the data keys: one for each process start and transit key, so they are few.
func readMonthKeys(ctx context.Context, v View, id classMonthID) (monthKeys, error) {
	m := monthKeys{map[classKeyID]classKeyParts{}, map[string]classKeyParts{}}
	err := v.Scan(ctx, []byte{tableClassKey}, nil, func(key, value []byte) error {
		var r classKeyRecord
		if err := json.Unmarshal(value, &r); err != nil || len(key) != 17 {
			return fmt.Errorf("data key record %x is malformed", key[1:])
		}
		if p, ok := parseClassKeyName(r.Name); ok && p.classMonthID == id {
			m.ids[classKeyID(key[1:])], m.names[r.Name] = p, p
		}
		return nil
	})
	return m, err
}

// Unfinished are the class-months in which an erasure or a disposal has begun and its keys are perhaps
// not destroyed yet, as "class/YYYY-MM": the verb, given again, ends it.
func (l *Log) Unfinished(ctx context.Context) ([]string, error) {
	var out []string
	err := l.Scan(ctx, []byte{tableGeneration}, nil, func(key, value []byte) error {
		var g generationRecord
		if err := json.Unmarshal(value, &g); err != nil {
			return fmt.Errorf("generation record %q: %w", key[1:], err)
		}
		if g.Erasing != nil || g.Disposing {
			for i, c := range key {
				if c == 0 {
					out = append(out, string(key[1:i])+"/"+string(key[i+1:]))
				}
			}
		}
		return nil
	})
	return out, err
}
