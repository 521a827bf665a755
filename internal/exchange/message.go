package exchange

import "crypto/sha256"

// ID is the UUIDv7 of an exchange in its canonical text form (36 characters, lower case).
type ID string

// Point is one of the four places at which an HTTP message is captured.
type Point string

// The four capture points, in the order in which an exchange passes them.
const (
	RequestReceived   Point = "request-received"
	RequestForwarded  Point = "request-forwarded"
	ResponseReceived  Point = "response-received"
	ResponseDelivered Point = "response-delivered"
)

// Message is one HTTP message as bytes, at one or more capture points.
//
// Body is exactly what crossed the wire after HTTP framing (chunking, HTTP/2 frames) was taken off:
// no decoding of Content-Encoding, no re-serialisation. Head is the one line of JSON of
// docs/formats.md, section 3, credentials already redacted.
type Message struct {
	Points []Point
	Status int // HTTP status of a response; 0 for a request
	Head   []byte
	Body   []byte
	Cut    bool // Body is only the part that was received or that the limit allowed
	Spool  Spool
}

// Spool is a body too large for memory, which its recorder holds sealed; Body is empty then.
type Spool interface {
	Size() int64      // in bytes
	Digest() [32]byte // SHA-256 of the bytes
}

// Digest is the SHA-256 of the body.
func (m Message) Digest() [32]byte {
	if m.Spool != nil {
		return m.Spool.Digest()
	}
	return sha256.Sum256(m.Body)
}

// At reports whether the message was captured at p.
func (m Message) At(p Point) bool {
	for _, q := range m.Points {
		if q == p {
			return true
		}
	}
	return false
}

// Key is one business identifier found in a message, under the name that the catalogue gives it
// (creditor, notice, iuv, ccp, paymentToken, idPSP, idChannel, …). Values are personal or
// confidential: they reach the keyed index and sealed content only, never an entry or a log.
type Key struct {
	Name  string
	Value string
}

// Keys are the business identifiers of a message in document order. A name may stand several times.
type Keys []Key

// First returns the first value under name, or "".
func (k Keys) First(name string) string {
	for _, x := range k {
		if x.Name == name {
			return x.Value
		}
	}
	return ""
}

// All returns every value under name in document order.
func (k Keys) All(name string) []string {
	var all []string
	for _, x := range k {
		if x.Name == name {
			all = append(all, x.Value)
		}
	}
	return all
}
