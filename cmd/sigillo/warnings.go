package main

import (
	"fmt"

	"sigillo/ledger"
)

// ledgerWarnings is what readiness says of the ledger although it serves.
func (g *runningGateway) ledgerWarnings() map[string]func() string {
	return map[string]func() string{
		"disk": func() string {
			state, free, err := g.ledger.DiskState()
			if err != nil {
				return err.Error()
			}
			if state == ledger.DiskOK {
				return ""
			}
			return fmt.Sprintf("%d MiB free: below disk.warn (%d MiB); exchanges are refused below disk.stop (%d MiB)",
				free>>20, uint64(g.parts.cfg.Disk.Warn)>>20, uint64(g.parts.cfg.Disk.Stop)>>20)
		},
		"preserved": func() string {
			n := g.ledger.Preserved()
			if n == 0 {
				return ""
			}
			return fmt.Sprintf("%d copies of unclean stops wait for a full 'sigillo verify' with content", n)
		},
	}
}
