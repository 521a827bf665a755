package gateway

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"sigillo/internal/exchange"
)

// TestLateEntriesAreClosedByWhatHappened: an entry that becomes durable after its caller got 503 is followed
// by one that says so, and the exchange is closed once.
func TestLateEntriesAreClosedByWhatHappened(t *testing.T) {
	for _, c := range []struct {
		late exchange.Kind
		want []exchange.Kind
	}{
		{exchange.KindRequest, []exchange.Kind{exchange.KindRequest, exchange.KindFailure}},
		{exchange.KindResponse, []exchange.Kind{exchange.KindRequest, exchange.KindResponse, exchange.KindUndelivered}},
	} {
		forwarded := false
		g := newRig(t, func(w http.ResponseWriter, r *http.Request) {
			forwarded = true
			_, _ = io.WriteString(w, "<ok/>")
		}, func(_ *Options, m *memory) {
			m.refuse, m.late = map[exchange.Kind]error{c.late: errors.New("too slow")}, true
		})
		resp, body := g.ask(t, "", nil)
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("late %s: the caller got %s", c.late, resp.Status)
		}
		g.late.Wait()
		kept := g.memory.records()
		if len(kept) != len(c.want) {
			t.Fatalf("late %s: %d records, %v", c.late, len(kept), kept)
		}
		for i, k := range c.want {
			if kept[i].Kind != k || kept[i].Exchange != kept[0].Exchange {
				t.Errorf("late %s: record %d is a %s", c.late, i, kept[i].Kind)
			}
		}
		last := kept[len(kept)-1]
		if last.Request == nil || last.Request.N != 1 || last.Reason != exchange.ReasonUnavailable {
			t.Errorf("late %s: the closing record names request %v for reason %s", c.late, last.Request, last.Reason)
		}
		if c.late == exchange.KindRequest && (forwarded || len(last.Messages) != 1 || string(last.Messages[0].Body) != body) {
			t.Errorf("the failure does not hold the caller's answer, or the request went on (%t)", forwarded)
		}
	}
}
