// Package testbed is what tests and the demo put before, behind and beside the gateway: a development PKI
// (pki.go), a real Vault (vault.go), the fake EC system, the fake PSP system and the fake pagoPA node
// (peer*.go), the callers that live whole payments through it (life*.go) and the callers that misbehave
// (bad.go). Messages are the project's own synthetic ones (messages/): fictitious people, EC 77777777777,
// PSP TESTPSP1.
//
// It owns no product behaviour: no room imports it except cmd (for the demo) and tests, it imports no room,
// and it must not import "testing". What it logs holds digests, sizes and operation paths, never message content.
package testbed
