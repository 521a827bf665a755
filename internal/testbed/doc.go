// Package testbed holds real peers for tests and for the demo: here, a development PKI.
// It does not import "testing".
package testbed
