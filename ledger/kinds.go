package ledger

import (
	"fmt"
	"slices"

	"sigillo/internal/exchange"
)

// Genesis opens a log: who it is and which keys vouch for it.
type Genesis struct {
	Origin   string       `json:"origin"`
	Format   int          `json:"format"`
	Software string       `json:"software"`
	Custody  string       `json:"custody"` // "vault", or "file": a demonstration, not evidence
	Keys     []PublicKey  `json:"keys"`
	Previous *PreviousLog `json:"previous,omitempty"` // after an accepted rollback: the log before
}

// PublicKey is a key that vouches for the log.
type PublicKey struct {
	Use  string `json:"use"`  // checkpoint or receipt
	Alg  string `json:"alg"`  // Ed25519 or ES256
	KID  string `json:"kid"`  // RFC 7638 thumbprint
	SPKI []byte `json:"spki"` // SubjectPublicKeyInfo, DER, base64
}

// PreviousLog is the log that a log goes on for after an accepted rollback.
type PreviousLog struct {
	Origin     string  `json:"origin"`
	Survived   LogHead `json:"survived"`   // what was left of it
	Lost       LogHead `json:"lost"`       // the newest that its anchors vouch for
	Acceptance Hash    `json:"acceptance"` // SHA-256 of the record of who accepted it and why
}

// LogHead is a log at one size.
type LogHead struct {
	Size uint64 `json:"size"`
	Root Hash   `json:"root"`
}

// Export says that a range of an own chain left as a conservation package.
type Export struct {
	Package   string `json:"package"`
	First     uint64 `json:"first"` // own.k of the first entry
	Last      uint64 `json:"last"`
	Exchanges int    `json:"exchanges"`
	Index     Hash   `json:"index"` // SHA-256 of PIndex.xml
	Seal      Hash   `json:"seal"`  // SHA-256 of PIndex.xml.p7m
}

// Acceptance is a conservatore's word on a package; the report received is sealed content.
type Acceptance struct {
	Package string `json:"package"`
	Seal    Hash   `json:"seal"`
	Outcome string `json:"outcome"` // accepted or refused
}

// Erasure says that the content of one exchange's messages can no longer be opened.
type Erasure struct {
	Class      string `json:"class"`
	Month      string `json:"month"`      // class-month, UTC, YYYY-MM
	Generation int    `json:"generation"` // first generation of the class keys that lacks the messages
	Ground     string `json:"ground"`     // authority, subject or retention
	Messages   []int  `json:"messages"`
}

// Disposal says that a class-month's keys were destroyed.
type Disposal struct {
	Class     string `json:"class"`
	Month     string `json:"month"`
	Exchanges int    `json:"exchanges"`
}

// Renewal says that the evidence of packages was renewed.
type Renewal struct {
	Packages int    `json:"packages"`
	Record   Hash   `json:"record"` // SHA-256 over the digests of the evidence records, in order
	Method   string `json:"method"` // timestamp or hashtree
}

// Refusals counts the callers of one minute that could not be identified; nothing of theirs is kept.
type Refusals struct {
	From   Time          `json:"from"`
	To     Time          `json:"to"`
	Counts []ReasonCount `json:"counts"` // sorted by reason
}

// ReasonCount is one line of Refusals.
type ReasonCount struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// DeliveryUnknown is the range of entries of which nobody knows whether their answer arrived.
type DeliveryUnknown struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Timestamp is an RFC 3161 token over a checkpoint; query and reply stand beside the checkpoint.
type Timestamp struct {
	Size       uint64 `json:"size"`
	Root       Hash   `json:"root"`
	Checkpoint Hash   `json:"checkpoint"` // SHA-256 of the signed note: the token's imprint
	Reply      Hash   `json:"reply"`      // SHA-256 of the authority's answer
	Authority  Hash   `json:"authority"`  // SHA-256 of the authority's certificate
	Time       Time   `json:"time"`       // genTime
}

// Configuration is a change of what the gateway obeys.
type Configuration struct {
	Subject string `json:"subject"` // configuration, policies, participants, certificates, keys or members
	Before  Hash   `json:"before"`  // zeros where there was nothing
	After   Hash   `json:"after"`
}

// Access says that somebody read sealed content.
type Access struct {
	Operation string `json:"operation"` // show, search, export, journal, subject, verify
	Exchanges int    `json:"exchanges"`
	Messages  int    `json:"messages"`
}

// Verification is the result of a check.
type Verification struct {
	Scope     string `json:"scope"` // full or since
	Size      uint64 `json:"size"`
	Root      Hash   `json:"root"`
	Verdict   string `json:"verdict"`
	Assurance string `json:"assurance"`
	Findings  int    `json:"findings"`
}

// Notice is something that an auditor must know; Code is of a fixed list.
type Notice struct {
	Code  string `json:"code"`
	Value int64  `json:"value"` // clock-step: milliseconds; salvage: entries; else 0
}

