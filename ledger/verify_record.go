package ledger

import (
	"context"
	"fmt"

	"sigillo/internal/exchange"
)

// Scopes of a verification entry. ScopeSince names the trusted checkpoint by nothing but the verdict that
// was printed; content left out is said in the scope, so that nobody takes it for looked at.
const (
	ScopeFull           = "full"
	ScopeSince          = "since"
	scopeWithoutContent = "-without-content"
	ScopeFullNoContent  = ScopeFull + scopeWithoutContent
	ScopeSinceNoContent = ScopeSince + scopeWithoutContent
)

// VerificationOf is the entry that says what a verification of l found.
func VerificationOf(l *Log, o VerifyOptions, v *exchange.Verdict) Verification {
	scope := ScopeFull
	if o.Since != nil {
		scope = ScopeSince
	}
	if o.SkipContent || o.Keys == nil {
		scope += scopeWithoutContent
	}
	return Verification{Scope: scope, Size: l.Head.Size, Root: l.Head.Root, Verdict: v.Verdict, Assurance: v.Assurance, Findings: int(v.Counts["findings"])}
}

// check refuses what is no verification of a log of the given size.
func (v Verification) check(size uint64) error {
	switch v.Scope {
	case ScopeFull, ScopeSince, ScopeFullNoContent, ScopeSinceNoContent:
	default:
		return fmt.Errorf("verification entry: scope %.40q", v.Scope)
	}
	switch v.Verdict {
	case exchange.Intact, exchange.Broken, exchange.Indeterminate:
	default:
		return fmt.Errorf("verification entry: verdict %.40q", v.Verdict)
	}
	if v.Size == 0 || v.Size > size || v.Findings < 0 || len(v.Assurance) == 0 || len(v.Assurance) > 1024 {
		return fmt.Errorf("verification entry: size %d, findings %d or assurance out of bounds", v.Size, v.Findings)
	}
	return nil
}

// Verified records the result of a check of this log.
func (l *Ledger) Verified(ctx context.Context, by Actor, v Verification) error {
	if err := v.check(l.Size()); err != nil {
		return err
	}
	_, err := l.appendLog(ctx, LogChain, Tail{Kind: KindVerification, By: &by, Verification: &v})
	return err
}

// Verified asks for a verification entry.
func (r *Remote) Verified(ctx context.Context, by Actor, v Verification) error {
	return r.append(ctx, appendRequest{Own: LogChain, By: by, Verification: &v})
}
