package pagopa

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// The data files; data/ORIGIN.txt says where they come from.
var (
	//go:embed data/operations.tsv
	operationsTSV []byte
	//go:embed data/faultcodes.tsv
	faultcodesTSV []byte
)

// Unknown is the name of an operation that the catalogue does not have.
const Unknown = "unknown"

// The two protocols of an operation.
const (
	SOAP = "SOAP"
	REST = "REST"
)

// Operation is one line of the catalogue: an operation under one pair of roots. An operation whose roots
// changed over time, or that two interfaces share, has several lines under the same name.
type Operation struct {
	Protocol   string // SOAP or REST
	Interface  string // "nodeForPsp", "FdR-ORG", …
	Generation string // "current", "legacy", and either with "-internal" (between platforms of pagoPA)
	Name       string
	Direction  string // "EC->node", "PSP->node", "node->EC", "node->PSP", rarely others
	Action     string // SOAP: the SOAPAction
	Method     string // REST: the HTTP method
	Path       string // REST: path template; SOAP: path of the node's end point, "" at participants
	Header     xml.Name
	Request    xml.Name // SOAP: element in soap:Body of the request
	Response   xml.Name // SOAP: element in soap:Body of the answer
	// RequestKeys and ResponseKeys say where business keys stand.
	RequestKeys  []KeyPath
	ResponseKeys []KeyPath
	Published    string // whether the published specification of 2026-07 has it, as the data file says

	segments []string // REST: Path split, empty segments dropped
	request  *node
	response *node
}

// KeyPath is one place where a business key stands in a message.
type KeyPath struct {
	Name string // "creditor", "notice", "iuv", …; several paths may share one name
	// In is where: "body", "header" (SOAP header), "path" or "query".
	In   string
	Path string // body, header: "/a/b[]/c" by local names, [] marks a list; path, query: the parameter's name
	New  bool   // only in newer schemas
}

// Catalogue is what this gateway knows about pagoPA. It is immutable: safe for concurrent use.
type Catalogue struct {
	operations []Operation
	byRequest  map[xml.Name][]*Operation
	byResponse map[xml.Name][]*Operation
	byName     map[string][]*Operation
	rest       []*Operation
	headers    *node // all header blocks, first step by qualified name
	faults     map[string]Fault
}

// Load parses the embedded catalogue. An error means that the data files contradict themselves: tests catch it.
func Load() (*Catalogue, error) { return load(operationsTSV, faultcodesTSV) }

func load(operations, faultcodes []byte) (*Catalogue, error) {
	c := &Catalogue{
		byRequest:  map[xml.Name][]*Operation{},
		byResponse: map[xml.Name][]*Operation{},
		byName:     map[string][]*Operation{},
		headers:    &node{},
	}
	lines, err := readTSV(operations, "protocol", "interface", "generation", "operation", "direction", "soap_action_or_method",
		"endpoint_or_path", "header_root", "req_ns", "req_root", "res_ns", "res_root", "req_keys", "res_keys", "in_spec_2026_07")
	if err != nil {
		return nil, fmt.Errorf("reading operations.tsv: %w", err)
	}
	for i, f := range lines {
		op, err := newOperation(f)
		if err != nil {
			return nil, fmt.Errorf("reading operations.tsv, line %d (%s): %w", i+2, f["operation"], err)
		}
		c.operations = append(c.operations, op)
	}
	for i := range c.operations {
		if err := c.add(&c.operations[i]); err != nil {
			return nil, fmt.Errorf("reading operations.tsv, line %d (%s): %w", i+2, c.operations[i].Name, err)
		}
	}
	if c.faults, err = loadFaults(faultcodes); err != nil {
		return nil, fmt.Errorf("reading faultcodes.tsv: %w", err)
	}
	return c, nil
}

// Operations returns every line of the catalogue in the order of the data file. The caller owns the slice.
func (c *Catalogue) Operations() []Operation { return slices.Clone(c.operations) }

