// Command tessera-posix is Tessera's side of 'sigillo bench ledger': it appends leaves to a Tessera POSIX
// log with many writers and prints one JSON object. It is a module of its own, so that the product's go.mod
// stays clean, and shares nothing with the product but the flags and the answer of its worker.
//
// An append counts when its index future resolves: Tessera has then integrated the entry, and written its
// bundle and tiles with O_SYNC. The checkpoint that names it is published at Tessera's own interval, later.
// There is no sealing, no index and no receipt: a leaf is its bytes.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"
)

// maxLeaf is the largest leaf of a C2SP entry bundle.
const maxLeaf = 1<<16 - 1

type sample struct {
	Rate         float64 `json:"rate"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
	CPU          float64 `json:"cpu_s_per_1000"`
	RSS          float64 `json:"rss_mb"`
	Acknowledged uint64  `json:"acknowledged"`
}

type load struct {
	writers        int
	size           int
	warm, duration time.Duration
	dir            string
}

func main() {
	var l load
	flag.IntVar(&l.writers, "writers", 1, "goroutines that append one leaf after another")
	flag.IntVar(&l.size, "size", 2048, "bytes of a leaf")
	flag.DurationVar(&l.warm, "warm", 300*time.Millisecond, "before anything is counted")
	flag.DurationVar(&l.duration, "duration", time.Second, "counted")
	flag.StringVar(&l.dir, "dir", "", "empty directory")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard) // its errors come back from calls
	s, err := measure(context.Background(), l)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tessera-posix:", err)
		os.Exit(1)
	}
}

// open gives an appender tuned for this load: a batch goes as soon as every writer waits, which gave the
// best rate of the settings tried (batches of 1/4, 1/2, 1 and 2 × the writers, ages of 1 to 50 ms); a lone
// writer waits for nobody.
func open(ctx context.Context, l load) (*tessera.Appender, func(context.Context) error, error) {
	private, _, err := note.GenerateKey(rand.Reader, "bench.sigillo.test/tessera")
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: l.dir})
	if err != nil {
		return nil, nil, err
	}
	opts := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCheckpointInterval(100*time.Millisecond).
		WithBatching(uint(l.writers), 50*time.Millisecond)
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, opts)
	return appender, shutdown, err
}

func measure(ctx context.Context, l load) (s sample, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	appender, shutdown, err := open(ctx, l)
	if err != nil {
		return s, err
	}
	var (
		counted, stop atomic.Bool
		wg            sync.WaitGroup
		mu            sync.Mutex
		took          []time.Duration
		failed        error
	)
	for i := range l.writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine, all, err := write(ctx, appender, i, l.size, &counted, &stop)
			mu.Lock()
			defer mu.Unlock()
			took, failed, s.Acknowledged = append(took, mine...), errors.Join(failed, err), s.Acknowledged+all
		}()
	}
	time.Sleep(l.warm)
	cpu, began := processCPU(), time.Now()
	counted.Store(true)
	time.Sleep(l.duration)
	counted.Store(false)
	elapsed, used := time.Since(began), processCPU()-cpu
	s.RSS, err = peakMemory()
	stop.Store(true)
	wg.Wait()
	if err = errors.Join(failed, err, shutdown(ctx)); err != nil {
		return s, err
	}
	if len(took) == 0 {
		return s, fmt.Errorf("no leaf was durable within %v", l.duration)
	}
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[min(int(q*float64(len(took))), len(took)-1)].Nanoseconds()) / 1e6
	}
	s.Rate, s.P50, s.P99 = float64(len(took))/elapsed.Seconds(), at(0.5), at(0.99)
	s.CPU = used.Seconds() / float64(len(took)) * 1000
	return s, nil
}

func write(ctx context.Context, a *tessera.Appender, writer, size int, counted, stop *atomic.Bool) (took []time.Duration, all uint64, err error) {
	body := make([]byte, min(size, maxLeaf))
	if _, err := rand.Read(body); err != nil {
		return nil, 0, err
	}
	for serial := uint64(writer) << 40; !stop.Load(); serial++ {
		leaf := slices.Clone(body) // Tessera keeps it until it is integrated
		if len(leaf) >= 8 {
			binary.BigEndian.PutUint64(leaf, serial)
		}
		began := time.Now()
		_, err := a.Add(ctx, tessera.NewEntry(leaf))()
		if errors.Is(err, tessera.ErrPushback) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return took, all, err
		}
		if counted.Load() {
			took = append(took, time.Since(began))
		}
		all++
	}
	return took, all, nil
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peakMemory is the greatest resident memory of this process so far, in MB (10^6 bytes).
func peakMemory() (float64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmHWM in /proc/self/status")
}
