package policies

import (
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// pack writes files into a new folder.
func pack(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// when makes a pack of one permit and one rule with a condition, and says what it decides on q.
func when(t *testing.T, condition string, q exchange.Question) exchange.Decision {
	t.Helper()
	return load(t, pack(t, map[string]string{
		"a.cedar": `@id("all") permit (principal, action, resource);`,
		"b.cedar": `@id("rule") forbid (principal, action, resource) when { ` + condition + ` };`,
	})).Decide(q)
}

func TestForbidOverridesPermit(t *testing.T) {
	expect(t, when(t, `context.route == "ec-in"`, question()), false, "rule")
	expect(t, when(t, `context.route == "ec-out"`, question()), true, "all")
}

func TestEveryDecidingPolicyIsNamedInOrder(t *testing.T) {
	e := load(t, pack(t, map[string]string{"p.cedar": `
		@id("z") permit (principal, action, resource);
		@id("m") permit (principal, action in Sigillo::Action::"node->EC", resource);
		@id("a") permit (principal, action == Sigillo::Action::"paVerifyPaymentNotice", resource);
		@id("b") permit (principal, action == Sigillo::Action::"paGetPayment", resource);`}))
	expect(t, e.Decide(question()), true, "a", "m", "z")
}

// A custom pack may let unknown operations through, by saying so.
func TestUnknownOperationCanBePermittedExpressly(t *testing.T) {
	e := load(t, pack(t, map[string]string{"p.cedar": `
		@id("observe") permit (principal, action == Sigillo::Action::"unknown", resource) when { !context.known };`}))
	q := question()
	q.Operation, q.OperationDirection = "unknown", ""
	expect(t, e.Decide(q), true, "observe")
	expect(t, e.Decide(question()), false)
}

func TestEvaluationErrorDenies(t *testing.T) {
	q := question()
	q.Size = 1 << 62
	expect(t, when(t, `context.size + context.size + context.size > 0`, q), false, "rule", DeniedByError)
	// even when another forbid applies, the entry must show that the pack is broken
	e := load(t, pack(t, map[string]string{"p.cedar": `
		@id("broken") permit (principal, action, resource) when { context.size * 4 > 0 };
		@id("no") forbid (principal, action, resource);`}))
	expect(t, e.Decide(q), false, "broken", DeniedByError)
}

func TestIncompleteQuestionIsDenied(t *testing.T) {
	e := load(t, pack(t, map[string]string{"p.cedar": `@id("all") permit (principal, action, resource);`}))
	expect(t, e.Decide(question()), true, "all")
	for name, spoil := range map[string]func(*exchange.Question){
		"sender":    func(q *exchange.Question) { q.From.Participant = "" },
		"role":      func(q *exchange.Question) { q.From.Role = "" },
		"receiver":  func(q *exchange.Question) { q.To.Participant = "" },
		"its role":  func(q *exchange.Question) { q.To.Role = "" },
		"principal": func(q *exchange.Question) { q.Principal = "" },
		"operation": func(q *exchange.Question) { q.Operation = "" },
		"direction": func(q *exchange.Question) { q.Direction = "" },
	} {
		q := question()
		spoil(&q)
		t.Run(name, func(t *testing.T) { expect(t, e.Decide(q), false, DeniedIncomplete) })
	}
	expect(t, e.Decide(exchange.Question{}), false, DeniedIncomplete)
	q := question()
	q.To.Participant = q.From.Participant
	expect(t, e.Decide(q), false, DeniedSelf)
}

func TestWhatAPolicyCanAsk(t *testing.T) {
	q := question()
	q.Keys = exchange.Keys{
		{Name: "creditor", Value: "77777777777"}, {Name: "creditor", Value: "11111111111"}, {Name: "idPSP", Value: "TESTPSP1"},
		{Name: "idBrokerPA", Value: "12345678901"}, {Name: "idStation", Value: "12345678901_01"}, {Name: "idChannel", Value: "12345678901_02"},
		{Name: "amount", Value: "10.00"}, {Name: "amount", Value: "999999999.99"},
	}
	for _, condition := range []string{
		`context.creditors == ["11111111111", "77777777777"]`, `context.psps.contains("TESTPSP1")`,
		`context.brokers == ["12345678901"]`, `context.stations == ["12345678901_01"]`, `context.channels == ["12345678901_02"]`,
		`context.amountsReadable && context has largestAmount && context.largestAmount == decimal("999999999.99")`,
		`context.protocol == "SOAP" && context.operation == "paVerifyPaymentNotice" && context.known`,
		`context.direction == context.operationDirection && context.size == 1200`,
		`context.principal == resource && context.principal != principal`,
		`resource has via && resource.via == "broker:12345678901"`, `!(principal has via) && principal has certificate`,
		`context.hour == 10 && context.weekday == 2 && context.time == datetime("2026-11-24T09:30:00Z")`,
	} {
		if d := when(t, condition, q); d.Allow {
			t.Errorf("%s: does not hold", condition)
		}
	}
	q.Time = time.Date(2026, 7, 4, 22, 30, 0, 0, time.UTC) // Sunday 00:30 in Rome, summer time
	expect(t, when(t, `context.hour == 0 && context.weekday == 7`, q), false, "rule")
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		protocol string
		amounts  []string
		largest  string
		readable bool
	}{
		{"SOAP", nil, "", true},
		{"SOAP", []string{"0.00"}, "0.0", true},
		{"SOAP", []string{"5.10", "12.05", "7.00"}, "12.05", true},
		{"SOAP", []string{"12.05", "1e9"}, "12.05", false},
		{"SOAP", []string{"-1.00"}, "", false},
		{"SOAP", []string{"+1.00"}, "", false},
		{"SOAP", []string{".50"}, "", false},
		{"SOAP", []string{"1.5"}, "", false},
		{"SOAP", []string{"9999999999.99999"}, "", false},
		{"REST", []string{"12.05"}, "", false},
		{"REST", nil, "", true},
	} {
		largest, readable := largestAmount(c.protocol, c.amounts)
		text := ""
		if largest != nil {
			text = largest.String()
		}
		if text != c.largest || readable != c.readable {
			t.Errorf("%s %q: %q, %v; expected %q, %v", c.protocol, c.amounts, text, readable, c.largest, c.readable)
		}
	}
}

func TestDecideIsDeterministicAndConcurrent(t *testing.T) {
	e := load(t, "")
	expected := e.Decide(question())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if d := e.Decide(question()); !reflect.DeepEqual(d, expected) {
					t.Errorf("%+v, expected %+v", d, expected)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	e, q := load(b, ""), question()
	for b.Loop() {
		e.Decide(q)
	}
}
