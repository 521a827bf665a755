package ledger

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkBackup measures a full backup of a serving ledger, its restore, and what the backup costs those
// who write meanwhile: entries/s beside the backup as a share of entries/s without it, in the same run.
func BenchmarkBackup(b *testing.B) {
	k := newSeedKeys(43)
	l, err := Open(b.Context(), testOptions(b.TempDir(), k))
	if err != nil {
		b.Fatal(err)
	}
	var count atomic.Uint64
	append := func(ctx context.Context, writers int) (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		for range writers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				body := make([]byte, 2048)
				for ctx.Err() == nil {
					if _, err := l.Record(ctx, requestRecord(newID(), body)); err == nil {
						count.Add(1)
					}
				}
			}()
		}
		return func() { cancel(); wg.Wait() }
	}
	stop := append(b.Context(), 64)
	for count.Load() < 30000 {
		if _, err := roundTrip(b.Context(), l, nil); err != nil {
			b.Fatal(err)
		}
	}
	socket, err := l.ListenSocket()
	if err != nil {
		b.Fatal(err)
	}
	log, _, err := Dial(b.Context(), l.Dir())
	if err != nil {
		b.Fatal(err)
	}
	rate := func(work func()) float64 {
		began, before := time.Now(), count.Load()
		work()
		return float64(count.Load()-before) / time.Since(began).Seconds()
	}
	var bytes int64
	var beside, quietly, restoring time.Duration
	var alone, busy float64
	for i := range b.N {
		alone += rate(func() {
			for until := time.Now().Add(time.Second); time.Now().Before(until); {
				if _, err := roundTrip(b.Context(), l, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		began, dir := time.Now(), b.TempDir()
		busy += rate(func() {
			for time.Since(began) < time.Second { // full backups one after the other
				p, _, err := Backup(b.Context(), log, filepath.Join(dir, fmt.Sprint(i, time.Now().UnixNano())), nil)
				if err != nil {
					b.Fatal(err)
				}
				bytes += p.Bytes
			}
		})
		beside += time.Since(began)
	}
	stop()
	b.ReportMetric(float64(bytes)/1e6/beside.Seconds(), "MB/s-serving")
	b.ReportMetric(busy/alone, "x-entries/s")
	dir := b.TempDir()
	began := time.Now()
	p, _, err := Backup(b.Context(), log, filepath.Join(dir, "b"), nil)
	if err != nil {
		b.Fatal(err)
	}
	quietly = time.Since(began)
	began = time.Now()
	r, err := Restore(b.Context(), RestoreOptions{From: filepath.Join(dir, "b"), To: filepath.Join(dir, "r"), Logger: quiet()})
	if err != nil || !r.Usable {
		b.Fatal(err, r)
	}
	restoring = time.Since(began)
	b.ReportMetric(float64(p.Bytes)/1e6/quietly.Seconds(), "MB/s-idle")
	b.ReportMetric(float64(p.Bytes)/1e6/restoring.Seconds(), "MB/s-restore")
	b.ReportMetric(float64(p.Bytes)/1e6, "MB")
	if err := errors.Join(log.Close(), socket.Close(b.Context()), l.Close(b.Context())); err != nil {
		b.Fatal(err)
	}
}
