package bench

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"
	"runtime"
	"runtime/pprof"

	"sigillo/ledger"
	"sigillo/signing"
)

type ck struct{ signing.Custody }

func (k ck) DataKey(ctx context.Context, name string) ([32]byte, []byte, error) {
	d, err := k.Custody.DataKey(ctx, name)
	return d.Plain, d.Wrapped, err
}
func (k ck) Destroyed(err error) bool { return errors.Is(err, signing.ErrNoClassKey) }

type rs struct{ r *signing.Receipts }

func (s rs) SignReceipts(ctx context.Context, payloads [][]byte) ([]ledger.SignedReceipt, error) {
	signed, err := s.r.SignReceipts(ctx, payloads)
	if err != nil {
		return nil, err
	}
	out := make([]ledger.SignedReceipt, len(signed))
	for i, x := range signed {
		out[i] = ledger.SignedReceipt{Compact: x.Compact, Err: x.Err}
	}
	return out, nil
}

func openSigillo(t testing.TB, dir string) *ledger.Ledger {
	ctx := t.Context()
	c, err := signing.CreateKeyDir(dir+"/keys", signing.SealAlgorithm("p256"))
	if err != nil {
		t.Fatal(err)
	}
	cp, _ := c.Key(ctx, signing.UseCheckpoint)
	rc, _ := c.Key(ctx, signing.UseReceipt)
	receipts, err := signing.NewReceipts(ctx, rc)
	if err != nil {
		t.Fatal(err)
	}
	spki, _ := x509.MarshalPKIXPublicKey(cp.Public())
	l, err := ledger.Open(ctx, ledger.Options{Dir: dir + "/ledger", Origin: Origin, Node: Node, Software: "x", Custody: "file",
		Checkpoints: cp, Receipts: rs{receipts}, Keys: ck{c}, PublicKeys: []ledger.PublicKey{{Use: "checkpoint", Alg: "Ed25519", KID: "x", SPKI: spki}},
		Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestZZ(t *testing.T) {
	RequestsOnly = os.Getenv("RO") != ""
	size, _ := strconv.Atoi(os.Getenv("SIZE"))
	writers, _ := strconv.Atoi(os.Getenv("WRITERS"))
	d, _ := strconv.Atoi(os.Getenv("SECS"))
	load := Load{writers, size, 500 * time.Millisecond, time.Duration(d) * time.Second}
	for i := range 3 {
		l, err := NewLimit(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var sl Sample
		if os.Getenv("NOLIMIT") == "" {
		sl, err = Drive(t.Context(), l, load)
		if err != nil {
			t.Fatal(err)
		}
		}
		l.Close(t.Context())
		runtime.GC()
		g := openSigillo(t, t.TempDir())
		if p := os.Getenv("PROF"); p != "" && i == 1 {
			f, _ := os.Create(p)
			pprof.StartCPUProfile(f)
		}
		sg, err := Drive(t.Context(), g, load)
		pprof.StopCPUProfile()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		n, _ := g.Unsigned()
		if err := g.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("limit %.0f p50 %.2f p99 %.2f cpu %.3f | sigillo %.0f p50 %.2f p99 %.2f cpu %.3f rss %.0f anon %.0f | ratio %.2f p99 %.2f; unsigned %d close %v", sl.Rate, sl.P50, sl.P99, sl.CPU, sg.Rate, sg.P50, sg.P99, sg.CPU, sg.RSS, sg.Anonymous, sg.Rate/sl.Rate, sg.P99/sl.P99, n, time.Since(began))
	}
}
