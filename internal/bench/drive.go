package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigillo/internal/exchange"
)

// Recorder is what is measured: *ledger.Ledger, *Limit or *Plain.
type Recorder interface {
	Record(ctx context.Context, r exchange.Record) (exchange.Recorded, error)
}

// Load is one cell of the table.
type Load struct {
	Writers int // goroutines that record one message after another
	Workload
	Warm     time.Duration // before anything is counted
	Duration time.Duration // counted
}

// Sample is what one run of one subject gave. Its JSON is what a worker process prints.
type Sample struct {
	Rate         float64 `json:"rate"`   // messages a second
	P50          float64 `json:"p50_ms"` // of the time from call to durable
	P99          float64 `json:"p99_ms"`
	CPU          float64 `json:"cpu_s_per_1000"` // user and system, of the whole process
	RSS          float64 `json:"rss_mb"`         // peak, from the start of the process
	Anonymous    float64 `json:"anonymous_mb"`   // resident at the end of the run without mapped files
	Acknowledged uint64  `json:"acknowledged"`   // every message, those of the warm-up too
	Open         float64 `json:"open_ms"`        // to open what the directory held
	Unsigned     int     `json:"unsigned"`       // receipts that waited for their signature when the run ended
	Close        float64 `json:"close_ms"`       // to sign and write what was left
}

// slowest is how long a run goes on when nothing was durable within its duration.
const slowest = 10 * time.Second

// Drive runs a load against r and measures this process.
func Drive(ctx context.Context, r Recorder, l Load) (Sample, error) {
	var (
		s       Sample
		counted atomic.Bool
		stop    atomic.Bool
		first   = make(chan struct{}) // closed when a message was counted
		once    sync.Once
		wg      sync.WaitGroup
		mu      sync.Mutex
		took    []time.Duration
		failed  error
	)
	for i := range l.Writers {
		w, err := NewWriter(i, l.Workload)
		if err != nil {
			return s, err
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine, all, err := write(ctx, r, w, &stop, func() bool {
				if counted.Load() {
					once.Do(func() { close(first) })
					return true
				}
				return false
			})
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, mine...), errors.Join(failed, err)
			s.Acknowledged += all
		}()
	}
	pause(ctx, l.Warm)
	cpu, began := processCPU(), time.Now()
	counted.Store(true)
	pause(ctx, l.Duration)
	select {
	case <-first:
	case <-time.After(slowest):
	case <-ctx.Done():
	}
	counted.Store(false)
	elapsed, used := time.Since(began), processCPU()-cpu
	memory, err := processMemory()
	stop.Store(true)
	wg.Wait()
	if err = errors.Join(failed, err, ctx.Err()); err != nil {
		return s, err
	}
	if len(took) == 0 {
		return s, fmt.Errorf("no message was durable within %v", l.Duration+slowest)
	}
	slices.Sort(took)
	s.Rate = float64(len(took)) / elapsed.Seconds()
	s.P50, s.P99 = quantile(took, 0.5), quantile(took, 0.99)
	s.CPU = used.Seconds() / float64(len(took)) * 1000
	s.RSS, s.Anonymous = memory.peak, memory.anonymous
	return s, nil
}

// write records until stop, and gives the times of the calls that count.
func write(ctx context.Context, r Recorder, w *Writer, stop *atomic.Bool, counts func() bool) (took []time.Duration, all uint64, err error) {
	for !stop.Load() && ctx.Err() == nil {
		rec, err := w.Next()
		if err != nil {
			return took, all, err
		}
		began := time.Now()
		at, err := r.Record(ctx, rec)
		if err != nil {
			return took, all, err
		}
		if counts() {
			took = append(took, time.Since(began))
		}
		all++
		w.Written(&rec, at)
	}
	return took, all, nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func quantile(sorted []time.Duration, q float64) float64 {
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Nanoseconds()) / 1e6
}
