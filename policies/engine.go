package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cedar-policy/cedar-go"

	"sigillo/internal/exchange"
)

// Ids under which a denial stands that no policy decided.
const (
	// DeniedByError says that a policy could not be evaluated; the ids of such policies stand beside it.
	// A policy that cannot be evaluated may be a forbid, so nothing passes until it is mended.
	DeniedByError = reserved + "evaluation-error"
	// DeniedIncomplete says that the question lacked operation, direction, principal, or a party's id or role.
	DeniedIncomplete = reserved + "incomplete-question"
	// DeniedSelf says that both parties were one participant: it has one set of attributes, which cannot
	// describe both sides.
	DeniedSelf = reserved + "same-participant"
)

// Engine is one pack of policies in force. It never changes, so any number of goroutines may use it;
// a reload loads another.
type Engine struct {
	rules  rules
	digest string
	rome   *time.Location
}

type rule struct {
	id     cedar.PolicyID
	policy *cedar.Policy
}

// rules is sorted by id: the order of evaluation is fixed, so that equal questions take equal ways.
type rules []rule

// All makes rules a cedar.PolicyIterator.
func (r rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, x := range r {
			if !yield(x.id, x.policy) {
				return
			}
		}
	}
}

// Digest is the lower-case hex SHA-256 of the pack (64 characters), as the package comment defines it.
func (e *Engine) Digest() string { return e.digest }

// Decide answers whether the exchange may pass. The answer depends on the pack and the question only.
//
// Policies holds the sorted ids of what decided: every forbid that applied; else every permit that
// applied; nothing, when no policy applied and the denial is the default. A denial that no policy decided
// holds DeniedByError, DeniedIncomplete or DeniedSelf.
func (e *Engine) Decide(q exchange.Question) exchange.Decision {
	decision := exchange.Decision{Policies: []string{}, Pack: e.digest}
	switch {
	case incomplete(q):
		decision.Policies = []string{DeniedIncomplete}
		return decision
	case q.From.Participant == q.To.Participant:
		decision.Policies = []string{DeniedSelf}
		return decision
	}
	request, entities := e.translate(q)
	verdict, found := cedar.Authorize(e.rules, entities, request)
	if len(found.Errors) > 0 {
		decision.Policies = append(decision.Policies, DeniedByError)
		for _, x := range found.Errors {
			decision.Policies = append(decision.Policies, string(x.PolicyID))
		}
	} else {
		decision.Allow = verdict == cedar.Allow
		for _, x := range found.Reasons {
			decision.Policies = append(decision.Policies, string(x.PolicyID))
		}
	}
	slices.Sort(decision.Policies)
	return decision
}

func incomplete(q exchange.Question) bool {
	return q.From.Participant == "" || q.From.Role == "" || q.To.Participant == "" || q.To.Role == "" ||
		q.Principal == "" || q.Operation == "" || q.Direction == ""
}

// digest covers the files as sha256sum would list them, see the package comment.
func digest(files []file) string {
	list := sha256.New()
	for _, f := range files {
		fmt.Fprintf(list, "%x  %s\n", sha256.Sum256(f.content), f.name)
	}
	return hex.EncodeToString(list.Sum(nil))
}
