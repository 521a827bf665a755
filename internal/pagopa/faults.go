package pagopa

import (
	"fmt"
	"strings"
)

// Fault is one fault code of pagoPA.
type Fault struct {
	Code      string
	RaisedBy  string // "node", "EC" or "PSP"
	Category  string // "syntax", "state", "duplicate", …
	Meaning   string
	Retryable string // our assessment: "no", "later", "fix", …
}

// OtherFault is written where an answer's fault code is not of the catalogue: an entry must not carry
// free text that a counterparty chose.
const OtherFault = "other"

// Fault returns what the catalogue knows about a fault code, by its exact name.
func (c *Catalogue) Fault(code string) (Fault, bool) {
	f, ok := c.faults[code]
	return f, ok
}

func loadFaults(data []byte) (map[string]Fault, error) {
	lines, err := readTSV(data, "code", "raised_by", "category", "meaning", "retryable")
	if err != nil {
		return nil, err
	}
	faults := make(map[string]Fault, len(lines))
	for i, f := range lines {
		code := f["code"]
		if code == "" || code == OtherFault || strings.ContainsFunc(code, notOfCode) {
			return nil, fmt.Errorf("line %d: a code is of A-Z, 0-9 and _", i+2)
		}
		if _, twice := faults[code]; twice {
			return nil, fmt.Errorf("line %d: the code %s stands twice", i+2, code)
		}
		faults[code] = Fault{Code: code, RaisedBy: f["raised_by"], Category: f["category"], Meaning: f["meaning"], Retryable: f["retryable"]}
	}
	return faults, nil
}

// faultIn returns the first word of a text that is a fault code, or "".
func (c *Catalogue) faultIn(text string) string {
	for _, word := range strings.FieldsFunc(text, notOfCode) {
		if _, ok := c.faults[word]; ok {
			return word
		}
	}
	return ""
}

func notOfCode(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
}
