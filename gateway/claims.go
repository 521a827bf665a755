package gateway

import (
	"slices"

	"sigillo/internal/exchange"
)

// claim is on whose behalf an exchange is, once the identities in the message agree with caller and route.
type claim struct {
	principal string
	from, to  exchange.Party
	reason    exchange.Reason // why they do not agree; "" when they do
}

// claims holds the identities that a message names against the caller and the route. Outbound, the EC or
// PSP named must be one that the caller may speak for; inbound, one that the route serves. The first
// identity of its kind in the message decides: a receipt names several creditors. A claim that was
// refused never chooses the chain.
func claims(r *boundRoute, c caller, keys exchange.Keys) claim {
	fromRole, toRole := r.Direction.roles()
	out := claim{principal: r.Principal}
	self := exchange.Party{Participant: c.ID, Role: fromRole, Cert: c.chain.Fingerprint}
	switch r.Direction {
	case NodeToEC, NodeToPSP:
		out.from = self
		if named := principalIn(toRole, keys); named != "" {
			if !slices.Contains(r.Serves, named) {
				out.to, out.reason = exchange.Party{Participant: r.Principal, Role: toRole}, exchange.ReasonNotServed
				return out
			}
			out.principal = named
		}
		out.to = exchange.Party{Participant: out.principal, Role: toRole}
		return out
	}
	out.from, out.to = self, exchange.Party{Participant: r.Node, Role: toRole}
	named := principalIn(fromRole, keys)
	if named == "" {
		named = r.Principal
	}
	if !c.MaySpeakFor(named) || !mayUse(c, fromRole, keys) {
		out.reason = exchange.ReasonClaim
		return out
	}
	if !slices.Contains(r.Serves, named) {
		out.reason = exchange.ReasonNotServed
		return out
	}
	out.principal, out.from.Participant = named, named
	if named != c.ID {
		out.from.Via = c.ID
	}
	return out
}

// principalIn is the EC or PSP that a message names, as a participant's id; "" where it names none.
func principalIn(role string, keys exchange.Keys) string {
	if role == "ec" {
		if v := keys.First("creditor"); v != "" {
			return "ec:" + v
		}
		return ""
	}
	if v := keys.First("idPSP"); v != "" {
		return "psp:" + v
	}
	return ""
}

// mayUse checks the caller's own side of the message: broker, and station or channel where any are registered.
func mayUse(c caller, role string, keys exchange.Keys) bool {
	broker, point, registered := "idBrokerPA", "idStation", c.Stations
	if role == "psp" {
		broker, point, registered = "idBrokerPSP", "idChannel", c.Channels
	}
	for _, b := range keys.All(broker) {
		// An EC or a PSP may be its own broker.
		if !c.MaySpeakFor("broker:"+b) && c.ID != role+":"+b {
			return false
		}
	}
	for _, p := range keys.All(point) {
		if len(registered) > 0 && !slices.Contains(registered, p) {
			return false
		}
	}
	return true
}
