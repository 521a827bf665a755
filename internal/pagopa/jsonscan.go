package pagopa

import (
	"encoding/json"
	"errors"
	"io"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"
)

// maxScalar bounds one JSON string or number, in bytes as written; numbers and words to 1 KiB.
const (
	maxScalar = 1 << 20
	maxWord   = 1 << 10
)

// scalarReader fails before a scalar grows over its limit: the decoder holds a scalar in memory as a whole.
// Strings in JSON (RFC 8259, section 7) can be told from the rest by quotes and backslashes alone.
type scalarReader struct {
	in      io.Reader
	n       int
	quoted  bool
	escaped bool
	err     error
}

func (r *scalarReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(p)
	for i, b := range p[:n] {
		r.n++
		limit := maxWord
		switch {
		case r.quoted:
			limit = maxScalar
			switch {
			case r.escaped:
				r.escaped = false
			case b == '\\':
				r.escaped = true
			case b == '"':
				r.quoted, r.n = false, 0
			}
		case b == '"':
			r.quoted, r.n = true, 0
		case b == ' ', b == '\t', b == '\r', b == '\n', b == ',', b == ':', b == '{', b == '}', b == '[', b == ']':
			r.n = 0
		}
		if r.n > limit {
			r.err = syntaxErrorf(TooBig, "a JSON string over %d KiB or a number over %d KiB", maxScalar>>10, maxWord>>10)
			return i, r.err
		}
	}
	return n, err
}

// jsonFrame is one open object or array.
type jsonFrame struct {
	object bool
	name   bool  // the next string is a member's name
	place  place // of an object
	value  place // of the values in the frame: in an array all the same, in an object by member
}

// readJSON walks one JSON text (RFC 8259) to its end and takes the keys of the tree.
func (c *collector) readJSON(body io.Reader, tree *node) error {
	return c.walkJSON(body, tree, nil)
}

// walkJSON is readJSON; scalar, unless nil, sees every string of the text.
func (c *collector) walkJSON(body io.Reader, tree *node, scalar func(string)) error {
	c.membersOnce = true
	dec := json.NewDecoder(&scalarReader{in: transform.NewReader(body, encoding.UTF8Validator)})
	dec.UseNumber()
	frames := make([]jsonFrame, 0, maxDepth)
	done := false
	for {
		token, err := dec.Token()
		if err == io.EOF && done {
			return nil
		}
		if err != nil {
			return jsonError(err)
		}
		if done {
			return syntaxErrorf(NotWellFormed, "something after the JSON value")
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '}' || t == ']' {
				frames = frames[:len(frames)-1]
				break
			}
			if len(frames) == maxDepth {
				return syntaxErrorf(TooDeep, "JSON nested deeper than %d", maxDepth)
			}
			frames = append(frames, c.openJSON(frames, tree, t == '{'))
			continue
		case string:
			if f := top(frames); f != nil && f.object && f.name {
				if f.value, err = c.enter(&f.place, t); err != nil {
					return err
				}
				f.name = false
				continue
			}
			if scalar != nil {
				scalar(t)
			}
			err = c.scalarJSON(frames, t)
		case json.Number:
			err = c.scalarJSON(frames, t.String())
		case bool:
			value := "false"
			if t {
				value = "true"
			}
			err = c.scalarJSON(frames, value)
		}
		if err != nil {
			return err
		}
		if f := top(frames); f != nil {
			f.name = f.object
		}
		done = len(frames) == 0
	}
}

func top(frames []jsonFrame) *jsonFrame {
	if len(frames) == 0 {
		return nil
	}
	return &frames[len(frames)-1]
}

// openJSON opens an object or array as the value of the frame above it. A list in the catalogue may be an
// array of values or one value; an array anywhere else leads nowhere.
func (c *collector) openJSON(frames []jsonFrame, tree *node, object bool) jsonFrame {
	f := jsonFrame{object: object, name: object}
	above := top(frames)
	if above == nil {
		if object {
			f.place.node = tree
		}
		return f
	}
	n := above.value.node
	switch {
	case n == nil:
	case object && n.key == "":
		f.place.node = n
	case !object && n.list && above.object:
		f.value.node = n
	case n.key != "":
		c.find(FindingKeyNotScalar + ":" + n.key)
	}
	return f
}

// scalarJSON takes one value.
func (c *collector) scalarJSON(frames []jsonFrame, value string) error {
	f := top(frames)
	if f == nil {
		return nil
	}
	p := place{node: f.value.node}
	p.write([]byte(value))
	return c.leave(&p)
}

func jsonError(err error) error {
	var known *SyntaxError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errContentEncoding):
		return errContentEncoding
	case undecodable(err):
		return syntaxErrorf(Charset, "JSON that is not UTF-8 (RFC 8259, section 8.1)")
	}
	return syntaxErrorf(NotWellFormed, "JSON that is not well-formed")
}
