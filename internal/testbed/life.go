package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The participants of the synthetic messages.
const (
	ECFiscalCode  = "77777777777" // creditor and its own broker
	ECStation     = "77777777777_01"
	PSPID         = "TESTPSP1"
	PSPFiscalCode = "88888888888" // PSP's broker
	PSPChannel    = "88888888888_01"
)

// Paths of the node's SOAP services (docs.pagopa.it; WSDL).
const (
	pathNodeForPSP = "/nodo-auth/node-for-psp/v1"
	pathNodeForPA  = "/nodo-auth/node-for-pa/v1"
)

// Clients are the callers, each with its client certificate.
type Clients struct{ PSP, EC, Node *http.Client }

// Life lives whole payments through a gateway (or, in this package's tests, against the peers themselves): position,
// verify, activate, notify, outcome, receipt, settlement, flow download.
type Life struct {
	// Base URLs of the gateway's routes, without trailing slash: PSP → node, EC → node, node → EC, node → PSP. The paths
	// of the node's services are added to the first two; the last two are called as they are.
	PSPOut, ECOut, ECIn, PSPIn string
	Clients                    Clients
	// RequireEvidence makes an answer without Sigillo-Exchange and Sigillo-Receipt a failure, nested calls included.
	RequireEvidence bool
	// Workers is how many payments go on at once; 0 means 8.
	Workers int
	// Seed numbers the first notice, 13 digits; 0 takes the clock, so that runs do not repeat notices.
	Seed uint64
}

// Exchanges that one payment and one settlement cause, nested ones included.
const (
	perPayment    = 8
	perSettlement = 8
	groupSize     = 4 // payments in one settlement
)

// payments is the largest number of payments whose exchanges, settlements included, are not more than n; at least 1.
func payments(n int) int {
	p := 1
	for perPayment*(p+1)+perSettlement*((p+groupSize)/groupSize) <= n {
		p++
	}
	return p
}

// payment is one paid notice.
type payment struct{ notice, iuv, token, amount string }

// group is the payments of one settlement. The worker that ends the last of them settles.
type group struct {
	mu   sync.Mutex
	left int
	paid []payment
}

// Run causes about n exchanges: as many whole payments with their settlements as fit, at least one of each. progress
// (may be nil) is told the exchanges so far, from one goroutine at a time. An exchange that was not answered as
// expected ends its payment only; all of them are in the error and counted in the tally. Run ends early with ctx.
func (l Life) Run(ctx context.Context, n int, progress func(done int)) (Tally, error) {
	if l.Clients.PSP == nil || l.Clients.EC == nil || l.Clients.Node == nil {
		return Tally{}, errors.New("run payments: a client is missing: PSP, EC and Node are all needed")
	}
	if l.Workers <= 0 {
		l.Workers = 8
	}
	if l.Seed == 0 {
		l.Seed = uint64(time.Now().UnixMilli())
	}
	begin := time.Now()
	r := &lifeRun{life: l, book: book{progress: progress, requireEvidence: l.RequireEvidence}}
	total := payments(n)
	groups := make([]group, (total+groupSize-1)/groupSize)
	for i := range total {
		groups[i/groupSize].left++
	}
	jobs := make(chan int)
	var workers sync.WaitGroup
	for range min(l.Workers, total) {
		workers.Go(func() {
			for i := range jobs {
				r.work(ctx, i, &groups[i/groupSize])
			}
		})
	}
	for i := 0; i < total && ctx.Err() == nil; i++ {
		jobs <- i
	}
	close(jobs)
	workers.Wait()
	tally := r.book.tally(time.Since(begin))
	if err := ctx.Err(); err != nil {
		return tally, fmt.Errorf("run payments: %w", err)
	}
	if tally.Failed > 0 {
		return tally, fmt.Errorf("run payments: %d of %d exchanges not as expected: %w", tally.Failed, tally.Exchanges, errors.Join(r.book.failures...))
	}
	return tally, nil
}

// lifeRun is one Run.
type lifeRun struct {
	life Life
	book book
}

// work does payment i and, if it is the last of its group, the settlement. Errors are in the book.
func (r *lifeRun) work(ctx context.Context, i int, g *group) {
	p, err := r.pay(ctx, i)
	g.mu.Lock()
	if err == nil {
		g.paid = append(g.paid, p)
	}
	g.left--
	settle := g.left == 0 && len(g.paid) > 0
	paid := g.paid
	g.mu.Unlock()
	if settle {
		_ = r.settle(ctx, i/groupSize, paid) // is in the book, as the payment's error is
	}
}

// step is one exchange and what is expected of it.
type step struct {
	operation, route string
	client           *http.Client
	message          message
	status           int    // expected; 0: 200
	outcome          string // expected of a SOAP answer; "": OK
}

// do makes one exchange, checks it and enters it in the book. The texts are those of a SOAP answer.
func (r *lifeRun) do(ctx context.Context, s step) (leaves, error) {
	begin := time.Now()
	answer, err := send(ctx, s.client, s.message)
	took := time.Since(begin)
	var texts leaves
	if err == nil {
		texts, err = s.check(answer)
	}
	if err != nil {
		err = fmt.Errorf("%s on %s: %w", s.operation, s.route, err)
	}
	return texts, r.book.enter(s.operation, s.route, took, answer, err)
}

func (s step) check(answer answered) (leaves, error) {
	status, outcome := s.status, s.outcome
	if status == 0 {
		status = http.StatusOK
	}
	if outcome == "" {
		outcome = "OK"
	}
	if answer.status != status {
		return nil, fmt.Errorf("status %d, want %d", answer.status, status)
	}
	if answer.digest == "differs" {
		return nil, errors.New("the upstream received other bytes than were sent")
	}
	if s.message.action == "" {
		return nil, nil
	}
	texts, got := soapOutcome(answer.body)
	if got != outcome {
		return nil, fmt.Errorf("outcome %q, want %q", got, outcome)
	}
	return texts, nil
}
