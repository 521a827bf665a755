package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

type receiptCommand struct {
	Get    receiptGetCommand    `cmd:"" help:"Print the receipt of an exchange, a compact JWS."`
	Verify receiptVerifyCommand `cmd:"" help:"Verify a receipt with the keys that its gateway publishes and your own body files."`
}

type receiptGetCommand struct {
	Config   string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Exchange string `arg:"" help:"Exchange id."`
}

func (g *receiptGetCommand) Run(ctx context.Context, c console) error {
	r, err := openReader(ctx, g.Config)
	if err != nil {
		return err
	}
	defer r.close()
	compact, err := ledger.NewOpener(r.log, r.keys).Receipt(ctx, exchange.ID(g.Exchange))
	if err != nil {
		return readError(err)
	}
	_, err = fmt.Fprintln(c.out, compact)
	return err
}

type receiptVerifyCommand struct {
	Receipt  string `arg:"" help:"File with the compact JWS, as the header Sigillo-Receipt carried it."`
	Config   string `short:"c" placeholder:"FILE" help:"Configuration file: its own keys serve where no --jwks is given."`
	JWKS     string `placeholder:"FILE" help:"The gateway's keys: /.well-known/jwks.json."`
	Request  string `placeholder:"FILE" help:"Your copy of the request body."`
	Response string `placeholder:"FILE" help:"Your copy of the response body."`
}

func (v *receiptVerifyCommand) Run(ctx context.Context, c console) error {
	compact, err := os.ReadFile(v.Receipt)
	if err != nil {
		return err
	}
	jwks, err := v.keys(ctx)
	if err != nil {
		return err
	}
	payload, kid, err := signing.VerifyReceipt(strings.TrimSpace(string(compact)), jwks)
	if err != nil {
		return &exitError{exitNegative, fmt.Errorf("the receipt does not hold: %w", err)}
	}
	var said struct {
		Request  struct{ Body string }
		Response struct{ Body string }
	}
	if err := json.Unmarshal(payload, &said); err != nil {
		return negative("the receipt's payload: %v", err)
	}
	for _, b := range []struct{ name, file, want string }{{"request", v.Request, said.Request.Body}, {"response", v.Response, said.Response.Body}} {
		if b.file == "" {
			continue
		}
		body, err := os.ReadFile(b.file)
		if err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(body)); got != b.want {
			return negative("the %s body in %s is not the one that the receipt names (SHA-256 %s, not %s)", b.name, b.file, got, b.want)
		}
	}
	_, err = fmt.Fprintf(c.out, "good signature by key %s\n%s\n", kid, payload)
	return err
}

// keys are those of the file given, or of the configuration's own custody.
func (v *receiptVerifyCommand) keys(ctx context.Context) ([]byte, error) {
	if v.JWKS != "" {
		return os.ReadFile(v.JWKS)
	}
	if v.Config == "" {
		return nil, errors.New("give --jwks FILE, or --config FILE of the gateway itself")
	}
	p, err := loadParts(ctx, v.Config, asUser)
	if err != nil {
		return nil, err
	}
	defer p.close()
	jwks, err := p.jwks(ctx)
	return jwks, undetermined(err)
}
