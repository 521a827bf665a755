package ledger

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// The keys of the store. The first byte is the table; numbers are big-endian so that order is order.
// Which of them carry evidence, and which are derived and can be made anew, stands in docs/formats.md.
const (
	tableEntry      = 'e' // n                     -> entry bytes                         evidence
	tableChunk      = 'c' // exchange stream chunk -> sealed chunk                        evidence (content)
	tableMessageKey = 'k' // exchange i            -> wrapped message key and salt        evidence (content)
	tableClassKey   = 'w' // data key id           -> transit key name, wrapped data key  evidence (content)
	tableGeneration = 'g' // class 0 month         -> generation of its keys, what is under way  which key opens what
	tableTerms      = 'm' // exchange kind         -> sealed business keys of the entry   for the index
	tableReceipt    = 'r' // exchange              -> state, sealed receipt               evidence (receipt)
	tableNote       = 'p' // size                  -> signed checkpoint                   evidence
	tableStamp      = 'z' // size                  -> RFC 3161 query and reply            evidence
	tableTile       = 't' // level n               -> full tile                           derived from entries
	tableHead       = 'h' //                       -> head record                         derived
	tableOwn        = 'o' // own chain             -> its last k and hash                 derived
	tableOwnIndex   = 'l' // own chain 0 k         -> n                                   derived
	tableExchange   = 'x' // exchange n            -> nothing                             derived
	tableTerm       = 'i' // term 0 n              -> exchange                            derived
	tableKeyed      = 'j' // class-month hash n    -> exchange                            derived, dies with its class key
	tableOpen       = 'q' // exchange              -> n of its request                    derived
	tablePending    = 'y' // n                     -> exchange whose receipt is unsigned  derived
)

func numberKey(table byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, n)
}

func entryKey(n uint64) []byte   { return numberKey(tableEntry, n) }
func noteKey(size uint64) []byte { return numberKey(tableNote, size) }
func stampKey(n uint64) []byte   { return numberKey(tableStamp, n) }
func pendingKey(n uint64) []byte { return numberKey(tablePending, n) }
func headKey() []byte            { return []byte{tableHead} }

func exchangeTableKey(table byte, x uuid.UUID) []byte { return append([]byte{table}, x[:]...) }

func receiptKey(x uuid.UUID) []byte { return exchangeTableKey(tableReceipt, x) }
func openKey(x uuid.UUID) []byte    { return exchangeTableKey(tableOpen, x) }

func messageKeyKey(x uuid.UUID, i int) []byte {
	return binary.BigEndian.AppendUint32(exchangeTableKey(tableMessageKey, x), uint32(i))
}

func chunkKey(x uuid.UUID, stream, chunk uint32) []byte {
	k := binary.BigEndian.AppendUint32(exchangeTableKey(tableChunk, x), stream)
	return binary.BigEndian.AppendUint32(k, chunk)
}

func classKeyKey(id classKeyID) []byte { return append([]byte{tableClassKey}, id[:]...) }

func ownKey(p string) []byte { return append([]byte{tableOwn}, p...) }

func ownIndexKey(p string, k uint64) []byte {
	return binary.BigEndian.AppendUint64(append(append([]byte{tableOwnIndex}, p...), 0), k)
}

func exchangeIndexKey(x uuid.UUID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(exchangeTableKey(tableExchange, x), n)
}

// exchangeEntry is the entry number in a key of exchangeIndexKey.
func exchangeEntry(key []byte) uint64 { return binary.BigEndian.Uint64(key[17:]) }
