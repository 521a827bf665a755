package bench

import (
	"encoding/hex"
	"strconv"

	"sigillo/internal/exchange"
)

// appendTail writes an entry from "kind" on, byte for byte as the ledger does for a request or response of
// this workload, whose strings need no escape (a test decodes it with the ledger's own strict reader).
func appendTail(b []byte, host string, r *exchange.Record, commitments [][32]byte) []byte {
	b = text(b, `"kind":`, string(r.Kind))
	b = text(b, `,"node":`, host)
	b = text(b, `,"exchange":`, string(r.Exchange))
	if r.Request != nil {
		b = strconv.AppendUint(append(b, `,"request":`...), r.Request.N, 10)
	}
	b = text(b, `,"route":`, r.Route)
	b = text(b, `,"operation":`, r.Operation)
	b = party(b, `,"from":`, r.From)
	b = party(b, `,"to":`, r.To)
	b = append(b, `,"messages":[`...)
	for i, m := range r.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = message(b, r.FirstIndex+i, m, commitments[i])
	}
	b = append(b, ']')
	if o := r.Outcome; o != nil {
		b = append(text(b, `,"outcome":{"code":`, o.Code), '}')
	}
	if d := r.Decision; d != nil {
		b = strconv.AppendBool(append(b, `,"decision":{"allow":`...), d.Allow)
		b = append(b, `,"policies":[`...)
		for i, p := range d.Policies {
			if i > 0 {
				b = append(b, ',')
			}
			b = text(b, "", p)
		}
		b = append(text(append(b, ']'), `,"pack":`, d.Pack), '}')
	}
	return append(b, '}')
}

func message(b []byte, i int, m exchange.Message, commitment [32]byte) []byte {
	b = strconv.AppendInt(append(b, `{"i":`...), int64(i), 10)
	b = append(b, `,"points":[`...)
	for j, p := range m.Points {
		if j > 0 {
			b = append(b, ',')
		}
		b = text(b, "", string(p))
	}
	b = append(b, ']')
	if m.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(m.Status), 10)
	}
	b = strconv.AppendInt(append(b, `,"size":`...), int64(len(m.Body)), 10)
	b = hex.AppendEncode(append(b, `,"commitment":"`...), commitment[:])
	return append(b, `"}`...)
}

func party(b []byte, key string, p exchange.Party) []byte {
	b = text(append(b, key...), `{"participant":`, p.Participant)
	if p.Via != "" {
		b = text(b, `,"via":`, p.Via)
	}
	b = text(b, `,"role":`, p.Role)
	if p.Cert != "" {
		b = text(b, `,"cert":`, p.Cert)
	}
	return append(b, '}')
}

func text(b []byte, key, value string) []byte {
	b = append(append(b, key...), '"')
	return append(append(b, value...), '"')
}
