// Package config turns Sigillo's one YAML file into validated structs.
//
// It owns the shape of that file, its defaults (every field says what zero means; zero is always the
// strict choice) and what is wrong with it in the operator's words. It starts nothing, opens no socket
// and knows no other package: cmd/sigillo builds the parts from what stands here. Load reads the one
// file only; Config.Check reads what the file names. Secrets are never in the file, nor in memory here:
// a Secret is a reference that Reveal follows.
package config
