package ledger

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A part of a backup is one file: a line that names the format, a line of JSON that says whose snapshot it
// is and what it adds to the part before, the records, and an end record after which nothing follows.
// All numbers are big-endian:
//
//	"sigillo/backup/v1\n"
//	header, one line of JSON, at most 64 KiB
//	'S' u16 length, key, u64 version, u32 length, value     a record as it is
//	'D' u16 length, key, u64 version                        a record that is gone
//	'E' u32 length, JSON                                    the end, with counts
//
// It is not Badger's own backup: that one reads each key range at a time of its own, so that what it holds
// was never the state of the ledger, and it goes on without a word where a value cannot be read.
const (
	partFormat    = "sigillo/backup/v1"
	maxPartHeader = 64 << 10
	maxPartKey    = 1024
	maxVersion    = 1 << 62

	partSet     = 'S'
	partDeleted = 'D'
	partEnd     = 'E'
)

// shrinking are the tables from which ordinary work deletes. Badger forgets that a record was deleted once
// its compaction has reached the lowest level, so a part cannot rely on finding the deletion: it carries
// such a table whole, and only those of the newest part count. What erasure and disposal delete may come
// back from an older part: without its key in Vault it is as unreadable as before.
var shrinking = string([]byte{tableSpool})

// ErrPart says that a file is no whole part of a backup.
var ErrPart = errors.New("not a whole part of a backup")

// PartHeader says which snapshot a part belongs to, and what it adds to the part before.
type PartHeader struct {
	Origin     string `json:"origin"`
	Time       Time   `json:"time"`       // of the newest entry
	Since      uint64 `json:"since"`      // version of the store up to which the parts before reach
	Until      uint64 `json:"until"`      // version of the snapshot
	Size       uint64 `json:"size"`       // entries in the snapshot
	Last       Hash   `json:"last"`       // SHA-256 of the newest of them
	At         uint64 `json:"at"`         // version at which the store holds the newest of them
	Root       Hash   `json:"root"`       // of the tree over them
	Checkpoint string `json:"checkpoint"` // newest signed checkpoint (C2SP note); "" where there is none
	Whole      string `json:"whole"`      // tables that the part holds whole
}

// base is what the next part begins from.
func (h PartHeader) base() backupBase {
	return backupBase{Since: h.Until, Size: h.Size, Last: h.Last, At: h.At}
}

// check refuses a header that cannot be.
func (h PartHeader) check() error {
	switch {
	case CheckOrigin(h.Origin) != nil:
		return errors.New("origin: not the name of a log")
	case h.Since > h.Until || h.Until >= maxVersion || h.At > h.Until:
		return fmt.Errorf("versions %d to %d, newest entry at %d: out of order", h.Since, h.Until, h.At)
	case h.Size == 0:
		return errors.New("size: a ledger has at least its genesis entry")
	case h.Whole != shrinking:
		return errors.New("whole: not the tables that every part holds whole")
	case h.Checkpoint == "":
		return nil
	}
	c, _, err := splitNote([]byte(h.Checkpoint))
	if err != nil {
		return err
	}
	if c.Origin != h.Origin || c.Size > h.Size {
		return errors.New("checkpoint: of another log, or of more entries than the part holds")
	}
	return nil
}

// PartCounts stand at the end of a part.
type PartCounts struct {
	Records uint64 `json:"records"`
	Deleted uint64 `json:"deleted"`
	// Damaged is how many records the ledger could not give, or gave with entries that do not follow each
	// other; Damage names the first of them.
	Damaged uint64   `json:"damaged"`
	Damage  []string `json:"damage,omitempty"`
}

// maxDamage bounds how many damaged records a part names.
const maxDamage = 20

func (c *PartCounts) damage(format string, a ...any) {
	if c.Damaged++; len(c.Damage) < maxDamage {
		c.Damage = append(c.Damage, fmt.Sprintf(format, a...))
	}
}

// partWriter writes a part. Errors stay: flush gives the first.
type partWriter struct {
	out    *bufio.Writer
	fixed  []byte
	counts PartCounts
}

func newPartWriter(w io.Writer, h PartHeader) (*partWriter, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	p := &partWriter{out: bufio.NewWriterSize(w, 256<<10)}
	_, err = p.out.WriteString(partFormat + "\n" + string(line) + "\n")
	return p, err
}

// set writes a record; its value must not be longer than maxRecord.
func (p *partWriter) set(key []byte, version uint64, value []byte) error {
	p.counts.Records++
	p.head(partSet, key, version)
	p.fixed = binary.BigEndian.AppendUint32(p.fixed, uint32(len(value)))
	_, err := p.out.Write(p.fixed)
	if err == nil {
		_, err = p.out.Write(value)
	}
	return err
}

func (p *partWriter) deleted(key []byte, version uint64) error {
	p.counts.Deleted++
	p.head(partDeleted, key, version)
	_, err := p.out.Write(p.fixed)
	return err
}

