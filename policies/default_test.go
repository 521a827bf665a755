package policies

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"

	"sigillo/internal/exchange"
)

// operations has one or two operations of every direction in the catalogue, and none for "unknown".
var operations = map[string][]string{
	"node->EC":         {"paVerifyPaymentNotice", "paaVerificaRPT"},
	"EC->node":         {"nodoInviaRPT", "createPosition"},
	"PSP->node":        {"activatePaymentNotice", "IPspsController_createEmptyFlow"},
	"node->PSP":        {"pspNotifyPayment", "pspInviaRPT"},
	"node<->PSP":       {"RetrieveRedirectUrl"},
	"IO->node":         {"activateIOPayment"},
	"node->CD(pagoPA)": {"cdInfoWisp"},
	"":                 {"unknown", "somethingNew"},
}

var ids = map[string]string{"ec": "ec:77777777777", "psp": "psp:TESTPSP1", "node": "node:pagopa"}

func load(t testing.TB, dir string) *Engine {
	t.Helper()
	e, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// question is what the gateway asks for a good paVerifyPaymentNotice.
func question() exchange.Question {
	return exchange.Question{
		From:      exchange.Party{Participant: "node:pagopa", Role: "node", Cert: strings.Repeat("ab", 32)},
		To:        exchange.Party{Participant: "ec:77777777777", Via: "broker:12345678901", Role: "ec"},
		Principal: "ec:77777777777", Route: "ec-in", Direction: "node->EC", Protocol: "SOAP",
		Operation: "paVerifyPaymentNotice", OperationDirection: "node->EC", Size: 1200,
		Keys: exchange.Keys{{Name: "creditor", Value: "77777777777"}, {Name: "notice", Value: "302000100000009424"}},
		Time: time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC),
	}
}

func expect(t *testing.T, d exchange.Decision, allow bool, policies ...string) {
	t.Helper()
	if d.Allow != allow || !slices.Equal(d.Policies, policies) || d.Policies == nil {
		t.Fatalf("allow %v by %q, expected %v by %q", d.Allow, d.Policies, allow, policies)
	}
}

func TestDefaultPackRoleByDirection(t *testing.T) {
	e := load(t, "")
	// What the default pack permits: who asks whom, the route's direction, the operation's direction.
	type cell struct{ from, to, route, operation string }
	permitted := map[cell]string{
		{"node", "ec", "node->EC", "node->EC"}:     "node-may-call-ec",
		{"ec", "node", "EC->node", "EC->node"}:     "ec-may-call-node",
		{"psp", "node", "PSP->node", "PSP->node"}:  "psp-may-call-node",
		{"psp", "node", "PSP->node", "node<->PSP"}: "psp-may-call-node",
		{"node", "psp", "node->PSP", "node->PSP"}:  "node-may-call-psp",
		{"node", "psp", "node->PSP", "node<->PSP"}: "node-may-call-psp",
	}
	seen := 0
	for _, from := range []string{"ec", "psp", "node"} {
		for _, to := range []string{"ec", "psp", "node"} {
			for _, route := range []string{"node->EC", "EC->node", "node->PSP", "PSP->node", "node<->PSP"} {
				for direction, names := range operations {
					for _, operation := range names {
						q := question()
						q.From = exchange.Party{Participant: ids[from], Role: from}
						q.To = exchange.Party{Participant: ids[to] + "0", Role: to} // never the same legal person
						q.Direction, q.Operation, q.OperationDirection = route, operation, direction
						d := e.Decide(q)
						by := permitted[cell{from, to, route, direction}]
						if d.Allow != (by != "") || by != "" && !slices.Equal(d.Policies, []string{by}) || by == "" && len(d.Policies) != 0 {
							t.Errorf("%s -> %s, route %s, %s of %q: allow %v by %q, expected %q", from, to, route, operation, direction, d.Allow, d.Policies, by)
						}
						if d.Allow {
							seen++
						}
					}
				}
			}
		}
	}
	if seen != 10 {
		t.Errorf("%d cells permitted, expected 10", seen)
	}
}

func TestDefaultPackPassesTheStandInProbe(t *testing.T) {
	q := question()
	q.Keys = exchange.Keys{{Name: "creditor", Value: "77777777777"}, {Name: "notice", Value: "000000000000000000"}}
	expect(t, load(t, "").Decide(q), true, "node-may-call-ec")
}

func TestUnknownOperationIsDeniedEvenWithADirection(t *testing.T) {
	q := question()
	q.Operation = "unknown" // the catalogue never gives it a direction; a mistake elsewhere must not open the door
	expect(t, load(t, "").Decide(q), false)
}

