package archive

import (
	"bytes"
	"encoding/xml"
)

// markup writes XML: names are constants of this package, every text and attribute value is escaped.
type markup struct{ bytes.Buffer }

func newMarkup() *markup {
	m := new(markup)
	m.WriteString(xml.Header)
	return m
}

// open starts an element; attributes come as name, value pairs.
func (m *markup) open(name string, attributes ...string) {
	m.WriteString("<" + name)
	for i := 0; i+1 < len(attributes); i += 2 {
		m.WriteString(" " + attributes[i] + `="`)
		m.text(attributes[i+1])
		m.WriteString(`"`)
	}
	m.WriteString(">")
}

func (m *markup) close(names ...string) {
	for _, n := range names {
		m.WriteString("</" + n + ">")
	}
}

// leaf is an element that holds a text.
func (m *markup) leaf(name, text string, attributes ...string) {
	m.open(name, attributes...)
	m.text(text)
	m.close(name)
}

func (m *markup) text(s string) {
	// A bytes.Buffer takes every write; characters that XML cannot hold become U+FFFD.
	_ = xml.EscapeText(&m.Buffer, []byte(s))
}

func (m *markup) line() { m.WriteByte('\n') }
