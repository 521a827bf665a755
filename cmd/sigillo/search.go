package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

type searchCommand struct {
	Config      string `short:"c" required:"" placeholder:"FILE" help:"Configuration file."`
	Dir         string `placeholder:"DIR" help:"Search the ledger in this directory instead of the configuration's: a past epoch, a copy."`
	Exchange    string `placeholder:"ID" help:"Exchange id."`
	Operation   string `help:"Operation, as the catalogue names it, or unknown."`
	Participant string `help:"Participant, e.g. ec:77777777777."`
	Outcome     string `help:"OK, KO, a fault code, or the reason of a refusal or failure."`
	Key         string `help:"Business key: IUV, notice number, payment token, CCP, flow id, station, channel, …"`
	From        string `placeholder:"TIME" help:"From this time on (RFC 3339, or YYYY-MM-DD in UTC)."`
	To          string `placeholder:"TIME" help:"Before this time."`
	Limit       int    `default:"1000" help:"At most so many entries."`
	JSON        bool   `help:"Print JSON, one entry a line, as stored."`
}

func (s *searchCommand) Run(ctx context.Context, c console) error {
	q := ledger.Query{Operation: s.Operation, Participant: s.Participant, Outcome: s.Outcome, Key: s.Key, Limit: s.Limit}
	var err error
	if q.From, err = parseTime(s.From); err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	if q.To, err = parseTime(s.To); err != nil {
		return fmt.Errorf("--to: %w", err)
	}
	r, err := openReaderIn(ctx, s.Config, s.Dir)
	if err != nil {
		return err
	}
	defer r.close()
	var found []ledger.Stored
	if s.Exchange != "" {
		found, err = r.log.Exchange(ctx, exchange.ID(s.Exchange))
	} else {
		found, err = r.log.Search(ctx, q, r.keys)
	}
	if err != nil {
		return readError(err)
	}
	for _, e := range found {
		if s.JSON {
			fmt.Fprintln(c.out, string(e.Bytes))
			continue
		}
		gone, err := erasedMark(ctx, r.log, e)
		if err != nil {
			return readError(err)
		}
		fmt.Fprintln(c.out, summary(e)+gone)
	}
	if len(found) == 0 {
		return negative("nothing found")
	}
	return nil
}

// erasedMark says which entry erased content of this one, if one did.
func erasedMark(ctx context.Context, log *ledger.Log, e ledger.Stored) (string, error) {
	for _, m := range e.Messages {
		by, err := log.ErasedBy(ctx, e.Exchange, m.I)
		if err != nil {
			return "", err
		}
		if by != nil {
			return fmt.Sprintf("  [%v]", by), nil
		}
	}
	return "", nil
}

// summary is one entry as one line for people.
func summary(e ledger.Stored) string {
	line := fmt.Sprintf("%8d  %s  %-17s %-36s", e.N, e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Kind, e.Exchange)
	var more []string
	if e.Operation != "" {
		more = append(more, e.Operation)
	}
	if e.From != nil {
		from := e.From.Participant
		if e.From.Via != "" {
			from += " via " + e.From.Via
		}
		if e.To != nil {
			from += " -> " + e.To.Participant
		}
		more = append(more, from)
	}
	if e.Outcome != nil {
		more = append(more, strings.TrimSpace(e.Outcome.Code+" "+e.Outcome.Fault))
	}
	if e.Reason != "" {
		more = append(more, "("+e.Reason+")")
	}
	return strings.TrimRight(line+"  "+strings.Join(more, "  "), " ")
}

// parseTime reads RFC 3339 or a day of UTC; "" is no time.
func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither RFC 3339 nor YYYY-MM-DD", s)
	}
	return t, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
