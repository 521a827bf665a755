// Package ledger owns the tamper-evident record of every exchange: entries and their bytes, the hash
// chain, the own chains of principals, the RFC 6962 tree with its signed checkpoints, sealed content,
// the keyed index, receipts that wait for their signature, and the one Badger store that holds them.
//
// The bytes that it writes are the contract of docs/formats.md. It signs, wraps keys and asks for time
// only through the interfaces that it declares in seams.go; it knows no HTTP exchange, no policy, no
// package format, and it never imports gateway, archive or cmd.
//
// Writing goes through Open and Ledger.Append. Reading goes through View, which has two parts: Badger
// itself (OpenView, on a stopped ledger) and the unix socket of a running instance (Dial).
package ledger
