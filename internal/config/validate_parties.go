package config

import (
	"regexp"
	"slices"
	"strings"
)

var idShapes = map[string]*regexp.Regexp{
	"ec":     regexp.MustCompile(`^ec:[0-9]{11}$`),
	"broker": regexp.MustCompile(`^broker:[0-9]{11}$`),
	"psp":    regexp.MustCompile(`^psp:[A-Za-z0-9][A-Za-z0-9._-]{0,34}$`), // idPSP: at most 35 characters
	"node":   regexp.MustCompile(`^node:[a-z0-9][a-z0-9-]{0,31}$`),
}

const idFix = "must be ec: or broker: and 11 digits, psp: and at most 35 letters, digits, . _ -, or node:pagopa"

// idPrefix is the part of an id before the colon, "" when the id has no good shape.
func idPrefix(id string) string {
	prefix, _, _ := strings.Cut(id, ":")
	if shape, ok := idShapes[prefix]; ok && shape.MatchString(id) {
		return prefix
	}
	return ""
}

func (v *validator) participants() {
	ids, pins := make(map[string]string), make(map[string]string)
	nodes := 0
	for i, p := range v.config.Participants {
		at := index("participants", i)
		v.require(at+".id", p.ID, "for example ec:77777777777")
		prefix := idPrefix(p.ID)
		if p.ID != "" && prefix == "" {
			v.add(at+".id", idFix)
		}
		v.unique(at+".id", p.ID, ids, "one legal person stands once, with all its certificates")
		if prefix == "node" {
			nodes++
		}
		v.roles(at, p, prefix)
		for j, certificate := range p.Certificates {
			v.certificate(index(at+".certificates", j), certificate, pins)
		}
		v.ends(at+".stations", p.Stations)
		v.ends(at+".channels", p.Channels)
		if !p.ValidUntil.IsZero() && !p.ValidUntil.After(p.ValidFrom) {
			v.add(at+".valid_until", "must be later than valid_from")
		}
	}
	if nodes != 1 {
		v.add("participants", "must hold exactly one node: it is the other side of every route (write - id: node:pagopa)")
	}
}

func (v *validator) roles(at string, p Participant, prefix string) {
	for j, role := range p.Roles {
		field := index(at+".roles", j)
		switch {
		case role != "ec" && role != "psp" && role != "node":
			v.add(field, "must be ec, psp or node")
		case prefix == "broker" && role == "node", prefix != "" && prefix != "broker" && role != prefix:
			v.add(field, "does not fit the id: "+prefix+" ids have other roles (leave roles out to have the right ones)")
		case slices.Contains(p.Roles[:j], role):
			v.add(field, "stands twice: keep one")
		}
	}
	if prefix == "broker" && len(p.SpeaksFor) == 0 {
		v.add(at+".speaks_for", "is required for a broker (list the ids for which it carries messages)")
	}
	for j, id := range p.SpeaksFor {
		field := index(at+".speaks_for", j)
		switch role := idPrefix(id); {
		case role != "ec" && role != "psp":
			v.add(field, "must be an ec: or psp: id")
		case !slices.Contains(p.Roles, role):
			v.add(field, "is a "+role+", which is not among the roles of "+printable(p.ID)+" (add the role, or take the id away)")
		case slices.Contains(p.SpeaksFor[:j], id):
			v.add(field, "stands twice: keep one")
		case !v.declared(id):
			v.add(field, "is not among participants: declare it there, also when it has no certificate of its own")
		}
	}
}

func (v *validator) declared(id string) bool {
	return slices.ContainsFunc(v.config.Participants, func(p Participant) bool { return p.ID == id })
}

var digestShape = regexp.MustCompile(`^[0-9a-f]{64}$`)

// certificate checks one pin. A certificate that identified two participants would let one speak as the other.
func (v *validator) certificate(at string, c Certificate, pins map[string]string) {
	const why = "one certificate must not identify two participants, nor stand twice"
	switch {
	case c.SHA256 != "" && c.Subject == "" && c.SAN == "" && c.Issuer == "":
		v.match(at+".sha256", c.SHA256, digestShape, "must be 64 hex digits (openssl x509 -in FILE -noout -fingerprint -sha256)")
		v.unique(at+".sha256", c.SHA256, pins, why)
	case c.SHA256 == "" && c.Issuer != "" && (c.Subject == "") != (c.SAN == ""):
		// The fields are length-prefixed by their names, so that no two different pins meet in one text.
		v.unique(at, "subject="+c.Subject+"\x00san="+c.SAN+"\x00issuer="+c.Issuer, pins, why)
	default:
		v.add(at, "must be either sha256, or issuer together with one of subject and san")
	}
}

// ends checks names of stations or channels.
func (v *validator) ends(field string, names []string) {
	for i, name := range names {
		at := index(field, i)
		if len(name) > 35 || strings.ContainsAny(name, " \t") {
			v.add(at, "must be at most 35 characters without spaces (for example 77777777777_01)")
		}
		if slices.Contains(names[:i], name) {
			v.add(at, "stands twice: keep one")
		}
	}
}

// principal checks that a field names a declared participant of the role; "" is either of ec and psp.
func (v *validator) principal(field, id, role string) {
	if id == "" {
		v.add(field, "is required (write the id of the EC or PSP, for example ec:77777777777)")
		return
	}
	prefix := idPrefix(id)
	switch {
	case prefix != "ec" && prefix != "psp":
		v.add(field, "must be an ec: or psp: id")
	case role != "" && prefix != role:
		v.add(field, "must begin with "+role+": as the route's direction says")
	case !v.declared(id):
		v.add(field, "is not among participants: declare it there, also when it has no certificate of its own")
	}
}
