package storefile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dgraph-io/badger/v4/fb"
)

// maxIndex bounds the index of one table in bytes; Badger's tables hold some ten MiB in all.
const maxIndex = 256 << 20

// Block is a stretch of a table file that has a checksum of its own.
type Block struct {
	Offset, Len int64
}

// ReadIndex reads the footer and the index of a table file of the given size: their checksum must be
// right and every block must lie inside the file.
func ReadIndex(r io.ReaderAt, size int64) (blocks []Block, err error) {
	defer hostile(&err)
	at := size
	back := func(n int64) ([]byte, error) {
		if n < 0 || n > maxIndex || n > at {
			return nil, errors.New("its footer is damaged")
		}
		at -= n
		b := make([]byte, n)
		if _, err := r.ReadAt(b, at); err != nil {
			return nil, err
		}
		return b, nil
	}
	length := func() (int64, error) {
		b, err := back(4)
		if err != nil {
			return 0, err
		}
		return int64(binary.BigEndian.Uint32(b)), nil
	}
	n, err := length()
	if err != nil {
		return nil, err
	}
	sum, err := back(n)
	if err != nil {
		return nil, err
	}
	if n, err = length(); err != nil {
		return nil, err
	}
	index, err := back(n)
	if err != nil {
		return nil, err
	}
	if err := checkSum(index, sum); err != nil {
		return nil, fmt.Errorf("its index is damaged: %w", err)
	}
	t := fb.GetRootAsTableIndex(index, 0)
	var o fb.BlockOffset
	for i := range t.OffsetsLength() {
		if !t.Offsets(&o, i) {
			return nil, errors.New("its index is damaged")
		}
		b := Block{int64(o.Offset()), int64(o.Len())}
		if b.Offset+b.Len > at {
			return nil, errors.New("its index names a block outside of the file")
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, errors.New("its index names no block")
	}
	return blocks, nil
}

// ScanBlock checks a block against its checksum and calls fn for its records, if fn is not nil.
func ScanBlock(b []byte, fn func(Record) error) (err error) {
	defer hostile(&err)
	entries, offsets, err := openBlock(b)
	if err != nil || fn == nil {
		return err
	}
	var base []byte
	for i, from := range offsets {
		to := uint32(len(entries))
		if i+1 < len(offsets) {
			to = offsets[i+1]
		}
		if from > to || int(to) > len(entries) || to-from < 4 {
			return errors.New("its entries are damaged")
		}
		e := entries[from:to]
		overlap, diff := int(binary.LittleEndian.Uint16(e)), int(binary.LittleEndian.Uint16(e[2:]))
		if overlap > len(base) || 4+diff+3 > len(e) {
			return errors.New("its entries are damaged")
		}
		key := append(append(make([]byte, 0, overlap+diff), base[:overlap]...), e[4:4+diff]...)
		if i == 0 {
			base = key
		}
		value := e[4+diff:]
		meta := value[0]
		_, w := binary.Uvarint(value[2:]) // expiry
		if w <= 0 {
			return errors.New("its entries are damaged")
		}
		r, ok := makeRecord(meta, key, value[2+w:])
		if !ok {
			return errors.New("its entries are damaged")
		}
		if bytes.HasPrefix(r.Key, internalPrefix) {
			continue
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

// openBlock takes a block apart: entries, their offsets (uint32), their count, checksum, its length.
func openBlock(b []byte) (entries []byte, offsets []uint32, err error) {
	at := len(b) - 4
	if at < 4 {
		return nil, nil, errors.New("too short for a block")
	}
	n := int(binary.BigEndian.Uint32(b[at:]))
	if n > maxSum || at-n < 4 {
		return nil, nil, errors.New("the length of its checksum is damaged")
	}
	sum := b[at-n : at]
	body := b[:at-n]
	if err := checkSum(body, sum); err != nil {
		return nil, nil, err
	}
	at = len(body) - 4
	count := int(binary.BigEndian.Uint32(body[at:]))
	if count <= 0 || count > at/4 {
		return nil, nil, errors.New("the number of its entries is damaged")
	}
	start := at - 4*count
	for i := range count {
		offsets = append(offsets, binary.LittleEndian.Uint32(body[start+4*i:]))
	}
	return body[:start], offsets, nil
}

// FindBlocks looks for whole blocks in a table file whose index is gone or cut off. Blocks stand one
// behind the other; behind a damaged one the next is found by trying where it may begin.
func FindBlocks(b []byte, fn func(Block) error) error {
	const longest = 1 << 20 // a block holds 4 KiB, or one record
	for from := 0; from < len(b); {
		found := false
		for end := from + 16; end <= len(b) && end-from <= longest; end++ {
			n := int(binary.BigEndian.Uint32(b[end-4:]))
			if n > maxSum || end-8-n < from {
				continue
			}
			if _, _, err := openBlock(b[from:end]); err == nil {
				if err := fn(Block{int64(from), int64(end - from)}); err != nil {
					return err
				}
				from, found = end, true
				break
			}
		}
		if !found {
			from = nextBlock(b, from)
		}
	}
	return nil
}

// nextBlock is where, behind a block that does not open, the next may begin: a block's first entry shares
// nothing with a key before it and is of a plausible length.
func nextBlock(b []byte, from int) int {
	for at := from + 1; at+8 <= len(b); at++ {
		diff := int(binary.LittleEndian.Uint16(b[at+2:]))
		if b[at] == 0 && b[at+1] == 0 && diff >= 9 && diff < 1024 && at >= 4 && binary.BigEndian.Uint32(b[at-4:]) <= maxSum {
			return at
		}
	}
	return len(b)
}

// maxSum bounds the encoded checksum: two fields of a protobuf message.
const maxSum = 13

// checkSum holds data against Badger's checksum message: field 1 the algorithm (0 or absent: CRC-32C),
// field 2 the sum.
func checkSum(data, message []byte) error {
	var sum uint64
	for len(message) > 0 {
		tag := message[0]
		v, w := binary.Uvarint(message[1:])
		if w <= 0 {
			return errors.New("malformed checksum")
		}
		message = message[1+w:]
		switch {
		case tag == 2<<3:
			sum = v
		case tag != 1<<3 || v != 0:
			return errors.New("checksum of an unknown kind")
		}
	}
	if uint64(crc32.Checksum(data, castagnoli)) != sum {
		return errors.New("wrong checksum")
	}
	return nil
}

// hostile turns a panic over malformed input, which the index's decoder knows no other word for, into an error.
func hostile(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("malformed: %v", p)
	}
}
