package exchange

import (
	"fmt"
	"strings"
)

// Words of a verdict (docs/formats.md, section 10).
const (
	Intact        = "intact"
	Broken        = "broken"
	Indeterminate = "indeterminate" // could not check: neither "false" nor "true"
	Remark        = "remark"        // severity only: worth knowing, changes no verdict
)

// Finding is one thing that a verifier has to say. Detail names no content and no person.
type Finding struct {
	Check    string  `json:"check"`
	Severity string  `json:"severity"` // broken, indeterminate or remark
	Entry    *uint64 `json:"entry,omitempty"`
	Detail   string  `json:"detail"`
}

// Verdict is what a verifier says: all findings, never only the first. Not safe for concurrent use.
type Verdict struct {
	Verdict   string           `json:"verdict"`
	Assurance string           `json:"assurance"` // how far the verdict reaches beyond the operator's own word
	Findings  []Finding        `json:"findings"`
	Counts    map[string]int64 `json:"counts"`
}

// NewVerdict is an intact verdict on the operator's own word.
func NewVerdict() *Verdict {
	return &Verdict{Verdict: Intact, Assurance: "self", Findings: []Finding{}, Counts: map[string]int64{}}
}

// Add takes a finding and lowers the verdict as it asks: broken outweighs indeterminate.
func (v *Verdict) Add(f Finding) {
	v.Findings = append(v.Findings, f)
	switch {
	case f.Severity == Broken:
		v.Verdict = Broken
	case f.Severity == Indeterminate && v.Verdict == Intact:
		v.Verdict = Indeterminate
	}
}

// Entryf adds a finding about one entry.
func (v *Verdict) Entryf(check, severity string, entry uint64, format string, a ...any) {
	v.Add(Finding{Check: check, Severity: severity, Entry: &entry, Detail: fmt.Sprintf(format, a...)})
}

// Addf adds a finding about the whole.
func (v *Verdict) Addf(check, severity, format string, a ...any) {
	v.Add(Finding{Check: check, Severity: severity, Detail: fmt.Sprintf(format, a...)})
}

// String is the finding as one line of text.
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-13s %-12s ", f.Severity, f.Check)
	if f.Entry != nil {
		fmt.Fprintf(&b, "entry %d: ", *f.Entry)
	}
	b.WriteString(f.Detail)
	return b.String()
}