func (p *partWriter) head(op byte, key []byte, version uint64) {
	p.fixed = binary.BigEndian.AppendUint16(append(p.fixed[:0], op), uint16(len(key)))
	p.fixed = binary.BigEndian.AppendUint64(append(p.fixed, key...), version)
}

// end writes the counts and flushes.
func (p *partWriter) end() error {
	b, err := json.Marshal(p.counts)
	if err != nil {
		return err
	}
	b = append(binary.BigEndian.AppendUint32([]byte{partEnd}, uint32(len(b))), b...)
	if _, err := p.out.Write(b); err != nil {
		return err
	}
	return p.out.Flush()
}

// partRecord is one record of a part. Its slices belong to the caller.
type partRecord struct {
	deleted bool
	key     []byte
	version uint64
	value   []byte
}

// partReader reads a part, which may come from anybody: no length in it is believed beyond its bound, and
// what does not count up is refused.
type partReader struct {
	in     *bufio.Reader
	Header PartHeader
	Counts PartCounts // after next has given io.EOF
	seen   PartCounts
}

func partError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrPart, fmt.Sprintf(format, a...))
}

// newPartReader reads the header.
func newPartReader(r io.Reader) (*partReader, error) {
	p := &partReader{in: bufio.NewReaderSize(r, maxPartHeader)}
	format, err := p.in.ReadSlice('\n')
	if err != nil || string(format) != partFormat+"\n" {
		return nil, partError("it does not begin with %q", partFormat)
	}
	line, err := p.in.ReadSlice('\n')
	if err != nil {
		return nil, partError("its header does not end within %d bytes", maxPartHeader)
	}
	if err := decodeExact(line[:len(line)-1], &p.Header); err != nil {
		return nil, partError("header: %v", err)
	}
	if err := p.Header.check(); err != nil {
		return nil, partError("header: %v", err)
	}
	return p, nil
}

// next gives the next record, and io.EOF at the end of a whole part.
func (p *partReader) next() (partRecord, error) {
	r, err := p.record()
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, ErrPart) {
		return r, err
	}
	if !errors.Is(err, ErrPart) {
		err = partError("cut off: %v", err)
	}
	return partRecord{}, err
}

func (p *partReader) record() (r partRecord, err error) {
	var fixed [12]byte
	op, err := p.in.ReadByte()
	if err != nil {
		return r, io.ErrUnexpectedEOF
	}
	if op == partEnd {
		return r, p.finish()
	}
	if op != partSet && op != partDeleted {
		return r, partError("a record of kind %q", op)
	}
	if _, err = io.ReadFull(p.in, fixed[:2]); err != nil {
		return r, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(fixed[:2]))
	if n == 0 || n > maxPartKey {
		return r, partError("a key of %d bytes", n)
	}
	r.key = make([]byte, n)
	if _, err = io.ReadFull(p.in, r.key); err != nil {
		return r, noEOF(err)
	}
	if _, err = io.ReadFull(p.in, fixed[:8]); err != nil {
		return r, noEOF(err)
	}
	r.version, r.deleted = binary.BigEndian.Uint64(fixed[:8]), op == partDeleted
	whole := strings.IndexByte(p.Header.Whole, r.key[0]) >= 0
	if r.version == 0 || r.version > p.Header.Until || r.version <= p.Header.Since && !whole {
		return r, partError("key %x has version %d, outside %d to %d", r.key, r.version, p.Header.Since, p.Header.Until)
	}
	if r.deleted {
		p.seen.Deleted++
		return r, nil
	}
	if _, err = io.ReadFull(p.in, fixed[:4]); err != nil {
		return r, noEOF(err)
	}
	size := binary.BigEndian.Uint32(fixed[:4])
	if size > maxRecord {
		return r, partError("a value of %d bytes", size)
	}
	r.value = make([]byte, size)
	p.seen.Records++
	_, err = io.ReadFull(p.in, r.value)
	return r, noEOF(err)
}

// noEOF keeps a cut-off file from looking like one that has ended.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (p *partReader) finish() error {
	var size [4]byte
	if _, err := io.ReadFull(p.in, size[:]); err != nil {
		return noEOF(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxPartHeader {
		return partError("an end record of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.in, b); err != nil {
		return noEOF(err)
	}
	if err := decodeExact(b, &p.Counts); err != nil {
		return partError("end record: %v", err)
	}
	if p.Counts.Records != p.seen.Records || p.Counts.Deleted != p.seen.Deleted {
		return partError("%d records and %d deletions, where its end says %d and %d", p.seen.Records, p.seen.Deleted, p.Counts.Records, p.Counts.Deleted)
	}
	if len(p.Counts.Damage) > maxDamage || uint64(len(p.Counts.Damage)) > p.Counts.Damaged {
		return partError("end record: damage does not count up")
	}
	if _, err := p.in.ReadByte(); !errors.Is(err, io.EOF) {
		return partError("something follows its end")
	}
	return io.EOF
}

// decodeExact reads JSON that is written exactly as this package writes it.
func decodeExact(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return errors.New("not in its one form")
	}
	return nil
}
