package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Row is one line of the table: the median of the rounds, and of memory the peak.
type Row struct {
	Subject string  `json:"subject"`
	Writers int     `json:"writers"`
	Size    float64 `json:"size"` // KiB of a body
	Rate    float64 `json:"rate,omitempty"`
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	CPU     float64 `json:"cpu_s_per_1000,omitempty"`
	RSS     float64 `json:"rss_mb,omitempty"`
	Skipped string  `json:"skipped,omitempty"` // why there is no measurement
}

// Ratio compares the subjects of one cell: each figure is the median of the rounds' own ratios, for
// neighbours in time share the machine's moods. Zero: not measured.
type Ratio struct {
	Writers        int     `json:"writers"`
	Size           float64 `json:"size"`
	SigilloLimit   float64 `json:"sigillo_to_limit"`             // of rates; floor 0.6 at 256 × 2 KiB, 0.5 at 256 × 8 KiB
	SigilloTessera float64 `json:"sigillo_to_tessera,omitempty"` // of rates; floor 1.5
	LimitPlain     float64 `json:"limit_to_plain"`               // of rates
	P99            float64 `json:"p99_to_limit"`                 // of latencies; at most 4
	Sync           float64 `json:"p50_to_fdatasync,omitempty"`   // of one writer to one fdatasync of 4 KiB; at most 3
}

// Table is what a run of the bench gives.
type Table struct {
	Results   []Row   `json:"results"`
	Plain     []Row   `json:"plain"` // write and sync of the limit's bytes, without its work
	Ratios    []Ratio `json:"ratios"`
	Rounds    int     `json:"rounds"`
	Fdatasync float64 `json:"fdatasync_ms"` // median of appends of 4 KiB
	Claimed   uint64  `json:"claimed"`      // messages that Sigillo acknowledged, in all rounds and cells
	Verified  uint64  `json:"verified"`     // entries that verify counted for them
}

// Plan says what to measure.
type Plan struct {
	Writers  []int
	Sizes    []float64 // KiB
	Rounds   int
	Warm     time.Duration
	Duration time.Duration // of one subject in one round
	Dir      string        // must be there; each run has a fresh directory in it, removed after it
	Workers  []Worker      // in the order of the table; one without Command is skipped
	// Verify counts the messages in what a Sigillo worker left in dir, or says what is wrong with it.
	Verify func(ctx context.Context, dir string) (messages uint64, err error)
	Step   func(done, total int) // told after each run; may be nil
	Stderr io.Writer
}

// ErrClaim says that the bench's own ledger does not hold what the table claims.
var ErrClaim = errors.New("the ledger does not hold what the table claims")

// Run measures all cells: rounds over the subjects in turn, each in a process and directory of its own.
func (p *Plan) Run(ctx context.Context) (*Table, error) {
	t := &Table{Rounds: p.Rounds}
	done, total := 0, len(p.Writers)*len(p.Sizes)*p.Rounds*len(p.Workers)
	var syncs []float64
	for _, writers := range p.Writers {
		for _, size := range p.Sizes {
			c := cell{load: Load{Writers: writers, Workload: Workload{Size: int(size * 1024)}, Warm: p.Warm, Duration: p.Duration}, samples: map[string][]Sample{}}
			for round := range p.Rounds {
				took, err := SyncTime(p.Dir, p.Duration/10)
				if err != nil {
					return nil, err
				}
				c.syncs = append(c.syncs, took.Seconds()*1e3)
				for i := range p.Workers {
					// Each round begins with another subject: whoever comes first pays for a cold page cache.
					if err := p.one(ctx, &c, p.Workers[(i+round)%len(p.Workers)], t); err != nil {
						return nil, err
					}
					if done++; p.Step != nil {
						p.Step(done, total)
					}
				}
			}
			syncs = append(syncs, c.syncs...)
			p.conclude(t, &c, size)
		}
	}
	t.Fdatasync = median(syncs)
	return t, nil
}

