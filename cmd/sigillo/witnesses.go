package main

import (
	"sigillo/internal/config"
	"sigillo/ledger"
)

// witnessPolicy is the configuration's list of witnesses, as the ledger asks them and verify judges them.
func witnessPolicy(cfg *config.Config) ledger.WitnessPolicy {
	p := ledger.WitnessPolicy{Quorum: cfg.Witnesses.Quorum}
	for _, w := range cfg.Witnesses.List {
		p.Witnesses = append(p.Witnesses, ledger.Witness{URL: w.URL, Key: w.Key})
	}
	return p
}
