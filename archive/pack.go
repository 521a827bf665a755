package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// packer fills the payload of one package.
type packer struct {
	opt *Options
	src Source
	bag *bag

	packed   map[uint64]*packed // exchanges by the number of their directory
	order    []*packed          // in order of their first entry here
	leaves   []leaf
	erased   int
	missing  map[string]uint64 // exchanges of erased content to the entry that commits to it
	erasures [][]byte          // erasure entries of the range
	messages int
	span     span
	tree     *tree
	seal     bagFile
}

type leaf struct {
	n    uint64
	hash [32]byte
}

// packed is one exchange on its way into the package.
type packed struct {
	n       uint64
	first   time.Time
	record  *record
	stems   map[string]bool
	bodies  []bagFile
	receipt bool // its closing entry stands here
	json    bagFile
}

// payload writes everything below data/.
func (w *packer) payload(ctx context.Context) error {
	w.packed, w.missing = map[uint64]*packed{}, map[string]uint64{}
	w.span.origin = w.src.Origin()
	if err := w.segment(ctx); err != nil {
		return err
	}
	if err := w.exchanges(ctx); err != nil {
		return err
	}
	if err := w.proofs(ctx); err != nil {
		return err
	}
	previous, err := json.Marshal(struct {
		V        int              `json:"v"`
		Own      string           `json:"own"`
		First    uint64           `json:"first"`
		Previous *PreviousPackage `json:"previous"`
	}{1, w.opt.own(), w.opt.First, w.opt.Previous})
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"data/ledger/previous.json": append(previous, '\n'), "data/ledger/keys.json": w.opt.Keys,
		"data/ledger/vkey.txt":          []byte(strings.TrimSuffix(w.opt.VKey, "\n") + "\n"),
		"data/evidence/trust-chain.pem": w.opt.Evidence.TrustChain,
		"data/README.txt":               w.opt.readme(w.span),
	}
	for name, der := range w.opt.Evidence.Revocation {
		files["data/evidence/"+name] = der
	}
	schemas, err := loadSchemas(w.opt.Schemas)
	if err != nil {
		return err
	}
	for name, text := range schemas {
		files["data/schemas/"+name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, err := w.bag.add(name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// segment streams the entries and, with each, the content that it commits to.
func (w *packer) segment(ctx context.Context) error {
	out, err := w.bag.create("data/ledger/segment.jsonl")
	if err != nil {
		return err
	}
	next, link := w.opt.First, ""
	err = w.src.Segment(ctx, w.opt.own(), w.opt.First, w.opt.Last, func(x Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		e, err := parseEntry(x.Bytes)
		if err != nil {
			return err
		}
		switch {
		case e.N != x.N || e.Own.K != x.K:
			return fmt.Errorf("entry %d (k %d): its bytes say entry %d (k %d)", x.N, x.K, e.N, e.Own.K)
		case e.Own.P != w.opt.own():
			return fmt.Errorf("entry %d stands in own chain %q", e.N, e.Own.P)
		case e.Own.K != next || next > w.opt.Last:
			return fmt.Errorf("entry %d has k %d, want %d", e.N, e.Own.K, next)
		case link != "" && e.Own.Prev != link:
			return fmt.Errorf("entry %d (k %d) does not follow the one before in its own chain", e.N, e.Own.K)
		}
		sum := sha256.Sum256(x.Bytes)
		next, link = next+1, hexOf(sum)
		if len(w.leaves) == 0 {
			w.span.firstN = e.N
		}
		w.span.lastN, w.span.end = e.N, e.time
		w.leaves = append(w.leaves, leaf{e.N, leafHash(x.Bytes)})
		if e.Kind == kindErasure {
			w.erasures = append(w.erasures, bytes.Clone(x.Bytes))
		}
		if _, err := out.Write(x.Bytes); err != nil {
			return err
		}
		if _, err := out.Write([]byte{'\n'}); err != nil {
			return err
		}
		return w.entry(ctx, e, sum)
	})
	if err == nil && next != w.opt.Last+1 {
		err = fmt.Errorf("the ledger gave entries up to k %d only", int64(next)-1)
	}
	file, err := out.close(err)
	if err != nil {
		return err
	}
	w.bag.payload = append(w.bag.payload, file)
	for x, n := range w.missing {
		if !slices.ContainsFunc(w.erasures, func(b []byte) bool { return bytes.Contains(b, []byte(`"`+x+`"`)) }) {
			return fmt.Errorf("content that entry %d commits to was erased, and no erasure entry of the range names its exchange: extend the range to that entry", n)
		}
	}
	return nil
}

// entry files an entry under its exchange. An entry without messages, a recovery say, is told only beside others.
func (w *packer) entry(ctx context.Context, e *entry, sum [32]byte) error {
	x := w.packed[e.directory()]
	if x != nil && x.record.Exchange != e.Exchange {
		return fmt.Errorf("entry %d names request %d, which is of another exchange", e.N, e.directory())
	}
	if x == nil {
		if len(e.Messages) == 0 {
			return nil
		}
		x = &packed{n: e.directory(), first: e.time, record: newRecord(e), stems: map[string]bool{}}
		w.packed[x.n] = x
		w.order = append(w.order, x)
	}
	x.record.take(e, sum)
	x.receipt = x.receipt || e.closes()
	for _, m := range e.Messages {
		if err := w.message(ctx, x, e, m); err != nil {
			return fmt.Errorf("entry %d, message %d: %w", e.N, m.I, err)
		}
	}
	return nil
}

// message writes head, body and salt of a message whose commitment it has recomputed.
func (w *packer) message(ctx context.Context, x *packed, e *entry, m message) error {
	w.messages++
	told := recordMessage{Entry: e.N, I: m.I, Points: m.Points, Status: m.Status, Cut: m.Cut, Commitment: m.Commitment, Size: m.Size}
	c, err := w.src.Content(ctx, e.Exchange, m.I)
	if errors.Is(err, ErrErased) {
		told.Erased = true
		w.erased++
		w.missing[string(e.Exchange)] = e.N
		x.record.Messages = append(x.record.Messages, told)
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening content: %w", err)
	}
	head, body := sha256.Sum256(c.Head), sha256.Sum256(c.Body)
	if got := commitment(c.Salt, head, body); hexOf(got) != m.Commitment {
		return errors.New("content does not have the commitment that the entry states")
	}
	if int64(len(c.Body)) != m.Size {
		return fmt.Errorf("body has %d bytes, the entry states %d", len(c.Body), m.Size)
	}
	fields := readHead(c.Head)
	stem := stemOf(m, func(s string) bool { return x.stems[s] })
	if x.stems[stem] {
		return fmt.Errorf("two messages at one point: %s", stem)
	}
	x.stems[stem] = true
	if stem == "request" {
		x.record.Method, x.record.Path = fields.Method, fields.Target
	}
	base := path.Join(exchangeDir(x.n), stem)
	if _, err := w.bag.add(base+".head", c.Head); err != nil {
		return err
	}
	if _, err := w.bag.add(base+".salt", []byte(hexOf(c.Salt))); err != nil {
		return err
	}
	file, err := w.bag.add(base+"."+fields.extension(), c.Body)
	if err != nil {
		return err
	}
	x.bodies = append(x.bodies, file)
	told.File, told.SHA256, told.HeadSHA256 = path.Base(file.path), hexOf(body), hexOf(head)
	x.record.Messages = append(x.record.Messages, told)
	return nil
}

// exchanges writes exchange.json and the metadata of each exchange.
func (w *packer) exchanges(ctx context.Context) error {
	for _, x := range w.order {
		if x.receipt {
			receipt, err := w.src.Receipt(ctx, x.record.Exchange)
			if err != nil {
				return fmt.Errorf("receipt of the exchange of entry %d: %w", x.n, err)
			}
			x.record.Receipt = receipt
		}
		text, err := json.Marshal(x.record)
		if err != nil {
			return err
		}
		if x.json, err = w.bag.add(exchangeDir(x.n)+"/exchange.json", append(text, '\n')); err != nil {
			return err
		}
		if _, err := w.bag.add(fmt.Sprintf("data/metadata/%012d.xml", x.n), w.opt.metadata(x, w.span.origin)); err != nil {
			return err
		}
	}
	return nil
}

// proofs writes the checkpoints and an inclusion path for each entry.
func (w *packer) proofs(ctx context.Context) error {
	key, err := parseVKey(w.opt.VKey)
	if err != nil {
		return err
	}
	before, ok, err := w.src.Before(ctx, w.span.firstN)
	if err != nil {
		return fmt.Errorf("checkpoint before entry %d: %w", w.span.firstN, err)
	}
	if ok {
		if t, err := openCheckpoint(before, key); err != nil || t.size > w.span.firstN {
			return fmt.Errorf("checkpoint before entry %d: not of that size (%w)", w.span.firstN, err)
		}
	} else {
		before = nil // the log begins here: an empty file says so
	}
	after, err := w.src.After(ctx, w.span.lastN)
	if err != nil {
		return fmt.Errorf("checkpoint after entry %d: %w", w.span.lastN, err)
	}
	if w.tree, err = openCheckpoint(after.Note, key); err != nil {
		return fmt.Errorf("checkpoint after entry %d: %w", w.span.lastN, err)
	}
	switch {
	case w.tree.origin != w.span.origin:
		return fmt.Errorf("checkpoint after entry %d is of log %q, not %q", w.span.lastN, w.tree.origin, w.span.origin)
	case w.tree.size != after.Size || w.tree.size <= w.span.lastN:
		return fmt.Errorf("checkpoint after entry %d has size %d", w.span.lastN, w.tree.size)
	case len(after.Query) == 0 || len(after.Reply) == 0:
		return fmt.Errorf("checkpoint after entry %d has no time-stamp", w.span.lastN)
	}
	out, err := w.bag.create("data/ledger/proofs.jsonl")
	if err != nil {
		return err
	}
	file, err := out.close(w.paths(ctx, out))
	if err != nil {
		return err
	}
	w.bag.payload = append(w.bag.payload, file)
	for _, f := range []struct {
		name string
		data []byte
	}{{"before", before}, {"after", after.Note}, {"after.tsq", after.Query}, {"after.tsr", after.Reply}} {
		if _, err := w.bag.add("data/ledger/checkpoint."+f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

func (w *packer) paths(ctx context.Context, out *bagWriter) error {
	enc := json.NewEncoder(out)
	for _, l := range w.leaves {
		p, err := w.src.Proof(ctx, l.n, w.tree.size)
		if err != nil {
			return fmt.Errorf("inclusion path of entry %d: %w", l.n, err)
		}
		if err := checkInclusion(l.hash, l.n, w.tree.size, p, w.tree.root); err != nil {
			return fmt.Errorf("entry %d: %w", l.n, err)
		}
		if err := enc.Encode(encodePath(l.n, p)); err != nil {
			return err
		}
	}
	return nil
}