// noticeCodes is the fixed list of Notice.Code.
var noticeCodes = map[string]bool{
	"clock-step": true, "salvage": true, "rollback-accepted": true, "fail-open-begin": true, "fail-open-end": true,
	"maintenance-begin": true, "maintenance-end": true, "cluster": true,
}

// kindRule says which of the shared keys a kind must (true) or may (present, false) have; the detail
// object of the kind's own name is checked apart.
type kindRule struct {
	log      bool // stands in the log's own chain
	exchange bool // names an exchange
	must     []string
	may      []string
	detail   bool
}

var kindRules = map[exchange.Kind]kindRule{
	exchange.KindRequest:     {exchange: true, must: []string{"route", "operation", "from", "to", "messages", "decision"}, may: []string{"same_as"}},
	exchange.KindResponse:    {exchange: true, must: []string{"request", "route", "operation", "from", "to", "messages", "outcome", "decision"}, may: []string{"same_as"}},
	exchange.KindRefusal:     {exchange: true, must: []string{"from", "messages", "reason"}, may: []string{"route", "operation", "to", "decision", "same_as"}},
	exchange.KindFailure:     {exchange: true, must: []string{"request", "route", "operation", "from", "to", "reason"}, may: []string{"messages", "decision", "outcome"}},
	exchange.KindUndelivered: {exchange: true, must: []string{"request", "reason"}, may: []string{"route", "operation", "from", "to"}},
	KindRecovery:             {exchange: true, must: []string{"request", "reason"}},
	KindExport:               {must: []string{"by"}, detail: true},
	KindAcceptance:           {must: []string{"by", "messages"}, detail: true},
	KindErasure:              {exchange: true, must: []string{"by", "messages"}, detail: true},
	KindDisposal:             {must: []string{"by", "messages"}, detail: true},
	KindRenewal:              {must: []string{"by"}, detail: true},
	KindGenesis:              {log: true, detail: true},
	KindRefusals:             {log: true, detail: true},
	KindDeliveryUnknown:      {log: true, detail: true},
	KindTimestamp:            {log: true, detail: true},
	KindConfiguration:        {log: true, must: []string{"by"}, detail: true},
	KindAccess:               {log: true, must: []string{"by"}, may: []string{"messages"}, detail: true},
	KindVerification:         {log: true, must: []string{"by"}, detail: true},
	KindNotice:               {log: true, detail: true},
}

// tailKeys are the shared keys and detailKinds the kinds with an object of their own, in the order in which
// check and checkDetail look at them.
var (
	tailKeys    = [...]string{"request", "same_as", "route", "operation", "from", "to", "by", "messages", "outcome", "decision", "reason"}
	detailKinds = [...]exchange.Kind{KindGenesis, KindExport, KindAcceptance, KindErasure, KindDisposal, KindRenewal, KindRefusals, KindDeliveryUnknown,
		KindTimestamp, KindConfiguration, KindAccess, KindVerification, KindNotice}
)

// check holds a tail against the rule of its kind.
func (t *Tail) check() error {
	rule, ok := kindRules[t.Kind]
	if !ok {
		return fmt.Errorf("entry of kind %q: %w", t.Kind, ErrUnknown)
	}
	if t.Node == "" {
		return fmt.Errorf("%s entry: node is missing", t.Kind)
	}
	// Content is kept under an exchange id, so an entry with messages has one whatever its kind.
	if (rule.exchange || len(t.Messages) > 0) != (t.Exchange != "") {
		return fmt.Errorf("%s entry: exchange must be given exactly where the kind names one", t.Kind)
	}
	for i, has := range [...]bool{t.Request != nil, t.SameAs != nil, t.Route != "", t.Operation != "", t.From != nil, t.To != nil, t.By != nil,
		len(t.Messages) > 0, t.Outcome != nil, t.Decision != nil, t.Reason != ""} {
		switch k := tailKeys[i]; {
		case !has && slices.Contains(rule.must, k):
			return fmt.Errorf("%s entry: %s is missing", t.Kind, k)
		case has && !slices.Contains(rule.must, k) && !slices.Contains(rule.may, k):
			return fmt.Errorf("%s entry: %s does not belong to this kind", t.Kind, k)
		}
	}
	return t.checkDetail(rule)
}

func (t *Tail) checkDetail(rule kindRule) error {
	for i, has := range [...]bool{t.Genesis != nil, t.Export != nil, t.Acceptance != nil, t.Erasure != nil, t.Disposal != nil, t.Renewal != nil,
		t.Refusals != nil, t.DeliveryUnknown != nil, t.Timestamp != nil, t.Configuration != nil, t.Access != nil, t.Verification != nil, t.Notice != nil} {
		if kind := detailKinds[i]; has != (rule.detail && kind == t.Kind) {
			return fmt.Errorf("%s entry: the object %q must stand there exactly when it is the kind", t.Kind, kind)
		}
	}
	if t.Notice != nil && !noticeCodes[t.Notice.Code] {
		return fmt.Errorf("notice entry: code %q: %w", t.Notice.Code, ErrUnknown)
	}
	return nil
}
