package storefile

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// LogHeader is the length in bytes of the header of .mem and .vlog files: key id (8) and base IV (12).
// Without encryption nothing in it is used.
const LogHeader = 20

// Bits of a record's meta byte (badger/v4 value.go).
const (
	metaDelete  = 1 << 0
	metaPointer = 1 << 1
	metaTxn     = 1 << 6
	metaFinTxn  = 1 << 7
)

const (
	maxKey   = 1 << 16 // Badger refuses longer keys
	maxValue = 1 << 30
)

// Record is one version of one key.
type Record struct {
	Key     []byte // without its version
	Version uint64 // of the transaction that wrote it
	Value   []byte // nil when Deleted or In is set
	Deleted bool
	In      *Pointer // the value stands in a value log
}

// Pointer tells where in a value log a record stands.
type Pointer struct {
	File, Len, Offset uint32
}

// Gap is a stretch of a file that holds no readable record, between bytes From and To.
type Gap struct {
	From, To int64
	// Inside says that readable records follow: the gap is damage, no torn end.
	Inside bool
}

// ScanLog reads a .mem or .vlog file that is wholly in b and calls fn for every record whose checksum is
// right, in order, with its offset; it goes on behind damage. Marks of a transaction's end are left out.
// Records given to fn share memory with b.
func ScanLog(b []byte, fn func(at int64, r Record) error) ([]Gap, error) {
	var gaps []Gap
	bad := int64(-1)
	for at := min(LogHeader, len(b)); at < len(b); {
		r, n, ok := logRecord(b[at:])
		if !ok {
			if next := nextRecord(b, at); bad >= 0 || anyByte(b[at:]) {
				if bad < 0 {
					bad = int64(at)
				}
				at = next
				continue
			}
			break
		}
		if bad >= 0 {
			gaps = append(gaps, Gap{From: bad, To: int64(at), Inside: true})
			bad = -1
		}
		if !bytes.HasPrefix(r.Key, internalPrefix) {
			if err := fn(int64(at), r); err != nil {
				return gaps, err
			}
		}
		at += n
	}
	if bad >= 0 {
		gaps = append(gaps, Gap{From: bad, To: int64(len(bytes.TrimRight(b, "\x00")))})
	}
	return gaps, nil
}

// internalPrefix begins the keys that Badger keeps for itself.
var internalPrefix = []byte("!badger!")

// anyByte tells whether a byte of b is not zero.
func anyByte(b []byte) bool { return zeros(b) < len(b) }

var noBytes [4096]byte

// zeros is the length of the run of zeros at the beginning of b.
func zeros(b []byte) int {
	n := 0
	for len(b)-n >= len(noBytes) && bytes.Equal(b[n:n+len(noBytes)], noBytes[:]) {
		n += len(noBytes)
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}

// nextRecord is the next offset behind at where a record may begin. At most two zero bytes stand before
// the first other byte of a record, so that long runs of zeros are passed in one step.
func nextRecord(b []byte, at int) int {
	at++
	if z := zeros(b[at:]); z > 2 {
		return at + z - 2
	}
	return at
}

// logRecord reads the record at the beginning of b: meta, user meta, key length, value length, expiry
// (uvarints), key with version, value, CRC-32C over all before.
func logRecord(b []byte) (r Record, n int, ok bool) {
	if len(b) < 5 || b[1] != 0 || b[0]&^(metaDelete|metaPointer|1<<2|1<<3|metaTxn|metaFinTxn) != 0 {
		return r, 0, false
	}
	at := 2
	var head [3]uint64
	for i := range head {
		v, w := binary.Uvarint(b[at:min(len(b), at+binary.MaxVarintLen64)])
		if w <= 0 {
			return r, 0, false
		}
		head[i], at = v, at+w
	}
	klen, vlen := head[0], head[1]
	if klen < 8 || klen > maxKey || vlen > maxValue || head[2] != 0 || uint64(at)+klen+vlen+crc32.Size > uint64(len(b)) {
		return r, 0, false
	}
	end := at + int(klen+vlen)
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return r, 0, false
	}
	r, ok = makeRecord(b[0], b[at:at+int(klen)], b[at+int(klen):end])
	return r, end + crc32.Size, ok
}

// makeRecord takes key and value apart as Badger keeps them in logs and tables alike.
func makeRecord(meta byte, key, value []byte) (r Record, ok bool) {
	if len(key) < 8 {
		return r, false
	}
	cut := len(key) - 8
	r.Key, r.Version = key[:cut], math.MaxUint64-binary.BigEndian.Uint64(key[cut:])
	switch {
	case meta&metaDelete != 0:
		r.Deleted = true
	case meta&metaPointer != 0:
		if len(value) != 12 {
			return r, false
		}
		// Badger writes the struct as it lies in memory: little-endian on every platform that we build for.
		r.In = &Pointer{binary.LittleEndian.Uint32(value), binary.LittleEndian.Uint32(value[4:]), binary.LittleEndian.Uint32(value[8:])}
	default:
		r.Value = value
	}
	return r, true
}
