package gateway

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

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

// TestNothingPassesWithoutItsWitnesses: where a route asks for a quorum and none is had in time, the caller gets 503,
// and what is on record says that it did.
func TestNothingPassesWithoutItsWitnesses(t *testing.T) {
	for _, c := range []struct {
		change func(*Route)
		want   []exchange.Kind
	}{
		{func(r *Route) { r.RequestBarrier = exchange.BarrierWitnessed }, []exchange.Kind{exchange.KindRequest, exchange.KindFailure}},
		{func(r *Route) { r.AnswerBarrier = exchange.BarrierWitnessed }, []exchange.Kind{exchange.KindRequest, exchange.KindResponse, exchange.KindUndelivered}},
	} {
		forwarded := false
		g := newRig(t, func(w http.ResponseWriter, r *http.Request) {
			forwarded = true
			_, _ = io.WriteString(w, "<ok/>")
		}, func(o *Options, m *memory) {
			c.change(&o.Routes[0])
			o.SigningTimeout = 20 * time.Millisecond
			m.away = map[exchange.Barrier]bool{exchange.BarrierWitnessed: true}
		})
		resp, _ := g.ask(t, "", nil)
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("the caller got %s", resp.Status)
		}
		kept := g.memory.records()
		if len(kept) != len(c.want) {
			t.Fatalf("%d records, want %v", len(kept), c.want)
		}
		for i, k := range c.want {
			if kept[i].Kind != k {
				t.Errorf("record %d is a %s", i, kept[i].Kind)
			}
		}
		if went := len(c.want) == 3; forwarded != went {
			t.Errorf("the request went on: %t", forwarded)
		}
	}
}
