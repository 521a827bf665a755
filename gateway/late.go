package gateway

import (
	"context"

	"sigillo/internal/exchange"
)

// An entry may become durable after its caller was told that it could not be put on record. The exchange
// is then closed by what really happened: the caller got another answer.

// unrecorded answers when evidence was not possible: 503, without receipt, and nothing of the other side's answer.
func (x *run) unrecorded(cause error) {
	x.reason, x.cause = exchange.ReasonUnavailable, cause
	x.instead = x.s.refuse(x.soap, answers[exchange.ReasonUnavailable], exchange.ReasonUnavailable, x.id)
	close(x.given)
	x.status = x.instead.status
	_ = deliver(x.w, x.r, x.instead, x.id, "", true) // there is nothing left to record it with
}

// passed waits until entry n has come to a barrier. A signature that is late holds nothing up for good:
// the answer goes with a pending receipt. Without a quorum of witnesses nothing passes.
func (x *run) passed(n uint64, b exchange.Barrier) bool {
	if b == exchange.BarrierDurable {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), x.s.o.SigningTimeout)
	defer cancel()
	err := x.s.o.Recorder.Await(ctx, n, b)
	if err != nil && b == exchange.BarrierWitnessed {
		x.cause = err
		return false
	}
	return true
}

// unwitnessed answers 503 in the place of an answer that is on record and that no quorum has seen in time,
// and records that it was not delivered.
func (x *run) unwitnessed() {
	x.reason = exchange.ReasonUnavailable
	ours := x.s.refuse(x.soap, answers[exchange.ReasonUnavailable], exchange.ReasonUnavailable, x.id)
	rec := x.record(exchange.KindUndelivered, 0)
	rec.Reason = exchange.ReasonUnavailable
	if _, err := x.keep(rec); err != nil {
		x.unrecorded(err)
		return
	}
	x.status = ours.status
	_ = deliver(x.w, x.r, ours, x.id, "", true) // the record says that the other answer was not delivered
}

// lateRequest closes, with the answer that the caller got, an exchange whose request entry came too late.
func (x *run) lateRequest(at exchange.Recorded) {
	x.afterwards(func() exchange.Record {
		rec := x.record(exchange.KindFailure, 1, exchange.Message{Points: []exchange.Point{exchange.ResponseDelivered},
			Status: x.instead.status, Head: x.instead.head, Body: x.instead.body})
		rec.Request = &exchange.RequestRef{N: at.N, Entry: at.Entry, Body: x.request.Digest()}
		rec.Decision, rec.Reason = x.decision, exchange.ReasonUnavailable
		return rec
	})
}

// lateAnswer says that the answer which came on record too late was not the one that the caller got.
func (x *run) lateAnswer(exchange.Recorded) {
	x.afterwards(func() exchange.Record {
		rec := x.record(exchange.KindUndelivered, 0)
		rec.Reason = exchange.ReasonUnavailable
		return rec
	})
}

// afterwards makes an entry in a goroutine of its own, once the caller has its answer; Drain waits for it.
// What it cannot make is left to recovery.
func (x *run) afterwards(record func() exchange.Record) {
	x.s.late.Add(1)
	go func() {
		defer x.s.late.Done()
		<-x.given
		if _, err := x.keep(record()); err != nil {
			x.s.o.Logger.Warn("an exchange that came on record too late could not be closed", "exchange", string(x.id), "error", err.Error())
		}
	}()
}
