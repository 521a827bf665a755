package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type showCommand struct {
	Config   string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Exchange string `arg:"" help:"Exchange id."`
	Body     string `enum:"request,response," default:"" placeholder:"request|response" help:"Write the exact bytes of this body to standard output, and nothing else."`
	Head     string `enum:"request,response," default:"" placeholder:"request|response" help:"Write the stored head line of this message."`
	Point    string `enum:"request-received,request-forwarded,response-received,response-delivered," default:"" placeholder:"POINT" help:"With --body or --head: the message at this capture point."`
	JSON     bool   `help:"Print the entries as stored, one a line."`
}

func (s *showCommand) Run(ctx context.Context, c console) error {
	if s.Body != "" || s.Head != "" {
		return s.content(ctx, c)
	}
	r, err := openReader(ctx, s.Config)
	if err != nil {
		return err
	}
	defer r.close()
	entries, err := r.log.Exchange(ctx, exchange.ID(s.Exchange))
	if err != nil {
		return readError(err)
	}
	for _, e := range entries {
		if s.JSON {
			fmt.Fprintln(c.out, string(e.Bytes))
			continue
		}
		gone, err := erasedMark(ctx, r.log, e)
		if err != nil {
			return readError(err)
		}
		fmt.Fprintln(c.out, summary(e)+gone)
		var pretty any
		if err := json.Unmarshal(e.Bytes, &pretty); err != nil {
			return err
		}
		if err := writeJSON(c.out, pretty); err != nil {
			return err
		}
	}
	return nil
}

// content writes one body or head; that somebody reads it is an entry before it is read.
func (s *showCommand) content(ctx context.Context, c console) error {
	w, err := openWriter(ctx, s.Config)
	if err != nil {
		return err
	}
	defer w.close()
	id := exchange.ID(s.Exchange)
	entries, err := w.log.Exchange(ctx, id)
	if err != nil {
		return readError(err)
	}
	side := s.Body + s.Head
	ref, err := pick(entries, side, exchange.Point(s.Point))
	if err != nil {
		return err
	}
	by, err := localActor()
	if err != nil {
		return err
	}
	if err := w.accessed(ctx, by, ledger.Access{Operation: "show", Exchanges: 1, Messages: 1}); err != nil {
		return undetermined(fmt.Errorf("recording the access: %w", err))
	}
	content, err := ledger.NewOpener(w.log, w.keys).Content(ctx, id, ref)
	if err != nil {
		return readError(err)
	}
	bytes := content.Body
	if s.Head != "" {
		bytes = append(content.Head, '\n')
	}
	_, err = c.out.Write(bytes)
	return err
}

// pick finds the message of an exchange that a user means: what the caller sent, what it was given.
func pick(entries []ledger.Stored, side string, point exchange.Point) (ledger.MessageRef, error) {
	wanted := []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded}
	if side == "response" {
		wanted = []exchange.Point{exchange.ResponseDelivered, exchange.ResponseReceived}
	}
	if point != "" {
		wanted = []exchange.Point{point}
	}
	for _, p := range wanted {
		for _, e := range entries {
			for _, m := range e.Messages {
				for _, q := range m.Points {
					if q == p {
						return m, nil
					}
				}
			}
		}
	}
	return ledger.MessageRef{}, negative("exchange has no %s message at %s", side, wanted[0])
}

// readError gives an error of reading its exit code: not found and altered are verdicts, a key that
// cannot be had is none.
func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrExchangeID):
		return err
	case errors.Is(err, ledger.ErrNoKey):
		return undetermined(err)
	}
	return &exitError{exitNegative, err}
}
