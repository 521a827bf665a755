package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// BenchmarkAppend measures durable appends of one message of 2 KiB, sealed, chained and indexed, against
// plain write + fdatasync of the same bytes by one writer in the same run (reported as ratio).
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			k := newSeedKeys(41)
			l, err := Open(b.Context(), testOptions(b.TempDir(), k))
			if err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 2048)
			b.SetBytes(int64(len(body)))
			b.ResetTimer()
			var wg sync.WaitGroup
			next := make(chan struct{}, writers)
			for range writers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for range next {
						if _, err := l.Record(b.Context(), requestRecord(newID(), body)); err != nil {
							b.Error(err)
						}
					}
				}()
			}
			for range b.N {
				next <- struct{}{}
			}
			close(next)
			wg.Wait()
			b.StopTimer()
			perOp := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(1/perOp, "entries/s")
			b.ReportMetric(perOp/syncSeconds(b, len(body)), "x-fdatasync")
			if err := l.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// syncSeconds is what one write and fdatasync of size bytes takes here and now.
func syncSeconds(b *testing.B, size int) float64 {
	f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
	if err != nil {
		b.Fatal(err)
	}
	const times = 500
	buf := make([]byte, size)
	began := time.Now()
	for range times {
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
		if err := fdatasync(f); err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(began).Seconds() / times
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}
