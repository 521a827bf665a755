package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sigillo/internal/bench"
	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

// verifySample is how many entries bare hashing goes over: enough to leave the caches as verify does.
const verifySample = 50_000

// bareTime is how long each bare measurement runs.
const bareTime = time.Second

type benchVerifyCommand struct {
	Dir  string `required:"" placeholder:"DIR" help:"A ledger that 'bench fill' made, stopped."`
	JSON bool   `help:"Print JSON."`
}

func (b *benchVerifyCommand) Help() string {
	return "Verify runs twice: without content and receipts, against bare hashing (entry, leaf, node) of the same entries on the same\n" +
		"cores before and after it; and with receipts, whose further time is held against bare signature checks."
}

// benchVerified is what the verb prints.
type benchVerified struct {
	Entries        uint64  `json:"entries"`
	Seconds        float64 `json:"seconds"`
	Rate           float64 `json:"verify_per_s"`  // entries
	Hashing        float64 `json:"hashing_per_s"` // entries, bare
	Ratio          float64 `json:"ratio"`         // floor 0.8
	Receipts       int64   `json:"receipts"`
	ReceiptRate    float64 `json:"receipts_per_s"`
	Signatures     float64 `json:"signatures_per_s"` // bare
	SignatureRatio float64 `json:"signature_ratio"`  // floor 0.8
}

func (b *benchVerifyCommand) Run(ctx context.Context, c console) error {
	v, err := measureVerify(ctx, c, b.Dir, bareTime)
	if err != nil {
		return err
	}
	if b.JSON {
		return writeJSON(c.out, v)
	}
	return v.say(c.out)
}

func (v *benchVerified) say(w io.Writer) error {
	_, err := fmt.Fprintf(w, "verify: %d entries in %.2f s, %.0f a second; bare hashing %.0f a second: %.2f ×\nreceipts: %d, %.0f a second; bare signatures %.0f a second: %.2f ×\n",
		v.Entries, v.Seconds, v.Rate, v.Hashing, v.Ratio, v.Receipts, v.ReceiptRate, v.Signatures, v.SignatureRatio)
	return err
}

// measureVerify holds verify against bare work, which is done four times for bare.
func measureVerify(ctx context.Context, c console, dir string, bare time.Duration) (*benchVerified, error) {
	sample, err := sampleEntries(ctx, dir)
	if err != nil {
		return nil, undetermined(err)
	}
	p, err := benchParts(dir)
	if err != nil {
		return nil, undetermined(err)
	}
	defer p.close()
	jwks, err := p.jwks(ctx)
	if err != nil {
		return nil, undetermined(err)
	}
	receipts, err := signing.NewReceiptVerifier(jwks)
	if err != nil {
		return nil, undetermined(err)
	}
	var out benchVerified
	before := bench.BareHashing(sample, bare)
	plain, err := timedVerify(ctx, c, dir, ledger.VerifyOptions{SkipContent: true})
	if err != nil {
		return nil, err
	}
	out.Hashing = (before + bench.BareHashing(sample, bare)) / 2
	out.Entries, out.Seconds = uint64(plain.counts["entries"]), plain.took.Seconds()
	out.Rate = float64(out.Entries) / out.Seconds
	out.Ratio = out.Rate / out.Hashing

	first, err := bench.BareSignatures(bare)
	if err != nil {
		return nil, undetermined(err)
	}
	signed, err := timedVerify(ctx, c, dir, ledger.VerifyOptions{SkipContent: true, Keys: p.classKeys(), CheckReceipt: func(compact string) ([]byte, error) {
		payload, _, err := receipts.Verify(compact)
		return payload, err
	}})
	if err != nil {
		return nil, err
	}
	second, err := bench.BareSignatures(bare)
	if err != nil {
		return nil, undetermined(err)
	}
	out.Receipts, out.Signatures = signed.counts["receipts_checked"], (first+second)/2
	if more := (signed.took - plain.took).Seconds(); more > 0 {
		out.ReceiptRate = float64(out.Receipts) / more
		out.SignatureRatio = out.ReceiptRate / out.Signatures
	}
	return &out, nil
}

// sampleEntries reads the first entries' bytes.
func sampleEntries(ctx context.Context, dir string) ([][]byte, error) {
	log, _, err := openLog(ctx, dir)
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for n := uint64(0); n < min(log.Head.Size, verifySample) && err == nil; n++ {
		var e ledger.Stored
		if e, err = log.Entry(ctx, n); err == nil {
			all = append(all, e.Bytes)
		}
	}
	return all, errors.Join(err, log.Close())
}

// timed is a verification and its time, opening the ledger included.
type timed struct {
	took   time.Duration
	counts map[string]int64
}

func timedVerify(ctx context.Context, c console, dir string, o ledger.VerifyOptions) (t timed, err error) {
	began := time.Now()
	log, found, err := openLog(ctx, dir)
	if err != nil {
		return t, undetermined(err)
	}
	bar := newProgress(c.err, int64(log.Head.Size), "verifying")
	o.Progress = func(done, _ uint64) { bar.set(int64(done)) }
	v, err := ledger.Verify(ctx, log, o)
	bar.end()
	t.took = time.Since(began)
	if err = errors.Join(err, log.Close()); err != nil {
		return t, undetermined(err)
	}
	for _, f := range found {
		v.Add(f)
	}
	if v.Verdict != exchange.Intact {
		return t, negative("the ledger in %s is %s: %v", dir, v.Verdict, v.Findings)
	}
	t.counts = v.Counts
	return t, nil
}
