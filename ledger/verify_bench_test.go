package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sigillo/internal/exchange"
)

// BenchmarkVerify verifies logs and reports how fast that is as a ratio to the same work done bare, on the
// same number of cores in the same run: entry, leaf and node hashes; and signatures of checkpoints.
func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct {
		name        string
		size, every int
	}{{"hashing", 100_000, 1000}, {"signatures", 8_000, 1}} {
		b.Run(c.name, func(b *testing.B) {
			k := newSeedKeys(51)
			dir := makeLog(b, k, c.size, c.every, 51)
			l, _, err := OpenLog(b.Context(), dir, quiet())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			bare := readBare(b, l)
			var verifying, baring, verifyingCPU, baringCPU time.Duration
			b.ResetTimer()
			for range b.N {
				began, cpu := time.Now(), cpuTime(b)
				v, err := Verify(b.Context(), l, VerifyOptions{SkipContent: true})
				if err != nil || v.Verdict != exchange.Intact {
					b.Fatal(v, err)
				}
				verifying, verifyingCPU = verifying+time.Since(began), verifyingCPU+cpuTime(b)-cpu
				began, cpu = time.Now(), cpuTime(b)
				bare.hash()
				if c.every == 1 {
					bare.signatures(b, k.Public().(ed25519.PublicKey))
				}
				baring, baringCPU = baring+time.Since(began), baringCPU+cpuTime(b)-cpu
			}
			b.ReportMetric(float64(b.N)*float64(c.size)/verifying.Seconds(), "entries/s")
			b.ReportMetric(baring.Seconds()/verifying.Seconds(), "x-bare")
			b.ReportMetric(baringCPU.Seconds()/verifyingCPU.Seconds(), "x-bare-cpu")
		})
	}
}

// cpuTime is what this process has used so far: on a machine that others use too it tells more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareWork is what verification cannot do without, with nothing to read and nothing to understand.
type bareWork struct {
	leaves [][]byte // preimages
	texts  [][]byte
	sigs   [][]byte
}

func readBare(b *testing.B, l *Log) *bareWork {
	w := &bareWork{}
	err := l.Scan(b.Context(), []byte{tableEntry}, nil, func(_, value []byte) error {
		w.leaves = append(w.leaves, append([]byte{0}, value...))
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	k := newSeedKeys(51)
	text := []byte(Checkpoint{Origin: testOrigin, Size: 1}.text())
	for range l.Head.Size {
		w.texts, w.sigs = append(w.texts, text), append(w.sigs, ed25519.Sign(k.checkpoint, text))
		if len(w.texts) == 8000 {
			break
		}
	}
	return w
}

// split gives each core its part of n things.
func split(n int, do func(from, to int)) {
	var wg sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	for i := range cores {
		wg.Add(1)
		go func() { defer wg.Done(); do(n*i/cores, n*(i+1)/cores) }()
	}
	wg.Wait()
}

func (w *bareWork) hash() {
	split(len(w.leaves), func(from, to int) {
		var node [65]byte
		for _, b := range w.leaves[from:to] {
			entry, leaf := sha256.Sum256(b[1:]), sha256.Sum256(b)
			copy(node[1:], entry[:])
			copy(node[33:], leaf[:])
			leaf = sha256.Sum256(node[:])
			node[0] = leaf[0] & 1
		}
	})
}

func (w *bareWork) signatures(b *testing.B, pub ed25519.PublicKey) {
	split(len(w.texts), func(from, to int) {
		for i := from; i < to; i++ {
			if !ed25519.Verify(pub, w.texts[i], w.sigs[i]) {
				b.Error("a signature does not hold")
			}
		}
	})
}
