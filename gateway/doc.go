// Package gateway owns the way of one exchange: listeners with mutual TLS, routes, capture, refusals,
// the forward to the upstream, the delivery, limits and drain.
//
// It decides nothing and keeps nothing itself: policy, ledger and receipts are reached through the small
// interfaces of seams.go. Nothing crosses without its entry: no byte of a request goes on, and no byte of an
// answer goes back, before the entry that commits to it is durable. What it logs holds ids, never content.
package gateway
