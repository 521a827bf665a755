package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"sigillo/internal/exchange"
)

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// progress shows how far a long command is, on a terminal only. The zero value shows nothing.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress starts a bar on w when w is a terminal; total < 0 is unknown.
func newProgress(w io.Writer, total int64, what string) *progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))}
}

func (p *progress) set(done int64) {
	if p.bar != nil {
		_ = p.bar.Set64(done) // a bar that cannot be drawn stops nothing
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}

// sayVerdict prints a verdict and gives the error that its exit code asks for.
func sayVerdict(c console, what string, v *exchange.Verdict, asJSON bool) error {
	if asJSON {
		if err := writeJSON(c.out, v); err != nil {
			return err
		}
	} else {
		for _, f := range v.Findings {
			fmt.Fprintln(c.out, f)
		}
		fmt.Fprintf(c.out, "%s: %s (assurance: %s)\n", what, v.Verdict, v.Assurance)
		for _, k := range sortedKeys(v.Counts) {
			fmt.Fprintf(c.out, "  %-26s %d\n", k, v.Counts[k])
		}
	}
	switch v.Verdict {
	case exchange.Intact:
		return nil
	case exchange.Broken:
		return &exitError{exitNegative, errSaid}
	}
	return &exitError{exitUndetermined, errSaid}
}
