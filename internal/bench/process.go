package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU is the user and system time of this process so far.
func processCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Profile starts a CPU profile of this process into w.
func Profile(w io.Writer) (stop func(), err error) {
	return pprof.StopCPUProfile, pprof.StartCPUProfile(w)
}

// memory of this process in MB (10^6 bytes).
type memory struct{ peak, anonymous float64 }

// processMemory reads /proc/self/status: getrusage's peak is inherited from the parent.
func processMemory() (m memory, err error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return m, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		name, rest, _ := strings.Cut(s.Text(), ":")
		var to *float64
		switch name {
		case "VmHWM":
			to = &m.peak
		case "RssAnon":
			to = &m.anonymous
		default:
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		if err != nil {
			return m, fmt.Errorf("reading %s of this process: %w", name, err)
		}
		*to = kib * 1024 / 1e6
	}
	return m, s.Err()
}

// SyncTime is the median time of one append of 4 KiB and its fdatasync in dir, measured over d.
func SyncTime(dir string, d time.Duration) (time.Duration, error) {
	path := filepath.Join(dir, "fdatasync")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	block := make([]byte, 4096)
	var took []time.Duration
	for end := time.Now().Add(d); time.Now().Before(end) || len(took) == 0; {
		began := time.Now()
		if _, err = f.Write(block); err != nil {
			break
		}
		if err = unix.Fdatasync(int(f.Fd())); err != nil {
			break
		}
		took = append(took, time.Since(began))
	}
	if err = errors.Join(err, f.Close(), os.Remove(path)); err != nil {
		return 0, err
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}
