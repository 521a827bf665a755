package archive

import (
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	pindexSpace = "http://www.uni.com/U3011/sincro-v2/"
	rangeSpace  = "urn:sigillo:range:1"
	laws        = "Linee Guida sulla formazione, gestione e conservazione dei documenti informatici (AgID, det. 407/2020 e 371/2021)"
)

// groups are the FileGroups of the index: the directories below data/, and data itself for README.txt.
var groups = []struct{ id, label string }{
	{"exchanges", "Scambi"}, {"metadata", "Metadati"}, {"ledger", "Registro"}, {"schemas", "Schemi"}, {"evidence", "Certificati e revoche"}, {"", "Documentazione"},
}

// formats are the media types of the files in a package by extension.
var formats = map[string]string{
	"xml": "text/xml", "xsd": "text/xml", "wsdl": "text/xml", "json": "application/json", "jsonl": "application/jsonl", "head": "application/json",
	"salt": "text/plain", "txt": "text/plain", "before": "text/plain", "after": "text/plain", "yaml": "application/yaml",
	"pem": "application/x-pem-file", "tsq": "application/timestamp-query", "tsr": "application/timestamp-reply", "bin": "application/octet-stream",
}

func formatOf(file string) (extension, format string) {
	extension = strings.TrimPrefix(path.Ext(file), ".")
	format = formats[extension]
	switch {
	case strings.HasSuffix(file, ".crl.der"):
		format = "application/pkix-crl"
	case strings.HasSuffix(file, ".ocsp.der"):
		format = "application/ocsp-response"
	case format == "":
		format = "application/octet-stream"
	}
	return extension, format
}

// span is the range that a package covers, as its index states it.
type span struct {
	origin        string
	firstN, lastN uint64
	end           time.Time // time of the last entry
}

// pindex is the index of UNI 11386:2020 over the sorted payload, valid under both public copies of its schema.
func (o *Options) pindex(payload []bagFile, s span) []byte {
	id := o.id()
	m := newMarkup()
	m.open("s:PIndex", "xmlns:s", pindexSpace, "s:language", "it", "s:uri", pindexSpace+"PIndex.xsd", "s:sincroVersion", "2.0")
	m.line()
	m.open("s:SelfDescription")
	local(m, "s:ID", id+"/PIndex.xml")
	m.open("s:CreatingApplication")
	m.leaf("s:Name", o.Software.Name)
	m.leaf("s:Version", o.Software.Version)
	m.leaf("s:Producer", o.Software.Producer)
	m.close("s:CreatingApplication", "s:SelfDescription")
	m.line()
	m.open("s:PVolume")
	local(m, "s:ID", id)
	m.leaf("s:Label", "Scambi pagoPA di "+o.own()+", "+o.Day.Format(time.DateOnly))
	m.open("s:PVolumeGroup")
	local(m, "s:ID", s.origin+"/"+o.own())
	m.close("s:PVolumeGroup")
	o.rangeInfo(m, s)
	m.close("s:PVolume")
	m.line()
	for _, g := range groups {
		prefix := "data/" + g.id + "/"
		if g.id == "" {
			prefix = "data/"
		}
		started := false
		for _, f := range payload {
			rest, in := strings.CutPrefix(f.path, prefix)
			if !in || g.id == "" && strings.Contains(rest, "/") {
				continue
			}
			if !started {
				m.open("s:FileGroup")
				local(m, "s:ID", id+"/"+strings.TrimSuffix(prefix, "/"))
				m.leaf("s:Label", g.label)
				m.line()
				started = true
			}
			extension, format := formatOf(f.path)
			m.open("s:File", "s:encoding", "binary", "s:extension", extension, "s:format", format)
			local(m, "s:ID", id+"/"+f.path)
			m.leaf("s:Path", f.path)
			m.leaf("s:Hash", f.hex(), "s:canonicalXML", "false", "s:hashFunction", "SHA-256")
			m.close("s:File")
			m.line()
		}
		if started {
			m.close("s:FileGroup")
			m.line()
		}
	}
	o.process(m, s)
	m.close("s:PIndex")
	m.line()
	return m.Bytes()
}

func local(m *markup, name, id string) { m.leaf(name, id, "s:scheme", "local") }

// rangeInfo puts the range and the link to the package before under the seal.
func (o *Options) rangeInfo(m *markup, s span) {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	m.open("s:MoreInfo", "s:xmlSchema", "data/schemas/Range.xsd")
	m.open("s:EmbeddedMetadata")
	m.open("r:Range", "xmlns:r", rangeSpace, "origin", s.origin, "own", o.own(), "first", number(o.First), "last", number(o.Last),
		"firstEntry", number(s.firstN), "lastEntry", number(s.lastN))
	if p := o.Previous; p != nil {
		m.leaf("r:Previous", "", "package", p.ID, "last", number(p.LastK), "sha256", p.SHA256)
	}
	m.close("r:Range", "s:EmbeddedMetadata", "s:MoreInfo")
}

func (o *Options) process(m *markup, s span) {
	agent := func(name string, attributes ...string) {
		m.open(name, append([]string{"s:agentType", "legal person"}, attributes...)...)
		m.leaf("s:AgentID", "VATIT-"+o.Producer.FiscalCode)
		m.open("s:AgentName")
		m.leaf("s:FormalName", o.Producer.Name)
		m.close("s:AgentName")
		m.leaf("s:RelevantDocument", o.manual())
		m.close(name)
		m.line()
	}
	m.open("s:Process")
	m.line()
	agent("s:Submitter")
	agent("s:Holder", "s:holderRole", "soggetto produttore")
	agent("s:AuthorizedSigner", "s:signerRole", "PreservationManager")
	m.open("s:TimeReference")
	m.leaf("s:TimeInfo", s.end.UTC().Format(time.RFC3339), "s:attachedTimeStamp", "true")
	m.close("s:TimeReference")
	m.leaf("s:LawsAndRegulations", laws)
	m.close("s:Process")
	m.line()
}

func (o *Options) manual() string {
	if o.Producer.Manual == "" {
		return "Manuale di conservazione"
	}
	return o.Producer.Manual
}
