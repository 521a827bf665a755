package main

import (
	"context"
	"errors"
	"fmt"

	"sigillo/internal/config"
	"sigillo/policies"
)

type configCommand struct {
	Example  configExampleCommand  `cmd:"" help:"Print a commented, complete configuration."`
	Validate configValidateCommand `cmd:"" help:"Check a configuration and the files that it names; says everything that is wrong at once."`
}

type configExampleCommand struct{}

func (configExampleCommand) Run(c console) error {
	_, err := c.out.Write(config.Example())
	return err
}

type configValidateCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
}

func (v *configValidateCommand) Run(ctx context.Context, c console) error {
	cfg, err := config.Load(v.Config)
	if err != nil {
		return err
	}
	_, perr := policies.Load(cfg.Policies.Dir)
	if err := errors.Join(cfg.Check(ctx), perr); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s: good (%d routes, %d participants, digest %s)\n", v.Config, len(cfg.Routes), len(cfg.Participants), cfg.Digest())
	return err
}
