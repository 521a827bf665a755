package pagopa

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigillo/internal/exchange"
)

// Limits of what is taken from one message.
const (
	maxKeyBytes = 256   // longest value of a key
	maxKeys     = 16384 // keys of one message: FdR v3 sends up to 1,000 payments at once, with two keys each
)

// node is one step of the paths of a message. The tree of an operation is built once and then only read.
type node struct {
	key      string // name of the key that ends here; "" on the way
	list     bool   // may stand several times under its parent
	silent   bool   // never among the keys: secret, free text, inner document, or told by the outcome
	identity bool   // a key that is among the keys ends here or below: two of it are ambiguous
	outcome  bool   // the answer's outcome ends here
	code     bool   // the answer's own fault code ends here (not the wrapped one)
	fault    bool   // the answer's fault bean
	children map[string]*node
}

// silentKeys never leave the classifier. Passwords are secrets; payload64 is an inner document; fault texts
// are prose in which counterparties put payment data.
var silentKeys = map[string]bool{"password": true, "payload64": true, "faultString": true, "faultDescription": true}

// keyPaths parses a column such as "notice=/qrCode/noticeNumber; creditor=/idPA|/qrCode/fiscalCode|+path".
func keyPaths(column string) ([]KeyPath, error) {
	if column == "-" || column == "" {
		return nil, nil
	}
	var all []KeyPath
	for part := range strings.SplitSeq(column, ";") {
		name, alternatives, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("want name=path|path")
		}
		for path := range strings.SplitSeq(alternatives, "|") {
			k := KeyPath{Name: name}
			path, k.New = strings.CutPrefix(path, "+")
			switch {
			case strings.HasPrefix(path, "HEADER/"):
				k.In, k.Path = "header", strings.TrimPrefix(path, "HEADER")
			case strings.HasPrefix(path, "/"):
				k.In, k.Path = "body", path
			case strings.HasPrefix(path, "body:/"):
				k.In, k.Path = "body", strings.TrimPrefix(path, "body:")
			case strings.HasPrefix(path, "path:"), strings.HasPrefix(path, "query:"):
				k.In, k.Path, _ = strings.Cut(path, ":")
			default:
				return nil, fmt.Errorf("key %s: a path begins with one of / HEADER/ body:/ path: query: and goes on", name)
			}
			if strings.TrimPrefix(k.Path, "/") == "" || strings.Contains(k.Path, "//") || strings.Contains(k.Path, "*") {
				return nil, fmt.Errorf("key %s: a path has an empty or open step", name)
			}
			all = append(all, k)
		}
	}
	return all, nil
}

// newTree builds the tree of the body paths; header paths go into headers, which all operations share.
// headers is nil for an answer, whose outcome and fault are marked instead.
func newTree(op *Operation, keys []KeyPath, headers *node) (*node, error) {
	root := &node{}
	for _, k := range keys {
		switch k.In {
		case "body":
			if err := root.insert(strings.Split(k.Path[1:], "/"), k.Name, headers == nil); err != nil {
				return nil, err
			}
		case "header":
			block, rest, ok := strings.Cut(k.Path[1:], "/")
			if headers == nil || !ok || block != op.Header.Local {
				return nil, fmt.Errorf("key %s: a header path begins with the block of column header_root", k.Name)
			}
			// Header blocks are global elements, hence qualified: the first step is compared by full name.
			if err := headers.insert(append([]string{qualified(op.Header.Space, block)}, strings.Split(rest, "/")...), k.Name, false); err != nil {
				return nil, err
			}
		case "path":
			if !slices.Contains(op.segments, "{"+k.Path+"}") {
				return nil, fmt.Errorf("key %s: the path template has no such parameter", k.Name)
			}
		}
	}
	return root, nil
}

func qualified(space, local string) string { return "{" + space + "}" + local }

