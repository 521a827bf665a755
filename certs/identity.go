package certs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Pin ties a certificate to a participant. Exactly one of the three forms is set:
//   - SHA256 alone: this very certificate, and it beats the other two forms;
//   - Subject and Issuer: names as `openssl x509 -nameopt RFC2253` prints them, compared byte by byte;
//   - SAN and Issuer: a DNS name (any case), URI or e-mail address of the subject alternative names.
//
// Issuer is always asked with a name: a public authority in the trust pool would otherwise let anybody in who
// can buy a certificate with that name.
type Pin struct {
	SHA256  string // 64 hex digits of the certificate's DER; colons and upper case are accepted
	Subject string
	SAN     string
	Issuer  string
}

// Participant is a legal person whose certificates this gateway knows. It is immutable once in a Registry.
type Participant struct {
	ID        string   // "ec:77777777777", "psp:ABI12345", "broker:88888888888", "node:pagopa"
	Name      string   // for people; never compared
	Roles     []string // on which sides it may call: ec, psp, node
	SpeaksFor []string // ids of further participants on whose behalf it may call, and of brokers that it is
	Stations  []string // stations that it may use; empty: not checked
	Channels  []string // channels that it may use; empty: not checked
	Pins      []Pin    // several while a certificate is being replaced
	// NotBefore and NotAfter bound the registration (both included); zero: no bound.
	NotBefore, NotAfter time.Time
}

// MayCallAs reports whether role is among the participant's.
func (p *Participant) MayCallAs(role string) bool { return slices.Contains(p.Roles, role) }

// MaySpeakFor reports whether id is the participant itself or one that it speaks for.
func (p *Participant) MaySpeakFor(id string) bool {
	return p.ID == id || slices.Contains(p.SpeaksFor, id)
}

// Registry finds the participant of a verified chain. It is immutable.
type Registry struct {
	byDigest  map[string]*Participant
	bySubject map[string]*Participant // subject NUL issuer
	bySAN     map[string]*Participant // name NUL issuer
}

var (
	participantID = regexp.MustCompile(`^(ec|psp|node|broker):[0-9A-Za-z_.-]{1,64}$`)
	roles         = []string{"ec", "psp", "node"}
)

// NewRegistry checks the participants and builds their look-up. All findings are in the error.
func NewRegistry(participants []Participant) (*Registry, error) {
	r := &Registry{byDigest: map[string]*Participant{}, bySubject: map[string]*Participant{}, bySAN: map[string]*Participant{}}
	var findings []error
	find := func(format string, args ...any) { findings = append(findings, fmt.Errorf(format, args...)) }
	seen := map[string]bool{}
	for i := range participants {
		p := participants[i]
		if !participantID.MatchString(p.ID) {
			find("participant %d: id %q: write ec:, psp:, node: or broker: and the code", i+1, p.ID)
			continue
		}
		if seen[p.ID] {
			find("participant %s stands twice", p.ID)
			continue
		}
		seen[p.ID] = true
		if len(p.Roles) == 0 {
			find("participant %s: roles is empty: name ec, psp or node", p.ID)
		}
		for _, role := range p.Roles {
			if !slices.Contains(roles, role) {
				find("participant %s: role %q: only ec, psp and node exist", p.ID, role)
			}
		}
		for _, id := range p.SpeaksFor {
			if !participantID.MatchString(id) {
				find("participant %s: speaks_for %q: write ec:, psp: or broker: and the code", p.ID, id)
			}
		}
		if !p.NotBefore.IsZero() && !p.NotAfter.IsZero() && p.NotAfter.Before(p.NotBefore) {
			find("participant %s: its registration ends before it begins", p.ID)
		}
		for j, pin := range p.Pins {
			index, key, err := r.place(pin)
			if err != nil {
				find("participant %s: pin %d: %w", p.ID, j+1, err)
				continue
			}
			if other := index[key]; other != nil && other.ID != p.ID {
				find("participant %s: pin %d identifies %s too: one certificate is one participant", p.ID, j+1, other.ID)
				continue
			}
			index[key] = &p
		}
	}
	if err := errors.Join(findings...); err != nil {
		return nil, err
	}
	return r, nil
}

// place says in which index a pin belongs, and under which key.
func (r *Registry) place(pin Pin) (map[string]*Participant, string, error) {
	switch {
	case pin.SHA256 != "":
		if pin.Subject != "" || pin.SAN != "" || pin.Issuer != "" {
			return nil, "", errors.New("sha256 stands alone: take away subject, san and issuer")
		}
		digest := strings.ToLower(strings.ReplaceAll(pin.SHA256, ":", ""))
		if raw, err := hex.DecodeString(digest); err != nil || len(raw) != 32 {
			return nil, "", errors.New("sha256 is not 64 hex digits")
		}
		return r.byDigest, digest, nil
	case (pin.Subject == "") == (pin.SAN == ""):
		return nil, "", errors.New("write sha256, or subject and issuer, or san and issuer")
	case pin.Issuer == "":
		return nil, "", errors.New("issuer is missing beside subject or san")
	case pin.Subject != "":
		return r.bySubject, pin.Subject + "\x00" + pin.Issuer, nil
	}
	return r.bySAN, sanKey(pin.SAN) + "\x00" + pin.Issuer, nil
}

// sanKey folds what is compared without regard to case: DNS names. URIs and e-mail addresses stay as they are.
func sanKey(name string) string {
	if strings.ContainsAny(name, ":@/") {
		return name
	}
	return strings.ToLower(name)
}

// Identify returns the participant of a verified chain at the given time. The error is a *Rejection: nobody is
// registered with this certificate at this time, or names of the certificate lead to different participants.
func (r *Registry) Identify(c *Chain, at time.Time) (*Participant, error) {
	found := r.byDigest[c.Fingerprint]
	if found == nil {
		var err error
		if found, err = r.byName(c); err != nil {
			return nil, err
		}
	}
	if found == nil || at.Before(found.NotBefore) || (!found.NotAfter.IsZero() && at.After(found.NotAfter)) {
		return nil, &Rejection{Reason: ReasonNotRegistered}
	}
	return found, nil
}

func (r *Registry) byName(c *Chain) (*Participant, error) {
	issuer := "\x00" + DistinguishedName(c.Leaf.RawIssuer)
	found := r.bySubject[DistinguishedName(c.Leaf.RawSubject)+issuer]
	names := slices.Concat(c.Leaf.DNSNames, c.Leaf.EmailAddresses)
	for _, u := range c.Leaf.URIs {
		names = append(names, u.String())
	}
	for _, name := range names {
		p := r.bySAN[sanKey(name)+issuer]
		if p == nil || p == found {
			continue
		}
		if found != nil && found.ID != p.ID {
			return nil, &Rejection{Reason: ReasonAmbiguousCerts}
		}
		found = p
	}
	return found, nil
}