// cell is what the rounds of one cell gave.
type cell struct {
	load    Load
	samples map[string][]Sample
	syncs   []float64 // ms
}

// one runs one subject once, and verifies what Sigillo left.
func (p *Plan) one(ctx context.Context, c *cell, w Worker, t *Table) (err error) {
	if w.Command == nil {
		return nil
	}
	dir, err := os.MkdirTemp(p.Dir, w.Subject+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := w.Run(ctx, dir, c.load, p.Stderr)
	if err != nil {
		return err
	}
	c.samples[w.Subject] = append(c.samples[w.Subject], s)
	if w.Subject != SubjectSigillo {
		return nil
	}
	n, err := p.Verify(ctx, dir)
	if err != nil {
		return fmt.Errorf("verifying the bench's ledger: %w", err)
	}
	t.Claimed, t.Verified = t.Claimed+s.Acknowledged, t.Verified+n
	if n != s.Acknowledged {
		return fmt.Errorf("%d messages acknowledged, verify counts %d: %w", s.Acknowledged, n, ErrClaim)
	}
	return nil
}

func (p *Plan) conclude(t *Table, c *cell, size float64) {
	for _, w := range p.Workers {
		row := Row{Subject: w.Subject, Writers: c.load.Writers, Size: size}
		if s := c.samples[w.Subject]; len(s) == 0 {
			row.Skipped = ErrNoPeer.Error()
		} else {
			row.Rate = Middle(s, func(s Sample) float64 { return s.Rate })
			row.P50 = Middle(s, func(s Sample) float64 { return s.P50 })
			row.P99 = Middle(s, func(s Sample) float64 { return s.P99 })
			row.CPU = Middle(s, func(s Sample) float64 { return s.CPU })
			row.RSS = slices.MaxFunc(s, func(a, b Sample) int { return cmp.Compare(a.RSS, b.RSS) }).RSS
		}
		if w.Subject == SubjectPlain {
			t.Plain = append(t.Plain, row)
		} else {
			t.Results = append(t.Results, row)
		}
	}
	sigillo, limit := c.samples[SubjectSigillo], c.samples[SubjectLimit]
	rate := func(s Sample) float64 { return s.Rate }
	r := Ratio{Writers: c.load.Writers, Size: size,
		SigilloLimit:   Compare(sigillo, limit, rate),
		SigilloTessera: Compare(sigillo, c.samples[SubjectTessera], rate),
		LimitPlain:     Compare(limit, c.samples[SubjectPlain], rate),
		P99:            Compare(sigillo, limit, func(s Sample) float64 { return s.P99 })}
	if c.load.Writers == 1 {
		var of []float64
		for i, s := range sigillo {
			of = append(of, s.P50/c.syncs[i])
		}
		r.Sync = median(of)
	}
	t.Ratios = append(t.Ratios, r)
}

// Compare is the median of a's figure to b's, round by round.
func Compare(a, b []Sample, figure func(Sample) float64) float64 {
	var of []float64
	for i := range min(len(a), len(b)) {
		of = append(of, figure(a[i])/figure(b[i]))
	}
	return median(of)
}

// Middle is the median of a figure.
func Middle(s []Sample, figure func(Sample) float64) float64 {
	var of []float64
	for _, x := range s {
		of = append(of, figure(x))
	}
	return median(of)
}

// median, to six decimals; of nothing it is zero.
func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	half := len(of) / 2
	return math.Round((of[(len(of)-1)/2]+of[half])/2*1e6) / 1e6
}

// TouchMemory writes and removes a file of size bytes in dir. Memory that the machine has never given out
// costs a virtual one several times more at its first use, which would fall on whichever subject comes first.
func TouchMemory(dir string, size int64) error {
	f, err := os.CreateTemp(dir, "touch-")
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for n := int64(0); n < size && err == nil; n += int64(len(block)) {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close(), os.Remove(filepath.Join(dir, filepath.Base(f.Name()))))
}
