package ledger

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// goldenTails is one tail of every kind, with every key that the kind may have.
func goldenTails() []struct {
	own  string
	tail Tail
} {
	h := func(b byte) Hash { var x Hash; copy(x[:], bytes.Repeat([]byte{b}, 32)); return x }
	n := func(v uint64) *uint64 { return &v }
	at := func(s int) Time { return At(time.Date(2026, 11, 23, 9, 30, s, 123456000, time.UTC)) }
	const ec, x = "ec:77777777777/audit-10y", exchange.ID("019a9f5e-2f10-7c3a-9d51-2f6b8e0c4a11")
	from := &exchange.Party{Participant: "psp:TESTPSP1", Via: "broker:88888888888", Role: "psp", Cert: h(0xc1).String(), Revocation: h(0xc2).String()}
	to := &exchange.Party{Participant: "ec:77777777777", Role: "ec"}
	allow := &exchange.Decision{Allow: true, Policies: []string{"node-may-call-ec"}, Pack: h(0xd1).String()}
	deny := &exchange.Decision{Allow: false, Policies: []string{}, Pack: h(0xd1).String()}
	by := &Actor{Role: "archivist", ID: h(0xb1)}
	msg := func(i int, status int, cut bool, points ...exchange.Point) MessageRef {
		return MessageRef{I: i, Points: points, Status: status, Size: 5120, Commitment: h(byte(0xa0 + i)), Cut: cut}
	}
	request := msg(0, 0, false, exchange.RequestReceived, exchange.RequestForwarded)
	return []struct {
		own  string
		tail Tail
	}{
		{LogChain, Tail{Kind: KindGenesis, Genesis: &Genesis{Origin: "sigillo.example.it/ec-77777777777/e2", Format: 1, Software: "sigillo 0.1.0", Custody: "vault",
			Keys:     []PublicKey{{Use: "checkpoint", Alg: "Ed25519", KID: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", SPKI: []byte("SubjectPublicKeyInfo")}},
			Previous: &PreviousLog{Origin: "sigillo.example.it/ec-77777777777", Survived: LogHead{Size: 41, Root: h(0x11)}, Lost: LogHead{Size: 57, Root: h(0x12)}, Acceptance: h(0x13)}}}},
		{ec, Tail{Kind: exchange.KindRequest, Exchange: x, SameAs: n(12), Route: "ec-in", Operation: "paGetPaymentV2", From: from, To: to,
			Messages: []MessageRef{request}, Decision: allow}},
		{ec, Tail{Kind: exchange.KindResponse, Exchange: x, Request: n(1), SameAs: n(13), Route: "ec-in", Operation: "paGetPaymentV2", From: from, To: to,
			Messages: []MessageRef{msg(1, 200, false, exchange.ResponseReceived, exchange.ResponseDelivered)},
			Outcome:  &exchange.Outcome{Code: "KO", Fault: "PAA_PAGAMENTO_SCADUTO"}, Decision: allow}},
		{ec, Tail{Kind: exchange.KindRefusal, Exchange: x, SameAs: n(14), Route: "ec-in", Operation: "unknown", From: from, To: to,
			Messages: []MessageRef{msg(0, 0, true, exchange.RequestReceived), msg(1, 403, false, exchange.ResponseDelivered)}, Decision: deny, Reason: "policy"}},
		{ec, Tail{Kind: exchange.KindFailure, Exchange: x, Request: n(1), Route: "ec-in", Operation: "paGetPaymentV2", From: from, To: to,
			Messages: []MessageRef{msg(1, 200, true, exchange.ResponseReceived), msg(2, 502, false, exchange.ResponseDelivered)}, Decision: allow, Reason: "upstream-broken"}},
		{ec, Tail{Kind: exchange.KindUndelivered, Exchange: x, Request: n(1), Route: "ec-in", Operation: "paGetPaymentV2", From: from, To: to, Reason: "caller-gone"}},
		{ec, Tail{Kind: KindRecovery, Exchange: x, Request: n(1), Reason: "unclean-stop"}},
		{ec, Tail{Kind: KindExport, By: by, Export: &Export{Package: "pda-77777777777-audit-10y-20261123-000001", First: 0, Last: 17, Exchanges: 9, Index: h(0x31), Seal: h(0x32)}}},
		{ec, Tail{Kind: KindAcceptance, Exchange: x, By: by, Messages: []MessageRef{msg(0, 0, false, exchange.RequestReceived)},
			Acceptance: &Acceptance{Package: "pda-77777777777-audit-10y-20261123-000001", Seal: h(0x32), Outcome: "accepted"}}},
		{ec, Tail{Kind: KindErasure, Exchange: x, By: by, Messages: []MessageRef{msg(2, 0, false, exchange.RequestReceived)},
			Erasure: &Erasure{Class: "audit-10y", Month: "2026-11", Generation: 2, Ground: "authority", Messages: []int{0, 1}}}},
		{ec, Tail{Kind: KindDisposal, Exchange: x, By: by, Messages: []MessageRef{msg(0, 0, false, exchange.RequestReceived)},
			Disposal: &Disposal{Class: "audit-10y", Month: "2016-11", Exchanges: 120000}}},
		{ec, Tail{Kind: KindRenewal, By: by, Renewal: &Renewal{Packages: 365, Record: h(0x33), Method: "timestamp"}}},
		{LogChain, Tail{Kind: KindRefusals, Refusals: &Refusals{From: at(0), To: at(59), Counts: []ReasonCount{{"no-certificate", 3}, {"unknown-participant", 1}}}}},
		{LogChain, Tail{Kind: KindDeliveryUnknown, DeliveryUnknown: &DeliveryUnknown{First: 3, Last: 9}}},
		{LogChain, Tail{Kind: KindTimestamp, Timestamp: &Timestamp{Size: 10, Root: h(0x41), Checkpoint: h(0x42), Reply: h(0x43), Authority: h(0x44), Time: at(30)}}},
		{LogChain, Tail{Kind: KindConfiguration, By: &Actor{Role: "operator", ID: h(0xb2)}, Configuration: &Configuration{Subject: "policies", Before: h(0x51), After: h(0x52)}}},
		{LogChain, Tail{Kind: KindAccess, Exchange: x, By: by, Messages: []MessageRef{msg(0, 0, false, exchange.RequestReceived)},
			Access: &Access{Operation: "show", Exchanges: 1, Messages: 2}}},
		{LogChain, Tail{Kind: KindVerification, By: by, Verification: &Verification{Scope: "full", Size: 10, Root: h(0x41), Verdict: "intact", Assurance: "self", Findings: 0}}},
		{LogChain, Tail{Kind: KindNotice, Notice: &Notice{Code: "clock-step", Value: -3600000}}},
	}
}

func goldenEntries(t *testing.T) map[string]string {
	out := map[string]string{}
	var last Hash
	own := map[string]ownState{}
	for i, g := range goldenTails() {
		g.tail.Node = "gw-1"
		tail, err := encodeTail(&g.tail)
		if err != nil {
			t.Fatal(err)
		}
		o := own[g.own]
		b := joinEntry(uint64(i), last, At(time.Date(2026, 11, 23, 9, 31, i, 0, time.UTC)), Own{P: g.own, K: o.K, Prev: o.Hash}, tail)
		last = EntryHash(b)
		own[g.own] = ownState{K: o.K + 1, Hash: last}
		out[string(g.tail.Kind)] = string(b)
	}
	return out
}

// TestGoldenEntriesStandInTheDocument: docs/formats.md shows one example of every kind, and they are
// the bytes that this code writes and reads. SIGILLO_GOLDEN=write writes them there.
func TestGoldenEntriesStandInTheDocument(t *testing.T) {
	const path = "../docs/formats.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)<!-- golden:([a-z-]+) -->\n```json\n(.*?)\n```")
	golden := goldenEntries(t)
	if len(golden) != len(kindRules) {
		t.Fatalf("%d golden kinds, %d kinds", len(golden), len(kindRules))
	}
	if os.Getenv("SIGILLO_GOLDEN") == "write" {
		doc = block.ReplaceAllFunc(doc, func(m []byte) []byte {
			kind := string(block.FindSubmatch(m)[1])
			return fmt.Appendf(nil, "<!-- golden:%s -->\n```json\n%s\n```", kind, golden[kind])
		})
		if err := os.WriteFile(path, doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, m := range block.FindAllStringSubmatch(string(doc), -1) {
		kind, text := m[1], m[2]
		seen[kind] = true
		if text != golden[kind] {
			t.Errorf("%s: the document shows\n%s\nthe code writes\n%s", kind, text, golden[kind])
		}
		e, err := DecodeEntry([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		} else if string(e.Kind) != kind {
			t.Errorf("%s: read as %s", kind, e.Kind)
		}
	}
	for kind := range kindRules {
		if !seen[string(kind)] {
			t.Errorf("docs/formats.md shows no %s entry", kind)
		}
	}
}

func TestDecodeIsStrict(t *testing.T) {
	good := goldenEntries(t)["response"]
	for what, bad := range map[string]string{
		"white space":   strings.Replace(good, `"n":2`, `"n": 2`, 1),
		"key order":     strings.Replace(good, `"route":"ec-in","operation":"paGetPaymentV2"`, `"operation":"paGetPaymentV2","route":"ec-in"`, 1),
		"twice":         strings.Replace(good, `"route":"ec-in"`, `"route":"x","route":"ec-in"`, 1),
		"number":        strings.Replace(good, `"n":2`, `"n":2.0`, 1),
		"time":          strings.Replace(good, `.000000Z`, `.000Z`, 1),
		"upper case":    strings.Replace(good, `"prev":"`, `"prev":"A`, 1),
		"escape":        strings.Replace(good, `ec-in`, `ec\u002din`, 1),
		"key's case":    strings.Replace(good, `"route"`, `"Route"`, 1),
		"trailing":      good + " ",
		"trailing json": good + "{}",
		"empty":         "",
		"null":          "null",
	} {
		if bad == good {
			t.Fatalf("%s: the mutation changes nothing", what)
		}
		if _, err := DecodeEntry([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for what, bad := range map[string]string{
		"key":     strings.Replace(good, `"kind"`, `"colour":"red","kind"`, 1),
		"kind":    strings.Replace(good, `"kind":"response"`, `"kind":"rumour"`, 1),
		"version": strings.Replace(good, `{"v":1`, `{"v":2`, 1),
	} {
		if _, err := DecodeEntry([]byte(bad)); err == nil || !strings.Contains(err.Error(), ErrUnknown.Error()) {
			t.Errorf("unknown %s: %v", what, err)
		}
	}
}

// FuzzDecodeEntry: what is accepted has one spelling only.
func FuzzDecodeEntry(f *testing.F) {
	for _, g := range goldenTails() {
		g.tail.Node = "gw-1"
		if tail, err := encodeTail(&g.tail); err == nil {
			f.Add(joinEntry(3, Hash{1}, At(time.Unix(1, 0)), Own{P: g.own}, tail))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		tail, err := encodeTail(&e.Tail)
		if err != nil {
			t.Fatal(err)
		}
		if again := joinEntry(e.N, e.Prev, e.Time, e.Own, tail); !bytes.Equal(again, b) {
			t.Fatalf("accepted %s, written %s", b, again)
		}
	})
}
