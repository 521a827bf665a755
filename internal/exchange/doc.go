// Package exchange holds the value types that flow through Sigillo: an exchange is one HTTP request
// through the gateway and its outcome, a message is one HTTP message kept as bytes, a record is what
// the gateway asks the ledger to keep (docs/formats.md, sections 1 to 3).
//
// It owns names and shapes, nothing that acts: it imports the standard library only, opens nothing,
// logs nothing. Every room may import it; it imports no room.
package exchange
