package ledger

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"sigillo/internal/exchange"
)

// TestTailWriterAgreesWithJSON: the quick writer of tails makes the bytes of encoding/json or declines.
func TestTailWriterAgreesWithJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	texts := []string{"", "a", "ec:77777777777", "<&>", "è", "tab\t", `"q"`, `b\`, "\u2028", "\x7f", "paGetPaymentV2"}
	strange := 0 // of how many texts one may need an escape
	pick := func() string {
		if r.IntN(strange) == 0 {
			return texts[r.IntN(len(texts))]
		}
		return "psp:ABI12345"
	}
	number := func() *uint64 {
		if r.IntN(2) == 0 {
			return nil
		}
		n := r.Uint64()
		return &n
	}
	kinds := []exchange.Kind{exchange.KindRequest, exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure, exchange.KindUndelivered, KindNotice}
	quick := 0
	for i := range 20000 {
		strange = 1 + 60*(i%2)
		tail := Tail{Kind: kinds[r.IntN(len(kinds))], Node: pick(), Exchange: exchange.ID(pick()), Request: number(), SameAs: number(), Route: pick(), Operation: pick(), Reason: pick()}
		if r.IntN(2) == 0 {
			tail.From = &exchange.Party{Participant: pick(), Via: pick(), Role: pick(), Cert: pick(), Revocation: pick()}
		}
		for range r.IntN(3) {
			m := MessageRef{I: r.IntN(9), Status: r.IntN(600), Size: r.Int64(), Cut: r.IntN(2) == 0}
			for range r.IntN(3) {
				m.Points = append(m.Points, exchange.Point(pick()))
			}
			tail.Messages = append(tail.Messages, m)
		}
		if r.IntN(2) == 0 {
			tail.Outcome = &exchange.Outcome{Code: pick(), Fault: pick()}
		}
		if r.IntN(2) == 0 {
			tail.Decision = &exchange.Decision{Allow: r.IntN(2) == 0, Pack: pick()}
			for range r.IntN(3) {
				tail.Decision.Policies = append(tail.Decision.Policies, pick())
			}
		}
		if r.IntN(9) == 0 {
			tail.By = &Actor{Role: pick()}
		}
		want, err := encodeJSON(&tail)
		if err != nil {
			t.Fatal(err)
		}
		got, plain := appendTail([]byte("{"), &tail)
		if !plain {
			continue
		}
		quick++
		if !bytes.Equal(got, want) {
			t.Fatalf("quick:\n%s\njson:\n%s", got, want)
		}
	}
	if quick < 500 {
		t.Fatalf("only %d of 20000 tails were written quickly", quick)
	}
}
