package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Fill records exactly count messages with many writers: whole exchanges, and one refusal where count is
// odd, so that nothing stands open. Progress, when it is not nil, is told how many are durable.
func Fill(ctx context.Context, r Recorder, count uint64, writers int, of Workload, progress func(done uint64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		left   atomic.Int64 // exchanges that nobody has begun
		done   atomic.Uint64
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
	)
	left.Store(int64(count / 2))
	tell := func() {
		if n := done.Add(1); progress != nil && n%1024 == 0 {
			progress(n)
		}
	}
	for i := range writers {
		w, err := NewWriter(i, of)
		if err != nil {
			return err
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			var err error
			for err == nil && left.Add(-1) >= 0 {
				for range 2 {
					if err = step(ctx, r, w); err != nil {
						break
					}
					tell()
				}
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
				cancel()
			}
		}()
	}
	wg.Wait()
	if failed != nil || count%2 == 0 {
		return failed
	}
	w, err := NewWriter(0, of)
	if err != nil {
		return err
	}
	rec, err := w.Refused()
	if err != nil {
		return err
	}
	_, err = r.Record(ctx, rec)
	return err
}

func step(ctx context.Context, r Recorder, w *Writer) error {
	rec, err := w.Next()
	if err != nil {
		return err
	}
	at, err := r.Record(ctx, rec)
	if err != nil {
		return err
	}
	w.Written(&rec, at)
	return nil
}
