package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"sigillo/internal/exchange"
)

// print tells people what happened and what to try next.
func (r *demoReport) print(w io.Writer, s *demoSite) {
	fmt.Fprintln(w, "Sigillo demo: keys in files and a test time-stamp authority, so a demonstration and no evidence.")
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "\noperation\troute\texchanges\tfailed\tp50\tp95")
	for _, o := range r.Tally.Operations {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", o.Operation, o.Route, o.Count, o.Failed, o.P50.Round(100_000), o.P95.Round(100_000))
	}
	fmt.Fprintln(t, "\nwho misbehaves\texpected\tgot\treceipt\t")
	for _, b := range r.Bad {
		mark := ""
		if !b.Good {
			mark = "  <- not as expected"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%v\t%s\n", b.Name, b.Expected, b.Got, b.Receipt, mark)
	}
	t.Flush()
	fmt.Fprintf(w, "\nverify      %s: %d entries, %d checkpoints, %d receipts and %d contents checked; assurance %s\n", r.Verify.Verdict,
		r.Verify.Counts["entries"], r.Verify.Counts["checkpoints_checked"], r.Verify.Counts["receipts_checked"], r.Verify.Counts["contents_checked"], r.Verify.Assurance)
	fmt.Fprintf(w, "tampering   one byte of entry %d changed in a copy (%s, offset %d): %s\n", r.Tampered.Entry, r.Tampered.File, r.Tampered.Offset, r.Tampered.Verdict)
	for i, f := range r.Tampered.Findings {
		if f.Severity == exchange.Broken && i < 8 {
			fmt.Fprintf(w, "              %s\n", f)
		}
	}
	for _, p := range r.Packages {
		fmt.Fprintf(w, "export      %s: %d exchanges, %d files\n", p.ID, p.Exchanges, p.Files)
	}
	fmt.Fprintf(w, "archive     %s: %d commitments recomputed, %d entries chained and proved; assurance %s\n", r.Checked.Verdict, r.Checked.Counts["commitments"], r.Checked.Counts["entries"], r.Checked.Assurance)
	id := ""
	for _, o := range r.Tally.Operations {
		if id == "" && o.Exchange != "" {
			id = o.Exchange
		}
	}
	fmt.Fprintf(w, "\ntook %s\n\nWhat to try next (sigillo = go run ./cmd/sigillo):\n", r.Took)
	for _, line := range []string{
		"sigillo search -c " + r.Config + " --operation paGetPayment",
		"sigillo show -c " + r.Config + " " + id,
		"sigillo show -c " + r.Config + " " + id + " --body response",
		"sigillo verify -c " + r.Config + " --checkpoint " + filepath.Join(s.dir, "checkpoint"),
		"sigillo verify --dir " + filepath.Join(s.dir, "tampered") + " --skip-content",
		"sigillo archive verify " + r.Package + " --trust " + s.pki.RootsFile(),
	} {
		fmt.Fprintln(w, "  "+line)
	}
	if r.Reopened {
		fmt.Fprintf(w, "  curl --cacert %s --cert %s --key %s -H 'Content-Type: text/xml' --data-binary @message.xml %s\n",
			s.pki.RootsFile(), s.pairs["node"].CertFile, s.pairs["node"].KeyFile, s.route("ec-in"))
		fmt.Fprintf(w, "\nServing until interrupted; %s tells addresses and certificates.\n", filepath.Join(s.dir, "demo.json"))
	}
	fmt.Fprintf(w, "package %s\n", r.Package)
}

// failed gives the demo its exit code: everything must have gone as it should.
func (r *demoReport) failed() error {
	switch {
	case r.Verify == nil || r.Checked == nil:
		return nil // an earlier error says why
	case r.Verify.Verdict != exchange.Intact:
		return negative("the demo's ledger is %s", r.Verify.Verdict)
	case r.Tampered.Verdict != exchange.Broken:
		return negative("the tampering was not found")
	case r.Checked.Verdict != exchange.Intact:
		return negative("the demo's package is %s", r.Checked.Verdict)
	}
	for _, b := range r.Bad {
		if !b.Good {
			return negative("%s: expected %s, got %s", b.Name, b.Expected, b.Got)
		}
	}
	return nil
}

// flipByte changes one byte in the middle of value, wherever it stands in the store under dir.
func flipByte(dir string, value []byte) (file string, offset int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "store", "*"))
	if err != nil {
		return "", 0, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", 0, err
		}
		at := bytes.Index(b, value)
		if at < 0 {
			continue
		}
		at += len(value) / 2
		b[at] ^= 1
		return filepath.Base(f), int64(at), os.WriteFile(f, b, 0o600)
	}
	return "", 0, errors.New("the entry's bytes were found in no file of the copy")
}
