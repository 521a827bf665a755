package archive

import (
	"cmp"
	"fmt"
	"slices"
)

// The verdicts (docs/formats.md, section 10).
const (
	Intact        = "intact"
	Broken        = "broken"
	Indeterminate = "indeterminate" // something outside the package was missing to tell
)

// Severities of findings: a broken or indeterminate finding decides the verdict, a note does not.
const (
	SeverityBroken        = Broken
	SeverityIndeterminate = Indeterminate
	SeverityNote          = "note"
)

// Finding is one negative result.
type Finding struct {
	Check    string  `json:"check"` // one of the Check constants, or the seal verifier's own
	Severity string  `json:"severity"`
	Entry    *uint64 `json:"entry,omitempty"` // number in the log, where the finding is about one entry
	Detail   string  `json:"detail"`
}

// The checks, in the order in which Verify makes them.
const (
	CheckLayout        = "layout"          // file names, kinds, sizes; files that must be there
	CheckBag           = "bag"             // BagIt declaration and bag-info
	CheckTagManifest   = "tag-manifest"    // tagmanifest-sha256.txt
	CheckManifest      = "manifest"        // manifest-sha256.txt, both ways
	CheckIndex         = "index"           // PIndex.xml against the manifest, both ways
	CheckArchiveStamp  = "archive-stamp"   // evidence/0001.tsr
	CheckSeal          = "seal"            // PIndex.xml.p7m
	CheckSealedIndex   = "sealed-index"    // what was sealed is PIndex.xml
	CheckEntry         = "entry"           // an entry can be read
	CheckOwnChain      = "own-chain"       // k gapless, prev links, the range that the index states
	CheckCommitment    = "commitment"      // head, body and salt make the commitment
	CheckCompleteness  = "completeness"    // no content left out, none that no entry names
	CheckExchange      = "exchange"        // exchange.json says what entries and files say
	CheckCheckpoint    = "checkpoint"      // signature, origin, size
	CheckInclusion     = "inclusion"       // each entry is in the tree of checkpoint.after
	CheckCheckpointTSA = "checkpoint-time" // token over checkpoint.after
	CheckPrevious      = "previous"        // link to the package before
	CheckMetadata      = "metadata"        // hashes in the metadata are those of the files; well-formed
	CheckSchema        = "schema"          // XML valid under its schema
)

// Verdict is what Verify says about a package.
type Verdict struct {
	Verdict   string         `json:"verdict"`
	Assurance string         `json:"assurance"` // "self" or "timestamped(size, time)"
	Findings  []Finding      `json:"findings"`
	Counts    map[string]int `json:"counts"`

	decided map[string]bool // severities that occurred
}

func newVerdict() *Verdict {
	return &Verdict{Findings: []Finding{}, Counts: map[string]int{}, Assurance: "self", decided: map[string]bool{}}
}

// add files a finding. A hostile package cannot make more than maxFindings of them; the rest is counted.
func (v *Verdict) add(f Finding) {
	v.decided[f.Severity] = true
	if len(v.Findings) >= maxFindings {
		v.Counts["findings_left_off"]++
		return
	}
	v.Findings = append(v.Findings, f)
}

const maxFindings = 10000

func (v *Verdict) broken(check, format string, args ...any) {
	v.add(Finding{Check: check, Severity: SeverityBroken, Detail: fmt.Sprintf(format, args...)})
}

func (v *Verdict) brokenEntry(check string, n uint64, format string, args ...any) {
	v.add(Finding{Check: check, Severity: SeverityBroken, Entry: &n, Detail: fmt.Sprintf(format, args...)})
}

func (v *Verdict) unsure(check, format string, args ...any) {
	v.add(Finding{Check: check, Severity: SeverityIndeterminate, Detail: fmt.Sprintf(format, args...)})
}

func (v *Verdict) note(check, format string, args ...any) {
	v.add(Finding{Check: check, Severity: SeverityNote, Detail: fmt.Sprintf(format, args...)})
}

// conclude draws the verdict from the findings.
func (v *Verdict) conclude() {
	rank := map[string]int{SeverityBroken: 0, SeverityIndeterminate: 1, SeverityNote: 2}
	slices.SortStableFunc(v.Findings, func(a, b Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	switch {
	case v.decided[SeverityBroken]:
		v.Verdict, v.Assurance = Broken, "self" // a token over what is broken assures nothing
	case v.decided[SeverityIndeterminate]:
		v.Verdict = Indeterminate
	default:
		v.Verdict = Intact
	}
}
