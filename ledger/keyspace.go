package ledger

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// The keys of the store. The first byte is the table; numbers are big-endian so that order is order.
// Which of them carry evidence, and which are derived and can be made anew, stands in docs/formats.md.
const (
	tableEntry      = 'e' // n                     -> run of entries up to that n         evidence
	tableChunk      = 'c' // exchange stream chunk -> sealed chunk                        evidence (content)
	tableMessageKey = 'k' // exchange i            -> wrapped message key and salt        evidence (content)
	tableClassKey   = 'w' // data key id           -> transit key name, wrapped data key  evidence (content)
	tableGeneration = 'g' // class 0 month         -> generation of its keys, what is under way  which key opens what
	tableTerms      = 'm' // exchange kind         -> sealed business keys of the entry   for the index
	tableReceipt    = 'r' // exchange              -> state, sealed receipt               evidence (receipt)
	tableNote       = 'p' // size                  -> signed checkpoint                   evidence
	tableCosign     = 'v' // size                  -> cosignatures of that checkpoint     evidence
	tableStamp      = 'z' // size                  -> RFC 3161 query and reply            evidence
	tableTile       = 't' // level n               -> full tile                           derived from entries
	tableHead       = 'h' //                       -> head record                         derived
	tableOwn        = 'o' // own chain             -> its last k and hash                 derived
	tableOwnIndex   = 'l' // own chain 0 k         -> run of entry numbers up to that k   derived
	tableExchange   = 'x' // exchange n            -> enclosures: records of c, k, m, r   evidence
	tableTerm       = 'i' // term 0 n              -> run of entry numbers from n on      derived
	tableKeyed      = 'j' // class-month hash n    -> run of entry numbers from n on      derived, dies with its class key
	tableSpool      = 's' // exchange i            -> nothing: chunks ahead of their entry derived
	tableUnsigned   = 'y' //                       -> n from which receipts may be unsigned derived
)

func numberKey(table byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, n)
}

func entryKey(n uint64) []byte     { return numberKey(tableEntry, n) }
func noteKey(size uint64) []byte   { return numberKey(tableNote, size) }
func cosignKey(size uint64) []byte { return numberKey(tableCosign, size) }
func stampKey(n uint64) []byte     { return numberKey(tableStamp, n) }
func unsignedKey() []byte          { return []byte{tableUnsigned} }
func headKey() []byte              { return []byte{tableHead} }

func exchangeTableKey(table byte, x uuid.UUID) []byte { return append([]byte{table}, x[:]...) }

func receiptKey(x uuid.UUID) []byte { return exchangeTableKey(tableReceipt, x) }

func messageKeyKey(x uuid.UUID, i int) []byte {
	return binary.BigEndian.AppendUint32(exchangeTableKey(tableMessageKey, x), uint32(i))
}

func spoolKey(x uuid.UUID, i int) []byte {
	return binary.BigEndian.AppendUint32(exchangeTableKey(tableSpool, x), uint32(i))
}

func chunkKey(x uuid.UUID, stream, chunk uint32) []byte {
	k := binary.BigEndian.AppendUint32(exchangeTableKey(tableChunk, x), stream)
	return binary.BigEndian.AppendUint32(k, chunk)
}

func classKeyKey(id classKeyID) []byte { return append([]byte{tableClassKey}, id[:]...) }

func ownKey(p string) []byte { return append([]byte{tableOwn}, p...) }

func ownIndexPrefix(p string) []byte {
	return append(append(append(make([]byte, 0, len(p)+10), tableOwnIndex), p...), 0)
}

func ownIndexKey(p string, k uint64) []byte {
	return binary.BigEndian.AppendUint64(ownIndexPrefix(p), k)
}

func exchangeIndexKey(x uuid.UUID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(exchangeTableKey(tableExchange, x), n)
}

// exchangeEntry is the entry number in a key of exchangeIndexKey.
func exchangeEntry(key []byte) uint64 { return binary.BigEndian.Uint64(key[17:]) }
