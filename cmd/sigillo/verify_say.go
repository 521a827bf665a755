package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

// assuranceSays is what each word of an assurance means, by the word.
var assuranceSays = map[string]string{
	"self": "all of this rests on the operator's own word: the log agrees with itself, and nobody outside vouches for any of it",
	"anchored": "an anchor kept the tree of that many entries: none of them was changed, removed or put in later,\n" +
		"    as far as the anchor is out of the reach of whoever writes the ledger",
	"timestamped": "a time-stamp authority dated the tree of that many entries: none of them was changed, removed or put in\n" +
		"    after that time",
	"witnessed": "independent witnesses saw the tree of that many entries: none of them was changed, removed or put in later,\n" +
		"    and everybody else is shown the same log",
}

// sayAssurance explains the assurance of a verdict on a log that was not found broken.
func sayAssurance(w io.Writer, v *exchange.Verdict) {
	if v.Verdict == exchange.Broken {
		return
	}
	for _, word := range strings.Split(v.Assurance, "), ") {
		name, _, _ := strings.Cut(word, "(")
		if says, known := assuranceSays[name]; known {
			fmt.Fprintf(w, "  %s: %s\n", name, says)
		}
	}
	fmt.Fprintln(w, "  That nothing was put in later is said only up to the newest anchor outside the operator's control.")
}

// recordVerification leaves the result of a verification in the ledger: a running one through its socket,
// or a cleanly stopped one.
func (p *parts) recordVerification(ctx context.Context, result ledger.Verification) error {
	by, err := localActor()
	if err != nil {
		return err
	}
	w, err := p.openWriter(ctx)
	if err != nil {
		return fmt.Errorf("recording the verification: %w", err)
	}
	err = w.verified(ctx, by, result)
	if err = errors.Join(err, w.end()); err != nil {
		return undetermined(fmt.Errorf("recording the verification: %w", err))
	}
	return nil
}
