package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// dir is the directory of one exchange as the entries of the segment ask for it.
type dir struct {
	record *record          // what exchange.json should say; messages are added when their content is found
	owed   []*owed          // in order of entries and messages
	by     map[string]*owed // commitment to the message
	stems  map[string]bool  // of the messages found in it
	bodies []bagFile        // likewise
}

// owed is one commitment and the content found for it.
type owed struct {
	entry   *entry
	message message
	found   *recordMessage
}

// take notes what an entry commits to.
func (v *verifier) take(e *entry, sum [32]byte, line []byte) {
	if e.Kind == kindErasure {
		// An exchange is named wherever its id stands, as verify.sh has it too.
		for _, word := range strings.Split(string(line), `"`) {
			v.erasures[word] = true
		}
	}
	n := e.directory()
	d := v.dirs[n]
	if d == nil {
		if len(e.Messages) == 0 {
			return
		}
		d = &dir{record: newRecord(e), by: map[string]*owed{}, stems: map[string]bool{}}
		v.dirs[n] = d
	} else if d.record.Exchange != e.Exchange {
		v.brokenEntry(CheckEntry, e.N, "names request %d, which is of another exchange", n)
		return
	}
	d.record.take(e, sum)
	for _, m := range e.Messages {
		v.Counts["commitments"]++
		o := &owed{entry: e, message: m}
		d.owed = append(d.owed, o)
		if d.by[m.Commitment] != nil {
			v.brokenEntry(CheckEntry, e.N, "message %d has the commitment of another message", m.I)
		}
		d.by[m.Commitment] = o
	}
}

// contents recomputes every commitment from the files, and sees that each commitment of the entries has its
// content, or an erasure, and each file its commitment.
func (v *verifier) contents(ctx context.Context) error {
	groups := map[string]map[string]bagFile{} // directory/stem to kind to file
	for name, f := range v.sums {
		rest, ok := strings.CutPrefix(name, "data/exchanges/")
		if !ok {
			if strings.HasPrefix(name, "data/") && strings.Count(name, "/") > 2 {
				v.broken(CheckLayout, "%s is not a place of the layout", name)
			}
			continue
		}
		n, err := strconv.ParseUint(path.Dir(rest), 10, 64)
		if err != nil || exchangeDir(n)+"/"+path.Base(name) != name || v.dirs[n] == nil {
			v.broken(CheckCompleteness, "%s belongs to no entry of the package", name)
			continue
		}
		if path.Base(name) == "exchange.json" {
			continue
		}
		stem, kind := stemAndKind(name)
		key := path.Dir(name) + "/" + stem
		if groups[key] == nil {
			groups[key] = map[string]bagFile{}
		}
		groups[key][kind] = f
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.content(key, groups[key])
	}
	numbers := make([]uint64, 0, len(v.dirs))
	for n := range v.dirs {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.complete(v.dirs[n])
		v.exchange(n, v.dirs[n])
	}
	v.Counts["exchanges"] = int64(len(v.dirs))
	return nil
}

