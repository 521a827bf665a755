package policies

import (
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"

	"sigillo/internal/exchange"
)

const (
	participantType cedar.EntityType = "Sigillo::Participant"
	actionType      cedar.EntityType = "Sigillo::Action"
)

// translate turns a question into the request and the entities that schema.cedarschema declares.
func (e *Engine) translate(q exchange.Question) (cedar.Request, cedar.EntityMap) {
	from, to := participant(q.From), participant(q.To)
	known := q.Operation != "unknown" && q.OperationDirection != ""
	action := cedar.Entity{UID: cedar.NewEntityUID(actionType, cedar.String(q.Operation))}
	if known {
		// Only a known operation is in a group: what a policy permits by direction never covers an unknown one.
		action.Parents = cedar.NewEntityUIDSet(cedar.NewEntityUID(actionType, cedar.String(q.OperationDirection)))
	}
	local := q.Time.In(e.rome)
	context := cedar.RecordMap{
		"route":              cedar.String(q.Route),
		"direction":          cedar.String(q.Direction),
		"protocol":           cedar.String(q.Protocol),
		"operation":          cedar.String(q.Operation),
		"known":              cedar.Boolean(known),
		"operationDirection": cedar.String(q.OperationDirection),
		"principal":          cedar.NewEntityUID(participantType, cedar.String(q.Principal)),
		"size":               cedar.Long(q.Size),
		"time":               cedar.NewDatetime(q.Time),
		"hour":               cedar.Long(local.Hour()),
		"weekday":            cedar.Long(isoWeekday(local)),
		"creditors":          named(q.Keys, "creditor"),
		"psps":               named(q.Keys, "idPSP"),
		"brokers":            named(q.Keys, "idBrokerPA", "idBrokerPSP"),
		"stations":           named(q.Keys, "idStation"),
		"channels":           named(q.Keys, "idChannel"),
	}
	largest, readable := largestAmount(q.Protocol, q.Keys.All("amount"))
	context["amountsReadable"] = cedar.Boolean(readable)
	if largest != nil {
		context["largestAmount"] = *largest
	}
	request := cedar.Request{
		Principal: from.UID,
		Action:    action.UID,
		Resource:  to.UID,
		Context:   cedar.NewRecord(context),
	}
	return request, cedar.EntityMap{from.UID: from, to.UID: to, action.UID: action}
}

func participant(p exchange.Party) cedar.Entity {
	attributes := cedar.RecordMap{"role": cedar.String(p.Role)}
	if p.Via != "" {
		attributes["via"] = cedar.String(p.Via)
	}
	if p.Cert != "" {
		attributes["certificate"] = cedar.String(p.Cert)
	}
	return cedar.Entity{
		UID:        cedar.NewEntityUID(participantType, cedar.String(p.Participant)),
		Attributes: cedar.NewRecord(attributes),
	}
}

// named collects the values of the keys of those names.
func named(keys exchange.Keys, names ...string) cedar.Set {
	var values []cedar.Value
	for _, name := range names {
		for _, v := range keys.All(name) {
			values = append(values, cedar.String(v))
		}
	}
	return cedar.NewSet(values...)
}

func isoWeekday(t time.Time) int {
	if t.Weekday() == time.Sunday {
		return 7
	}
	return int(t.Weekday())
}

// largestAmount reads amounts as the SOAP schemas write them, \d+\.\d{2} euro up to 999999999.99.
// The REST interfaces disagree on the unit (euro in FdR v3, cents in GPD and carts): nothing is guessed there.
func largestAmount(protocol string, amounts []string) (*cedar.Decimal, bool) {
	if len(amounts) == 0 {
		return nil, true
	}
	if protocol != "SOAP" {
		return nil, false
	}
	largest, readable := int64(-1), true
	for _, a := range amounts {
		cents, ok := parseCents(a)
		readable = readable && ok
		if ok {
			largest = max(largest, cents)
		}
	}
	if largest < 0 {
		return nil, false
	}
	d, err := cedar.NewDecimal(largest, -2)
	if err != nil {
		return nil, false
	}
	return &d, readable
}

// parseCents reads a decimal with exactly two places, at most 12 characters, without sign or spaces.
func parseCents(s string) (int64, bool) {
	whole, places, found := strings.Cut(s, ".")
	if !found || len(places) != 2 || whole == "" || len(s) > 12 {
		return 0, false
	}
	cents, err := strconv.ParseUint(whole+places, 10, 63)
	return int64(cents), err == nil
}
