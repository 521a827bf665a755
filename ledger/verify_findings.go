package ledger

import (
	"context"
	"fmt"
	"strings"

	"sigillo/internal/exchange"
)

// maxFindings is how many findings of one check are listed; of the rest the number is said. A ledger
// with a million faults must not fill the memory of whoever looks.
const maxFindings = 10000

// findings collects what a verification has to say.
type findings struct {
	list   []exchange.Finding
	counts map[string]int64
	said   map[string]*saidOf // by check and severity
	order  []string

	assurance string
}

// saidOf counts the findings of one check and severity.
type saidOf struct {
	Check, Severity string
	N               int64
	First           *uint64 `json:",omitempty"` // entry of the first that is not listed
}

func newFindings() *findings {
	return &findings{counts: map[string]int64{}, said: map[string]*saidOf{}, assurance: "self"}
}

func (f *findings) add(x exchange.Finding) {
	key := x.Check + " " + x.Severity
	s := f.said[key]
	if s == nil {
		s = &saidOf{Check: x.Check, Severity: x.Severity}
		f.said[key], f.order = s, append(f.order, key)
	}
	if s.N++; s.N <= maxFindings {
		f.list = append(f.list, x)
	} else if s.First == nil {
		s.First = x.Entry
	}
}

func (f *findings) total() (n int64) {
	for _, s := range f.said {
		n += s.N
	}
	return n
}

func (f *findings) verdict() *exchange.Verdict {
	out := exchange.NewVerdict()
	for _, x := range f.list {
		out.Add(x)
	}
	unlisted := int64(0)
	for _, key := range f.order {
		if s := f.said[key]; s.N > maxFindings {
			unlisted += s.N - maxFindings
			out.Add(exchange.Finding{Check: s.Check, Severity: s.Severity, Entry: s.First,
				Detail: fmt.Sprintf("from here on %d further findings of this check are counted, not listed", s.N-maxFindings)})
		}
	}
	f.counts["findings"] = f.total()
	if unlisted > 0 {
		f.counts["findings_not_listed"] = unlisted
	}
	out.Counts, out.Assurance = f.counts, f.assurance
	return out
}

// sayScope says what was not looked at although a full verification would.
func (v *verifier) sayScope() {
	if v.log.Partial() {
		v.addf("scope", exchange.Remark, "a remote log: entries, tree and newest checkpoint were verified; content, receipts and tokens were not looked at")
	}
	if v.opts.Since != nil {
		v.out.counts["since"] = int64(v.before.Size)
		v.addf("scope", exchange.Remark, "since the checkpoint of size %d: entries before it were taken on its word, entry %d is the first that was read", v.before.Size, v.since)
	}
}

// assure says how far the verdict reaches beyond the operator's own word, the strongest first
// (formats.md 10): witnesses saw the tree, an authority dated it, an anchor kept it.
func (v *verifier) assure(ctx context.Context) error {
	var words []string
	if v.cosign.Size > 0 {
		words = append(words, fmt.Sprintf("witnessed(%d, %d of %d)", v.cosign.Size, v.cosign.Have, v.cosign.Of))
	}
	if v.stamp.Size > 0 {
		words = append(words, fmt.Sprintf("timestamped(%d, %s)", v.stamp.Size, v.stamp.Time.UTC().Format(timeLayout)))
	}
	if v.opts.Anchored != nil {
		found, word := v.opts.Anchored(ctx, v.log)
		if err := ctx.Err(); err != nil {
			return err
		}
		for _, f := range found {
			v.out.add(f)
		}
		if word != "" && word != "self" {
			words = append(words, word)
		}
	}
	if len(words) > 0 {
		v.out.assurance = strings.Join(words, ", ")
	}
	return nil
}
