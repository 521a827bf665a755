package ledger

import (
	"strconv"

	"sigillo/internal/exchange"
)

// appendTail writes the tail of an exchange's entry as encoding/json writes it: same keys, same order, same
// bytes (a test holds the one against the other). It is what most entries are, and each costs a signature's
// worth of time with reflection. plain is false where a value needs an escape or a kind has more to say.
func appendTail(b []byte, t *Tail) (out []byte, plain bool) {
	switch t.Kind {
	case exchange.KindRequest, exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure, exchange.KindUndelivered:
	default:
		return nil, false
	}
	if t.By != nil {
		return nil, false
	}
	w := tailWriter{b: b, plain: true}
	w.text(`"kind":`, string(t.Kind))
	w.text(`,"node":`, t.Node)
	w.optional(`,"exchange":`, string(t.Exchange))
	w.number(`,"request":`, t.Request)
	w.number(`,"same_as":`, t.SameAs)
	w.optional(`,"route":`, t.Route)
	w.optional(`,"operation":`, t.Operation)
	w.party(`,"from":{`, t.From)
	w.party(`,"to":{`, t.To)
	w.messages(t.Messages)
	if t.Outcome != nil {
		w.text(`,"outcome":{"code":`, t.Outcome.Code)
		w.optional(`,"fault":`, t.Outcome.Fault)
		w.raw(`}`)
	}
	if t.Decision != nil {
		w.raw(`,"decision":{"allow":`)
		w.b = strconv.AppendBool(w.b, t.Decision.Allow)
		w.raw(`,"policies":[`)
		for i, p := range t.Decision.Policies {
			w.text(comma(i), p)
		}
		w.text(`],"pack":`, t.Decision.Pack)
		w.raw(`}`)
	}
	w.optional(`,"reason":`, t.Reason)
	w.raw(`}`)
	return w.b, w.plain && (t.Decision == nil || t.Decision.Policies != nil)
}

type tailWriter struct {
	b     []byte
	plain bool
}

func comma(i int) string {
	if i > 0 {
		return ","
	}
	return ""
}

func (w *tailWriter) raw(s string) { w.b = append(w.b, s...) }

// text writes a string that needs no escape.
func (w *tailWriter) text(key, s string) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			w.plain = false
			return
		}
	}
	w.b = append(append(append(append(w.b, key...), '"'), s...), '"')
}

func (w *tailWriter) optional(key, s string) {
	if s != "" {
		w.text(key, s)
	}
}

func (w *tailWriter) number(key string, n *uint64) {
	if n != nil {
		w.raw(key)
		w.b = strconv.AppendUint(w.b, *n, 10)
	}
}

func (w *tailWriter) party(key string, p *exchange.Party) {
	if p == nil {
		return
	}
	w.raw(key)
	w.text(`"participant":`, p.Participant)
	w.optional(`,"via":`, p.Via)
	w.text(`,"role":`, p.Role)
	w.optional(`,"cert":`, p.Cert)
	w.optional(`,"revocation":`, p.Revocation)
	w.raw(`}`)
}

func (w *tailWriter) messages(refs []MessageRef) {
	if len(refs) == 0 {
		return
	}
	w.raw(`,"messages":[`)
	for i, m := range refs {
		w.raw(comma(i))
		w.raw(`{"i":`)
		w.b = strconv.AppendInt(w.b, int64(m.I), 10)
		w.raw(`,"points":[`)
		for j, p := range m.Points {
			w.text(comma(j), string(p))
		}
		w.raw(`]`)
		if m.Status != 0 {
			w.raw(`,"status":`)
			w.b = strconv.AppendInt(w.b, int64(m.Status), 10)
		}
		w.raw(`,"size":`)
		w.b = strconv.AppendInt(w.b, m.Size, 10)
		w.raw(`,"commitment":"`)
		w.b = appendHex(w.b, m.Commitment)
		w.raw(`"`)
		if m.Cut {
			w.raw(`,"cut":true`)
		}
		w.raw(`}`)
		if m.Points == nil {
			w.plain = false // null, where there should be a list
		}
	}
	w.raw(`]`)
}
