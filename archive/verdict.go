package archive

import (
	"cmp"
	"fmt"
	"slices"

	"sigillo/internal/exchange"
)

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

// add files a finding. A hostile package cannot make more than maxFindings of them; the rest is counted.
func (v *verifier) add(f exchange.Finding) {
	v.Add(f)
	if len(v.Findings) > maxFindings {
		v.Findings = v.Findings[:maxFindings]
		v.Counts["findings_left_off"]++
	}
}

const maxFindings = 10000

func (v *verifier) broken(check, format string, args ...any) {
	v.add(exchange.Finding{Check: check, Severity: exchange.Broken, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) brokenEntry(check string, n uint64, format string, args ...any) {
	v.add(exchange.Finding{Check: check, Severity: exchange.Broken, Entry: &n, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) unsure(check, format string, args ...any) {
	v.add(exchange.Finding{Check: check, Severity: exchange.Indeterminate, Detail: fmt.Sprintf(format, args...)})
}

func (v *verifier) note(check, format string, args ...any) {
	v.add(exchange.Finding{Check: check, Severity: exchange.Remark, Detail: fmt.Sprintf(format, args...)})
}

// conclude puts what decides the verdict first.
func (v *verifier) conclude() {
	rank := map[string]int{exchange.Broken: 0, exchange.Indeterminate: 1, exchange.Remark: 2}
	slices.SortStableFunc(v.Findings, func(a, b exchange.Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	if v.Verdict.Verdict == exchange.Broken {
		v.Assurance = "self" // a token over what is broken assures nothing
	}
}