// insert files one path. answer says whether it is of an answer.
func (n *node) insert(steps []string, key string, answer bool) error {
	silent := silentKeys[key] || answer && key == "outcome"
	for i, step := range steps {
		name, list := strings.CutSuffix(step, "[]")
		if name == "" || n.key != "" {
			return fmt.Errorf("key %s: a path has an empty step or goes on where another one ends", key)
		}
		child := n.children[name]
		if child == nil {
			child = &node{}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[name] = child
		}
		child.list = child.list || list
		// Two outcomes are as ambiguous as two identities.
		child.identity = child.identity || !silent || answer && key == "outcome"
		if answer && key == "faultCode" && i == len(steps)-2 {
			child.fault = true
		}
		n = child
	}
	if n.key != "" && n.key != key || n.children != nil {
		return fmt.Errorf("key %s: another key ends at the same place or below", key)
	}
	n.key, n.silent = key, silent
	if answer {
		n.outcome = key == "outcome"
		n.code = key == "faultCode" && steps[len(steps)-1] == "faultCode"
	}
	return nil
}

// place is where a reader stands in the tree, for one open element or JSON value. The zero value is a place
// that no path leads to.
type place struct {
	node *node
	seen []*node // children met once already
	text []byte
	long bool
}

// collector gathers keys while a reader walks a message.
type collector struct {
	keys     exchange.Keys
	findings []string
	outcome  string // value at the outcome's path
	code     string // first value of the answer's own fault code
	fault    bool   // the fault bean stands in the answer

	// membersOnce: a name may stand once in any case, as in JSON, where a list is one member with an array.
	membersOnce bool
}

// enter returns the place of a child by its local name (or member name).
func (c *collector) enter(parent *place, name string) (place, error) {
	if parent.node == nil {
		return place{}, nil
	}
	child := parent.node.children[name]
	if child == nil {
		if parent.node.key != "" && parent.node.identity {
			return place{}, syntaxErrorf(AmbiguousKey, "the key %q has elements inside", parent.node.key)
		}
		return place{}, nil
	}
	if child.identity && (!child.list || c.membersOnce) {
		if slices.Contains(parent.seen, child) {
			return place{}, syntaxErrorf(AmbiguousKey, "%s stands twice where one may stand", child.label())
		}
		parent.seen = append(parent.seen, child)
	}
	return place{node: child}, nil
}

// write adds text to a place; what is beyond the limit is dropped and remembered.
func (p *place) write(text []byte) {
	if p.node == nil || p.node.key == "" || p.node.silent && !p.node.outcome {
		return
	}
	if len(p.text) == 0 {
		text = trimLeft(text)
	}
	if room := maxKeyBytes - len(p.text); len(text) > room {
		p.long = p.long || len(trimRight(text[room:])) > 0
		text = text[:room]
	}
	p.text = append(p.text, text...)
}

// leave takes the value of a place when its element or value ends.
func (c *collector) leave(p *place) error {
	n := p.node
	if n == nil || n.key == "" {
		return nil
	}
	value := string(trimRight(p.text))
	switch {
	case p.long:
		c.find(FindingKeyTooLong + ":" + n.key)
		return nil
	case value == "":
		return nil
	case n.outcome:
		c.outcome = value
	}
	if n.code && c.code == "" {
		c.code = value
	}
	if n.silent {
		return nil
	}
	return c.add(n.key, value)
}

func (c *collector) add(name, value string) error {
	if len(c.keys) == maxKeys {
		return syntaxErrorf(TooBig, "more than %d keys", maxKeys)
	}
	c.keys = append(c.keys, exchange.Key{Name: name, Value: value})
	return nil
}

// find notes a finding once.
func (c *collector) find(finding string) {
	if !slices.Contains(c.findings, finding) {
		c.findings = append(c.findings, finding)
	}
}

// label names a node for an error, by the catalogue's words only.
func (n *node) label() string {
	for n.key == "" {
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			if n.children[name].identity {
				n = n.children[name]
				break
			}
		}
	}
	return fmt.Sprintf("the key %q or what holds it", n.key)
}

const xmlSpace = " \t\r\n"

func trimLeft(b []byte) []byte {
	for len(b) > 0 && strings.IndexByte(xmlSpace, b[0]) >= 0 {
		b = b[1:]
	}
	return b
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && strings.IndexByte(xmlSpace, b[len(b)-1]) >= 0 {
		b = b[:len(b)-1]
	}
	return b
}
