package testbed

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Tally is what happened in a Run.
type Tally struct {
	Exchanges  int // through the gateway, nested ones included
	Nested     int // of them, those that the node made
	Failed     int // not answered as expected
	Receipts   int // answers with Sigillo-Receipt, pending ones included
	Pending    int // of them, those whose receipt was still to be signed
	SameBytes  int // upstream confirmed the SHA-256 of what was sent
	Took       time.Duration
	Operations []OperationTally // by route and operation
}

// OperationTally is one operation on one route. Percentiles are of the whole call as the caller saw it.
type OperationTally struct {
	Operation, Route string
	Count, Failed    int
	P50, P95, Max    time.Duration
	Exchange         string // id of the last one; "" without gateway
}

// maxFailures bounds how many failures a Run explains.
const maxFailures = 10

// book is where the workers enter exchanges.
type book struct {
	progress        func(done int)
	requireEvidence bool

	mu       sync.Mutex // guards what follows
	sums     Tally
	lines    map[[2]string]*line
	failures []error
}

type line struct {
	took     []time.Duration
	failed   int
	exchange string
}

// enter enters an exchange and those that the node nested in it. It returns err, or the failure that the evidence is.
func (b *book) enter(operation, route string, took time.Duration, answer answered, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range answer.header.Values("Demo-Nested") {
		n, ok := parseNested(text)
		if !ok {
			err = cmp.Or(err, fmt.Errorf("%s on %s: header Demo-Nested is not readable", operation, route))
			continue
		}
		b.sums.Nested++
		var failed error
		switch {
		case n.Outcome != "OK":
			failed = fmt.Errorf("%s on ec-in: status %d, outcome %q", n.Operation, n.Status, n.Outcome)
		case n.Digest == "differs":
			failed = fmt.Errorf("%s on ec-in: the EC received other bytes than were sent", n.Operation)
		}
		receipt := ""
		if n.Receipt {
			receipt = "yes"
		}
		if failed = b.one(n.Operation, "ec-in", n.Took, answered{exchange: n.Exchange, receipt: receipt, digest: n.Digest}, failed); failed != nil {
			err = cmp.Or(err, failed)
		}
	}
	err = cmp.Or(b.one(operation, route, took, answer, err), err)
	if b.progress != nil {
		b.progress(b.sums.Exchanges)
	}
	return err
}

// one enters one exchange and returns why it failed. The caller holds mu.
func (b *book) one(operation, route string, took time.Duration, answer answered, err error) error {
	if err == nil && b.requireEvidence && (answer.exchange == "" || answer.receipt == "") {
		err = fmt.Errorf("%s on %s: no Sigillo-Exchange or no Sigillo-Receipt", operation, route)
	}
	if b.lines == nil {
		b.lines = map[[2]string]*line{}
	}
	l := b.lines[[2]string{route, operation}]
	if l == nil {
		l = &line{}
		b.lines[[2]string{route, operation}] = l
	}
	l.took = append(l.took, took)
	l.exchange = cmp.Or(answer.exchange, l.exchange)
	b.sums.Exchanges++
	if answer.receipt != "" {
		b.sums.Receipts++
	}
	if answer.receipt == "pending" {
		b.sums.Pending++
	}
	if answer.digest == "same" {
		b.sums.SameBytes++
	}
	if err != nil {
		if answer.exchange != "" {
			err = fmt.Errorf("%w (exchange %s)", err, answer.exchange)
		}
		l.failed++
		b.note(err)
	}
	return err
}

// fail notes a failure that is not one of an exchange's transport or outcome.
func (b *book) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(err)
	return err
}

func (b *book) note(err error) {
	b.sums.Failed++
	switch {
	case len(b.failures) < maxFailures:
		b.failures = append(b.failures, err)
	case len(b.failures) == maxFailures:
		b.failures = append(b.failures, errors.New("and more"))
	}
}

func (b *book) tally(took time.Duration) Tally {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.sums
	t.Took = took
	for _, key := range slices.SortedFunc(maps.Keys(b.lines), func(x, y [2]string) int {
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]))
	}) {
		l := b.lines[key]
		slices.Sort(l.took)
		t.Operations = append(t.Operations, OperationTally{Operation: key[1], Route: key[0], Count: len(l.took), Failed: l.failed,
			P50: percentile(l.took, 50), P95: percentile(l.took, 95), Max: l.took[len(l.took)-1], Exchange: l.exchange})
	}
	return t
}

// percentile is the nearest-rank percentile of sorted, which is not empty.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// parseNested reads what Nested.String wrote.
func parseNested(text string) (Nested, bool) {
	var n Nested
	fields := strings.Split(text, "; ")
	n.Operation = fields[0]
	for _, field := range fields[1:] {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "status":
			n.Status, err = strconv.Atoi(value)
		case "outcome":
			n.Outcome = value
		case "exchange":
			n.Exchange = value
		case "receipt":
			n.Receipt, err = strconv.ParseBool(value)
		case "digest":
			n.Digest = value
		case "us":
			var us int64
			us, err = strconv.ParseInt(value, 10, 64)
			n.Took = time.Duration(us) * time.Microsecond
		}
		if err != nil {
			return Nested{}, false
		}
	}
	return n, n.Operation != "" && n.Outcome != ""
}
