//go:build race

package ledger

// underRace tells that the race detector slows everything down: scripts/test runs the long tests without it.
const underRace = true
