package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be sigillo itself: so the tests that kill processes kill the real thing.
func TestMain(m *testing.M) {
	if os.Getenv("SIGILLO_TEST_MAIN") != "" {
		main()
	}
	os.Exit(m.Run())
}

// sigillo runs one command line in this process and gives its exit code and output.
func sigillo(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = execute(t.Context(), args, console{strings.NewReader(""), &out, &err})
	return code, out.String(), err.String()
}

// demoSiteForTest is a site whose three systems run in the test; the gateway is the test's affair.
func demoSiteForTest(t *testing.T, dir string) *demoSite {
	t.Helper()
	s, err := newDemoSite(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// process is a running 'sigillo run'.
type process struct {
	cmd  *exec.Cmd
	out  *safeBuffer
	done chan error
}

// safeBuffer collects a process's output while it runs.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startRun starts the gateway as a process of its own and waits until it says that it is ready.
func startRun(t *testing.T, s *demoSite, env ...string) *process {
	t.Helper()
	return startRunWith(t, s, nil, env...)
}

// startRunWith starts it with further flags.
func startRunWith(t *testing.T, s *demoSite, flags []string, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], append([]string{"run", "-c", s.config}, flags...)...), out: &safeBuffer{}, done: make(chan error, 1)}
	p.cmd.Env = append(append(os.Environ(), "SIGILLO_TEST_MAIN=1"), env...)
	p.cmd.Stdout = p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		in := bufio.NewScanner(stderr)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			fmt.Fprintln(p.out, in.Text())
			if strings.Contains(in.Text(), `"msg":"serving"`) {
				ready <- true
			}
		}
		p.done <- p.cmd.Wait()
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			t.Fatalf("sigillo run ended: %s", p.out)
		}
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Fatalf("sigillo run does not serve: %s", p.out)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// kill ends the process as a power failure of the process would: at once.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.done
}

// stop asks the process to drain and wants exit code 0.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-p.done; err != nil {
		t.Fatalf("sigillo run ended with %v: %s", err, p.out)
	}
}

// callers post one message for ever over many connections and log every answer: the log is the oracle.
type callers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	answered []string // exchange ids of answers with status 200, read whole
	reached  chan struct{}
	want     int
}

func startCallers(s *demoSite, url, contentType string, body []byte, n int) *callers {
	ctx, cancel := context.WithCancel(context.Background())
	c := &callers{cancel: cancel, reached: make(chan struct{})}
	client := s.client("psp")
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = n
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	for range n {
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			for ctx.Err() == nil {
				if id := post(ctx, client, url, contentType, body); id != "" {
					c.mu.Lock()
					c.answered = append(c.answered, id)
					if c.want > 0 && len(c.answered) >= c.want {
						c.want = 0
						close(c.reached)
					}
					c.mu.Unlock()
				}
			}
		}()
	}
	return c
}

// more gives a channel that closes after n further answers.
func (c *callers) more(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want, c.reached = len(c.answered)+n, make(chan struct{})
	return c.reached
}

func (c *callers) stop() []string {
	c.cancel()
	c.wg.Wait()
	return c.answered
}

func post(ctx context.Context, client *http.Client, url, contentType string, body []byte) string {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return ""
	}
	q.Header.Set("Content-Type", contentType)
	resp, err := client.Do(q)
	if err != nil {
		return ""
	}
	var got bytes.Buffer
	_, err = got.ReadFrom(resp.Body)
	if cerr := resp.Body.Close(); err != nil || cerr != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return resp.Header.Get("Sigillo-Exchange")
}
