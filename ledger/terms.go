package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// The business keys of an entry are kept sealed, so that the keyed index can be made anew: under another
// key after an erasure, or all of it by 'sigillo index rebuild'. They are no evidence: the messages are.

// termsKey is where the keys of an exchange's entry of one kind stand. The entry's number is not known
// when they are sealed, and an exchange has one entry of a kind.
func termsKey(x uuid.UUID, kind exchange.Kind) []byte {
	return append(exchangeTableKey(tableTerms, x), kind...)
}

// maxTermKeys bounds how many business keys of one entry are indexed.
const maxTermKeys = 4096

// sealTerms seals the keys that are indexed.
func sealTerms(origin string, x uuid.UUID, kind exchange.Kind, keys exchange.Keys, ck *classKey) (kv, error) {
	w := tailWriter{b: make([]byte, 0, 256), plain: true}
	for i, k := range keys {
		if i == 0 {
			w.raw(`[[`)
		} else {
			w.raw(`],[`)
		}
		w.text("", k.Name)
		w.text(",", k.Value)
	}
	w.raw(`]]`)
	plain := w.b
	if !w.plain { // a value needs an escape
		list := make([][2]string, 0, len(keys))
		for _, k := range keys {
			list = append(list, [2]string{k.Name, k.Value})
		}
		var err error
		if plain, err = json.Marshal(list); err != nil {
			return kv{}, err
		}
	}
	b, err := termsPlace(kind).seal(origin, x, plain, ck)
	if err != nil {
		return kv{}, fmt.Errorf("sealing index terms: %w", err)
	}
	return kv{termsKey(x, kind), b}, nil
}

// openTerms opens what sealTerms sealed.
func openTerms(ctx context.Context, o *opener, origin string, x uuid.UUID, kind exchange.Kind, b []byte) (exchange.Keys, error) {
	plain, err := termsPlace(kind).open(ctx, o, origin, x, b)
	if err != nil {
		return nil, err
	}
	var list [][2]string
	if err := json.Unmarshal(plain, &list); err != nil || len(list) > maxTermKeys {
		return nil, errors.New("sealed index terms are malformed")
	}
	keys := make(exchange.Keys, 0, len(list))
	for _, k := range list {
		keys = append(keys, exchange.Key{Name: k[0], Value: k[1]})
	}
	return keys, nil
}

// indexed keeps the keys that the index holds.
func indexed(keys exchange.Keys) exchange.Keys {
	var out exchange.Keys
	for _, k := range keys {
		if k.Value != "" && len(k.Value) <= maxTerm && len(out) < maxTermKeys {
			out = append(out, k)
		}
	}
	return out
}