// content checks the three files of one message: key is their path without extension.
func (v *verifier) content(key string, files map[string]bagFile) {
	n, _ := strconv.ParseUint(path.Base(path.Dir(key)), 10, 64) // checked by the caller
	d := v.dirs[n]
	var body *bagFile
	for kind, f := range files {
		switch kind {
		case "head", "salt":
		case "xml", "json", "bin":
			if body != nil {
				v.brokenEntry(CheckCommitment, n, "%s has two bodies", key)
				return
			}
			body = &f
		default:
			v.brokenEntry(CheckLayout, n, "%s.%s is not a file of the layout", key, kind)
		}
	}
	head, hasHead := files["head"]
	_, hasSalt := files["salt"]
	if body == nil || !hasHead || !hasSalt {
		v.brokenEntry(CheckCommitment, n, "%s: head, salt or body is missing", key)
		return
	}
	salt, err := decodeHex32(string(v.file(CheckCommitment, key+".salt", maxSmall)))
	if err != nil {
		v.brokenEntry(CheckCommitment, n, "%s.salt: %v", key, err)
		return
	}
	made := hexOf(commitment(salt, head.sum, body.sum))
	o := d.by[made]
	if o == nil || o.found != nil {
		v.brokenEntry(CheckCommitment, n, "%s: head, body and salt do not make a commitment of an entry of this exchange", key)
		return
	}
	m := o.message
	o.found = &recordMessage{Entry: o.entry.N, I: m.I, Points: m.Points, Status: m.Status, Cut: m.Cut, Commitment: made,
		File: path.Base(body.path), Size: m.Size, SHA256: body.hex(), HeadSHA256: head.hex()}
	if body.size != m.Size {
		v.brokenEntry(CheckCommitment, o.entry.N, "%s has %d bytes, the entry states %d", body.path, body.size, m.Size)
	}
	stem := path.Base(key)
	if want := stemOf(m, func(s string) bool { return d.stems[s] }); stem != want && !strings.HasPrefix(stem, want+"-") {
		v.brokenEntry(CheckLayout, o.entry.N, "%s holds what was captured as %s", key, want)
	}
	d.stems[stem], d.bodies = true, append(d.bodies, *body)
	v.Counts["contents"]++
}

// complete sees that nothing that the entries commit to was left out.
func (v *verifier) complete(d *dir) {
	for _, o := range d.owed {
		m := o.message
		if o.found == nil {
			if v.erasures[string(o.entry.Exchange)] {
				v.Counts["erased"]++
			} else {
				v.brokenEntry(CheckCompleteness, o.entry.N, "content of message %d is missing, and no erasure entry names its exchange", m.I)
			}
			o.found = &recordMessage{Entry: o.entry.N, I: m.I, Points: m.Points, Status: m.Status, Cut: m.Cut, Commitment: m.Commitment, Size: m.Size, Erased: true}
		}
		d.record.Messages = append(d.record.Messages, *o.found)
		if o.found.File != "" && strings.HasPrefix(o.found.File, "request.") {
			head, err := v.bundle.read(exchangeDir(o.entry.directory())+"/request.head", maxLines)
			if err == nil {
				fields := readHead(head)
				d.record.Method, d.record.Path = fields.Method, fields.Target
			}
		}
	}
}

// exchange holds exchange.json against what entries and files say. Only the receipt is its own.
func (v *verifier) exchange(n uint64, d *dir) {
	name := exchangeDir(n) + "/exchange.json"
	if _, ok := v.sums[name]; !ok {
		v.brokenEntry(CheckLayout, n, "%s is missing", name)
		return
	}
	text := v.file(CheckExchange, name, maxSmall)
	if text == nil {
		return
	}
	var said record
	err := strictKeys(text)
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	if err != nil {
		v.brokenEntry(CheckExchange, n, "%s: %v", name, err)
		return
	}
	if said.V != 1 {
		v.unsure(CheckExchange, "%s has version %d, which this Sigillo does not know", name, said.V)
		return
	}
	if said.Receipt != "" {
		v.Counts["receipts"]++
	}
	d.record.Receipt = said.Receipt
	want, err := json.Marshal(d.record)
	if err != nil || !bytes.Equal(want, bytes.TrimSuffix(text, []byte("\n"))) {
		v.brokenEntry(CheckExchange, n, "%s does not say what its entries and files say%s", name, difference(d.record, &said))
	}
}

// difference names the first part that differs, for a finding.
func difference(want, said *record) string {
	parts := func(r *record) []any {
		return []any{r.Exchange, r.Own, r.Route, r.Operation, r.From, r.To, r.Method, r.Path, r.Status, r.Outcome, r.Reason, r.Entries, r.Messages}
	}
	names := []string{"exchange", "own", "route", "operation", "from", "to", "method", "path", "status", "outcome", "reason", "entries", "messages"}
	a, b := parts(want), parts(said)
	for i := range a {
		x, _ := json.Marshal(a[i]) // values that came out of JSON go into it
		y, _ := json.Marshal(b[i])
		if !bytes.Equal(x, y) {
			return fmt.Sprintf(" (%s)", names[i])
		}
	}
	return ""
}
