package archive

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Options says what to export and on whose behalf. Names are of legal persons only: they stand in the index
// and in the metadata in the clear.
type Options struct {
	Dir         string           // where packages stand; must exist
	Principal   string           // "ec:77777777777" or "psp:ABI12345"
	Class       string           // retention class: lower-case letters, digits, hyphens
	First, Last uint64           // own.k of the first and last entry
	Day         time.Time        // the day that the package is named after, in the zone that days are cut in
	Sequence    int              // 1..999999 within the day
	Years       int              // retention, 1..4999 years
	Producer    Producer         // titolare and producer
	Software    Software         // what made the package
	Previous    *PreviousPackage // nil: the first of this own chain
	Schemas     string           // directory whose .xsd, .json, .wsdl and .yaml files replace or add to ours; "": ours
	Evidence    Evidence
	Keys        []byte // JWKS of the gateway's receipt keys, all versions
	VKey        string // C2SP verifier key of the log's checkpoints
}

// Producer is the legal person that the package belongs to.
type Producer struct {
	Name       string // denomination
	FiscalCode string // 11 digits
	Manual     string // title of the manuale di conservazione; "": that title
	// An EC (a public administration) has an IPA code; then all that follows is required, and its metadata are
	// DocumentoAmministrativoInformatico.
	IPACode             string
	OfficeName          string // area organizzativa omogenea
	OfficeCode          string // its IPA code
	Address             string // digital address of reference (PEC)
	ClassificationIndex string // of the piano di classificazione, e.g. "04.02"
	ClassificationName  string
}

// Software names what made a package.
type Software struct{ Name, Version, Producer string }

// PreviousPackage is the package before, of the same own chain.
type PreviousPackage struct {
	ID     string `json:"package"`
	LastK  uint64 `json:"last_k"`
	SHA256 string `json:"pindex_p7m_sha256"` // lower-case hex, of its PIndex.xml.p7m
}

// Evidence is what a stranger needs to check seal and time-stamps, in files for stock tools.
type Evidence struct {
	TrustChain []byte            // PEM: chains of seal and time-stamp authority
	Revocation map[string][]byte // file name (*.crl.der, *.ocsp.der) to DER
}

var (
	classForm     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	principalForm = regexp.MustCompile(`^(ec|psp):[A-Za-z0-9_.-]{1,64}$`)
	fiscalForm    = regexp.MustCompile(`^[0-9]{11}$`)
	hexForm       = regexp.MustCompile(`^[0-9a-f]{64}$`)
	evidenceForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(crl|ocsp)\.der$`)
	idForm        = regexp.MustCompile(`^pda-[0-9]{11}-[a-z0-9-]{1,64}-[0-9]{8}-[0-9]{6}$`)
)

// own is the name of the own chain.
func (o *Options) own() string { return o.Principal + "/" + o.Class }

// id is the package's id, which is the name of its directory too.
func (o *Options) id() string {
	return fmt.Sprintf("pda-%s-%s-%s-%06d", o.Producer.FiscalCode, o.Class, o.Day.Format("20060102"), o.Sequence)
}

// administrative says whether metadata are those of a public administration.
func (o *Options) administrative() bool {
	return strings.HasPrefix(o.Principal, "ec:") && o.Producer.IPACode != ""
}

// validate lists every unfit option by its name.
func (o *Options) validate() error {
	var all []error
	need := func(good bool, format string, args ...any) {
		if !good {
			all = append(all, fmt.Errorf(format, args...))
		}
	}
	need(o.Dir != "", "Dir: the directory for packages is missing")
	need(principalForm.MatchString(o.Principal), "Principal: %q is not ec:CODE or psp:CODE", o.Principal)
	need(len(o.Class) <= 64 && classForm.MatchString(o.Class), "Class: %q must be lower-case letters, digits and hyphens", o.Class)
	need(o.First <= o.Last, "First, Last: %d is after %d", o.First, o.Last)
	need(!o.Day.IsZero(), "Day: missing")
	need(o.Sequence >= 1 && o.Sequence <= 999999, "Sequence: %d is not within 1..999999", o.Sequence)
	need(o.Years >= 1 && o.Years <= 4999, "Years: %d is not within 1..4999", o.Years)
	need(fiscalForm.MatchString(o.Producer.FiscalCode), "Producer.FiscalCode: %q is not 11 digits", o.Producer.FiscalCode)
	text := func(name, value string) {
		need(strings.TrimSpace(value) != "" && len(value) <= 500 && printable(value), "%s: must be 1 to 500 bytes of printable text", name)
	}
	text("Producer.Name", o.Producer.Name)
	text("Software.Name", o.Software.Name)
	text("Software.Version", o.Software.Version)
	text("Software.Producer", o.Software.Producer)
	if o.Producer.Manual != "" {
		text("Producer.Manual", o.Producer.Manual)
	}
	if o.administrative() {
		for _, f := range []struct{ name, value string }{
			{"IPACode", o.Producer.IPACode}, {"OfficeName", o.Producer.OfficeName}, {"OfficeCode", o.Producer.OfficeCode}, {"Address", o.Producer.Address},
			{"ClassificationIndex", o.Producer.ClassificationIndex}, {"ClassificationName", o.Producer.ClassificationName},
		} {
			text("Producer."+f.name+" (an EC with an IPA code needs it)", f.value)
		}
	}
	if p := o.Previous; p != nil {
		need(idForm.MatchString(p.ID), "Previous.ID: %q is not the id of a package", p.ID)
		need(hexForm.MatchString(p.SHA256), "Previous.SHA256: %q is not 64 hex digits", p.SHA256)
		need(p.LastK+1 == o.First, "First: %d does not follow %d, the last of %s", o.First, p.LastK, p.ID)
	}
	need(len(o.Evidence.TrustChain) > 0, "Evidence.TrustChain: missing")
	for name, der := range o.Evidence.Revocation {
		need(evidenceForm.MatchString(name) && len(der) > 0, "Evidence.Revocation: %q must be NAME.crl.der or NAME.ocsp.der and not empty", name)
	}
	need(len(o.Keys) > 0, "Keys: the JWKS of the receipt keys is missing")
	if _, err := parseVKey(o.VKey); err != nil {
		all = append(all, fmt.Errorf("VKey: %w", err))
	}
	if len(all) > 0 {
		return fmt.Errorf("options of the export: %w", errors.Join(all...))
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