func newOperation(f map[string]string) (Operation, error) {
	op := Operation{
		Protocol: f["protocol"], Interface: f["interface"], Generation: f["generation"], Name: f["operation"],
		Direction: f["direction"], Published: f["in_spec_2026_07"],
	}
	if op.Name == "" || op.Name == Unknown || op.Interface == "" || op.Generation == "" || op.Direction == "" {
		return op, fmt.Errorf("operation, interface, generation and direction must be filled")
	}
	var err error
	if op.RequestKeys, err = keyPaths(f["req_keys"]); err != nil {
		return op, fmt.Errorf("column req_keys: %w", err)
	}
	if op.ResponseKeys, err = keyPaths(f["res_keys"]); err != nil {
		return op, fmt.Errorf("column res_keys: %w", err)
	}
	switch op.Protocol {
	case SOAP:
		op.Action = f["soap_action_or_method"]
		if strings.HasPrefix(f["endpoint_or_path"], "/") {
			op.Path = f["endpoint_or_path"]
		}
		op.Request = xml.Name{Space: f["req_ns"], Local: f["req_root"]}
		op.Response = xml.Name{Space: f["res_ns"], Local: f["res_root"]}
		if h := f["header_root"]; h != "-" {
			ns, local, ok := strings.Cut(strings.TrimPrefix(h, "{"), "}")
			if !ok || local == "" {
				return op, fmt.Errorf("column header_root: want {namespace}name")
			}
			op.Header = xml.Name{Space: ns, Local: local}
		}
		for _, n := range []xml.Name{op.Request, op.Response} {
			if n.Local == "" || n.Local == "-" || n.Space == "" || n.Space == "-" {
				return op, fmt.Errorf("a SOAP operation needs the roots of request and response")
			}
		}
	case REST:
		op.Method, op.Path = f["soap_action_or_method"], f["endpoint_or_path"]
		if !strings.HasPrefix(op.Path, "/") || op.Method == "" {
			return op, fmt.Errorf("a REST operation needs a method and a path that begins with /")
		}
		op.segments = segmentsOf(op.Path)
	default:
		return op, fmt.Errorf("protocol must be SOAP or REST")
	}
	return op, nil
}

// add files an operation under everything by which it is found.
func (c *Catalogue) add(op *Operation) error {
	var err error
	if op.request, err = newTree(op, op.RequestKeys, c.headers); err != nil {
		return fmt.Errorf("column req_keys: %w", err)
	}
	if op.response, err = newTree(op, op.ResponseKeys, nil); err != nil {
		return fmt.Errorf("column res_keys: %w", err)
	}
	for _, other := range c.byName[op.Name] {
		if other.Direction != op.Direction || other.Protocol != op.Protocol {
			return fmt.Errorf("lines of one operation must agree in protocol and direction")
		}
	}
	c.byName[op.Name] = append(c.byName[op.Name], op)
	if op.Protocol == REST {
		for _, other := range c.rest {
			if other.Method == op.Method && slices.Equal(shape(other.segments), shape(op.segments)) {
				return fmt.Errorf("same method and path template as %s", other.Name)
			}
		}
		c.rest = append(c.rest, op)
		return nil
	}
	for _, other := range c.byRequest[op.Request] {
		if other.Name != op.Name {
			return fmt.Errorf("same request root as %s", other.Name)
		}
	}
	for _, other := range c.byResponse[op.Response] {
		if other.Name != op.Name {
			return fmt.Errorf("same response root as %s", other.Name)
		}
	}
	c.byRequest[op.Request] = append(c.byRequest[op.Request], op)
	c.byResponse[op.Response] = append(c.byResponse[op.Response], op)
	return nil
}

// interfaceOf chooses among lines that share a request root: the one whose end point the path names, else
// the current generation. Two interfaces share a root for the lists of reporting flows; keys, direction and
// operation are the same in both, so nothing but the label depends on it.
func interfaceOf(lines []*Operation, path string) *Operation {
	path = strings.TrimRight(path, "/")
	for _, op := range lines {
		if op.Path != "" && strings.HasSuffix(path, op.Path) {
			return op
		}
	}
	for _, op := range lines {
		if op.Generation == "current" {
			return op
		}
	}
	return lines[0]
}

// readTSV reads a table with a header line and returns its lines by column name.
func readTSV(data []byte, columns ...string) ([]map[string]string, error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma, r.LazyQuotes = '\t', true
	all, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("the table is empty")
	}
	for _, want := range columns {
		if !slices.Contains(all[0], want) {
			return nil, fmt.Errorf("column %s is missing", want)
		}
	}
	var lines []map[string]string
	for _, values := range all[1:] {
		line := make(map[string]string, len(values))
		for i, v := range values {
			line[all[0][i]] = v
		}
		lines = append(lines, line)
	}
	return lines, nil
}
