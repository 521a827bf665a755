package gateway

import (
	"context"
	"time"

	"sigillo/internal/exchange"
)

// Recorder keeps what crosses. Its methods are safe for concurrent use.
type Recorder interface {
	// Record makes one entry and returns when it is durable. After an error the entry may or may not be
	// there; nothing may go on.
	Record(ctx context.Context, r exchange.Record) (exchange.Recorded, error)
	// Receipt gives the signed receipt of an exchange that has its closing entry; it waits until ctx ends.
	Receipt(ctx context.Context, id exchange.ID) (string, error)
	// Await waits until entry n has come to a barrier, or ctx ends.
	Await(ctx context.Context, n uint64, b exchange.Barrier) error
	// Refusals keeps how many callers could not be identified since from, by reason.
	Refusals(ctx context.Context, from time.Time, counts map[string]uint64) error
}

// Decider says whether a request may go on. Safe for concurrent use.
type Decider interface {
	Decide(q exchange.Question) exchange.Decision
}
