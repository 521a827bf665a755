package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// BareHashing is how many entries a second this machine hashes and does nothing else, on all cores: the
// entry, its leaf, and one node of the tree, over the entries given, again and again for d.
func BareHashing(entries [][]byte, d time.Duration) float64 {
	if len(entries) == 0 {
		return 0
	}
	return onAllCores(d, func(work func() bool) {
		var leaf []byte
		var last, other [32]byte
		for i := 0; work(); i++ {
			e := entries[i%len(entries)]
			last = sha256.Sum256(e)
			leaf = append(append(leaf[:0], 0), e...)
			other = node(last, sha256.Sum256(leaf))
		}
		runtime.KeepAlive(other)
	})
}

// BareSignatures is how many ECDSA P-256 signatures a second this machine verifies on all cores.
func BareSignatures(d time.Duration) (float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256([]byte("receipt"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return 0, err
	}
	var bad atomic.Bool
	rate := onAllCores(d, func(work func() bool) {
		for work() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
				bad.Store(true)
			}
		}
	})
	if bad.Load() {
		return 0, errors.New("a good signature was refused")
	}
	return rate, nil
}

// onAllCores counts how often a second the workers, one a core, asked for more work.
func onAllCores(d time.Duration, worker func(work func() bool)) float64 {
	var (
		wg    sync.WaitGroup
		stop  atomic.Bool
		total atomic.Int64
	)
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			mine := int64(0)
			worker(func() bool { mine++; return !stop.Load() })
			total.Add(mine - 1)
		}()
	}
	time.Sleep(d)
	stop.Store(true)
	wg.Wait()
	return float64(total.Load()) / time.Since(began).Seconds()
}

// Evict asks the system to forget what it caches of the files below dir, so that the next to open them reads
// the disk. Pages that are not synced stay.
func Evict(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
}