// The examples in the default pack's comments are promises: they load, and they do what is said of them.
func TestExamplesInComments(t *testing.T) {
	content, err := os.ReadFile("default.cedar")
	if err != nil {
		t.Fatal(err)
	}
	e := load(t, pack(t, map[string]string{"mine.cedar": strings.ReplaceAll(string(content), "\n//|", "\n")}))
	psp := func(operation string) exchange.Question {
		q := question()
		q.From, q.To, q.Principal = exchange.Party{Participant: "psp:ABI12345", Role: "psp"}, exchange.Party{Participant: "node:pagopa", Role: "node"}, "psp:ABI12345"
		q.Direction, q.Operation, q.OperationDirection = "PSP->node", operation, "PSP->node"
		q.Keys = exchange.Keys{{Name: "idChannel", Value: "12345678901_02"}, {Name: "amount", Value: "49999.99"}}
		return q
	}
	expect(t, e.Decide(psp("activatePaymentNotice")), true, "psp-may-call-node")

	q := psp("activatePaymentNotice")
	q.Keys[1].Value = "50000.01"
	expect(t, e.Decide(q), false, "ceiling-50000")
	q.Keys[1].Value = "5e9"
	expect(t, e.Decide(q), false, "ceiling-50000")

	q = psp("activatePaymentNotice")
	q.Time = time.Date(2027, 1, 16, 21, 0, 0, 0, time.UTC)
	q.Keys[0].Value = "12345678901_03"
	expect(t, e.Decide(q), false, "channels-of-abi12345", "maintenance-2027-01-16")
	q = psp("sendPaymentOutcome")
	q.Time = time.Date(2027, 1, 16, 21, 0, 0, 0, time.UTC)
	expect(t, e.Decide(q), true, "psp-may-call-node")

	q = psp("sendPaymentOutcome")
	q.From.Participant = "psp:ABI99999"
	expect(t, e.Decide(q), false, "deny-list")
	q = question()
	q.To.Participant = "ec:99999999999"
	expect(t, e.Decide(q), false, "deny-list")
}

// directionOf returns the group of every operation in the embedded schema.
func directionOf(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(schemaName)
	if err != nil {
		t.Fatal(err)
	}
	var s schema.Schema
	if err := s.UnmarshalCedar(content); err != nil {
		t.Fatal(err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	directions := make(map[string]string)
	for uid, action := range resolved.Actions {
		if action.AppliesTo == nil {
			continue // a group
		}
		directions[string(uid.ID)] = ""
		for parent := range action.Entity.Parents.All() {
			directions[string(uid.ID)] = string(parent.ID)
		}
	}
	return directions
}

func TestSchemaHasTheOperations(t *testing.T) {
	directions := directionOf(t)
	for direction, names := range operations {
		for _, name := range names {
			if got, declared := directions[name]; name != "somethingNew" && (!declared || got != direction) {
				t.Errorf("%s: schema says %q, expected %q", name, got, direction)
			}
		}
	}
}

func TestSchemaEqualsTheCatalogue(t *testing.T) {
	f, err := os.Open(filepath.Join(shared(t), "data/pagopa/operations.tsv"))
	if err != nil {
		t.Skip("no catalogue to compare with: ", err)
	}
	defer f.Close()
	directions := directionOf(t)
	delete(directions, "unknown")
	inCatalogue := make(map[string]bool)
	lines := bufio.NewScanner(f)
	lines.Scan() // heading
	for lines.Scan() {
		columns := strings.Split(lines.Text(), "\t")
		name, direction := columns[3], columns[4]
		inCatalogue[name] = true
		if directions[name] != direction {
			t.Errorf("%s: schema says %q, catalogue %q", name, directions[name], direction)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for name := range directions {
		if !inCatalogue[name] {
			t.Errorf("%s: in the schema, not in the catalogue", name)
		}
	}
}

// shared is the folder of reference data beside the project.
func shared(t *testing.T) string {
	if dir := os.Getenv("SIGILLO_SHARED"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "shared")
}

// What Decide asks of cedar-go must fit what the schema promises to the authors of policies.
func TestQuestionsFitTheSchema(t *testing.T) {
	e := load(t, "")
	files, err := readEmbedded()
	if err != nil {
		t.Fatal(err)
	}
	validator, err := loadSchema(files)
	if err != nil {
		t.Fatal(err)
	}
	rest := question()
	rest.Protocol, rest.Keys = "REST", exchange.Keys{{Name: "amount", Value: "12"}}
	paid := question()
	paid.Keys = append(paid.Keys, exchange.Key{Name: "amount", Value: "12.00"})
	for _, q := range []exchange.Question{question(), rest, paid} {
		request, entities := e.translate(q)
		if err := validator.Request(request); err != nil {
			t.Error(err)
		}
		for uid, entity := range entities {
			if uid.Type == participantType {
				if err := validator.Entity(entity); err != nil {
					t.Error(err)
				}
			}
		}
		if _, ok := request.Context.Get("largestAmount"); ok != (len(q.Keys.All("amount")) > 0 && q.Protocol == "SOAP") {
			t.Errorf("largestAmount present: %v", ok)
		}
	}
	if request, _ := e.translate(paid); request.Action != cedar.NewEntityUID(actionType, "paVerifyPaymentNotice") {
		t.Errorf("action %v", request.Action)
	}
}
