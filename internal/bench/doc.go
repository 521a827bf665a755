// Package bench measures the ledger against what the machine could do at best and against a peer.
//
// It owns the workload, the drivers of writers, and two yardsticks: the limit, which does the same work a
// message as the ledger over one append-only file, and plain, which writes the same bytes through the
// same group commit and does no work. It may not be used by the product's own path: only cmd imports it,
// what a yardstick writes is no evidence, and nothing here reads or writes a ledger but through ledger's
// exported functions.
package bench
