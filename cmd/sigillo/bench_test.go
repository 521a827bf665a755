package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/bench"
	"sigillo/ledger"
)

func TestBenchLedgerPrintsACompleteTable(t *testing.T) {
	t.Setenv("SIGILLO_TEST_MAIN", "1") // the workers are this binary
	code, out, said := sigillo(t, "bench", "ledger", "--quick", "--duration", "60ms", "--rounds", "1", "--json", "--dir", t.TempDir(), "--peers", t.TempDir())
	if code != exitGood {
		t.Fatalf("exit %d: %s", code, said)
	}
	if !strings.Contains(said, "tessera is skipped") {
		t.Errorf("the absent peer is not said aloud: %s", said)
	}
	var table bench.Table
	var rows struct{ Results []map[string]any } // as anybody reads them
	for _, to := range []any{&table, &rows} {
		if err := json.Unmarshal([]byte(out), to); err != nil {
			t.Fatal(err)
		}
	}
	type cell struct {
		subject string
		writers float64
	}
	seen := map[cell]bool{}
	for _, row := range rows.Results {
		c := cell{row["subject"].(string), row["writers"].(float64)}
		seen[c] = true
		if row["size"] != 2.0 {
			t.Errorf("%v: size %v", c, row["size"])
		}
		if c.subject == "tessera" {
			if row["skipped"] == nil || len(row) != 4 {
				t.Errorf("the row of the absent peer is %v", row)
			}
			continue
		}
		for _, key := range []string{"rate", "p50_ms", "p99_ms", "cpu_s_per_1000", "rss_mb"} {
			if n, ok := row[key].(float64); !ok || n <= 0 {
				t.Errorf("%v: %s is %v", c, key, row[key])
			}
		}
		if len(row) != 8 {
			t.Errorf("%v has %d keys", c, len(row))
		}
	}
	if len(seen) != 6 || len(table.Results) != 6 || len(table.Plain) != 2 || len(table.Ratios) != 2 {
		t.Errorf("%d rows of %d cells, %d of plain, %d of ratios", len(table.Results), len(seen), len(table.Plain), len(table.Ratios))
	}
	if table.Claimed == 0 || table.Claimed != table.Verified {
		t.Errorf("%d claimed, %d verified", table.Claimed, table.Verified)
	}
}

func TestBenchFillMakesAnIntactLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	verified := func(want int64) {
		t.Helper()
		code, out, said := sigillo(t, "verify", "--dir", dir, "--skip-content", "--json")
		var v struct {
			Verdict string
			Counts  map[string]int64
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatal(err, said)
		}
		if code != exitGood || v.Verdict != "intact" || v.Counts["entries"] != want || v.Counts["open_exchanges"] != 0 {
			t.Fatalf("exit %d, %s: %v", code, v.Verdict, v.Counts)
		}
	}
	for _, entries := range []string{"300", "501"} { // odd and even numbers of messages; the second adds to the first
		code, out, said := sigillo(t, "bench", "fill", "--entries", entries, "--dir", dir, "--principals", "3", "--classes", "2", "--json")
		if code != exitGood {
			t.Fatalf("exit %d: %s", code, said)
		}
		var filled benchFilled
		if err := json.Unmarshal([]byte(out), &filled); err != nil || filled.Added == 0 {
			t.Fatalf("%s: %v", out, err)
		}
		verified(int64(filled.Entries))
	}
	log, _, err := openLog(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	chains, err := log.Chains(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(chains) != 7 { // three principals with two classes each, and the log's own
		t.Errorf("own chains: %v", chains)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, said := sigillo(t, "bench", "fill", "--entries", "100", "--dir", dir); code != exitUndetermined || !strings.Contains(said, "holds 501 entries already") {
		t.Errorf("a smaller ledger in the same place: exit %d, %s", code, said)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"bench", "fill", "--entries", "100", "--dir", foreign}, {"bench", "verify", "--dir", foreign}} {
		if code, _, _ := sigillo(t, args...); code != exitUndetermined {
			t.Errorf("%v in somebody's directory: exit %d", args, code)
		}
	}
	if left, err := os.ReadDir(foreign); err != nil || len(left) != 1 {
		t.Errorf("somebody's directory now holds %v, %v", left, err)
	}

	v, err := measureVerify(t.Context(), console{nil, nil, &strings.Builder{}}, dir, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if v.Entries != 501 || v.Receipts != 251 || v.Rate <= 0 || v.Hashing <= 0 || v.Signatures <= 0 {
		t.Errorf("%+v", v) // 250 exchanges would be 500 messages: one is a refusal, which has a receipt too
	}
}

func TestBenchFillLeavesAnotherLedgerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	p, err := benchParts(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.cfg.Origin = "sigillo.test/ec-77777777777"
	l, err := p.openLedger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _, said := sigillo(t, "bench", "fill", "--entries", "100", "--dir", dir); code != exitUndetermined || !strings.Contains(said, p.cfg.Origin) {
		t.Errorf("exit %d: %s", code, said)
	}
	if !ledger.StoppedCleanly(dir) {
		t.Error("the other ledger's sign of a clean stop is gone")
	}
}

func TestBenchGrowthMeasuresBothSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("makes ledgers of 10,000 entries")
	}
	t.Setenv("SIGILLO_TEST_MAIN", "1")
	code, out, said := sigillo(t, "bench", "growth", "--entries", "10100", "--rounds", "1", "--duration", "30ms", "--dir", t.TempDir(), "--json")
	if code != exitGood {
		t.Fatalf("exit %d: %s", code, said)
	}
	var grown benchGrown
	if err := json.Unmarshal([]byte(out), &grown); err != nil {
		t.Fatal(err)
	}
	for _, g := range []grownLedger{grown.Small, grown.Large} {
		if g.Rate <= 0 || g.CPU <= 0 || g.Open <= 0 || g.P99 <= 0 {
			t.Errorf("%+v", g)
		}
	}
	if grown.Small.Entries != 10000 || grown.Large.Entries != 10100 || grown.CPURatio <= 0 || grown.RateRatio <= 0 || grown.Verify.Entries != 10100 {
		t.Errorf("%+v", grown)
	}
}

func TestBenchRefusesWhatMeasuresNothing(t *testing.T) {
	for _, args := range [][]string{
		{"ledger", "--writers", "0"}, {"ledger", "--sizes", "2000"}, {"ledger", "--sizes", "-1"}, {"ledger", "--rounds", "0"}, {"ledger", "--duration", "1ms"},
		{"fill", "--entries", "0", "--dir", "x"}, {"fill", "--entries", "5", "--dir", "x", "--classes", "10"}, {"growth", "--entries", "9"},
		{"ledger", "--dir", "/nonexistent"},
	} {
		if code, _, said := sigillo(t, append([]string{"bench"}, args...)...); code != exitUsage || said == "" {
			t.Errorf("%v: exit %d, %s", args, code, said)
		}
	}
}

// BenchmarkLedger reports the limit, Sigillo and Tessera POSIX in one run, as 'sigillo bench ledger' does.
func BenchmarkLedger(b *testing.B) {
	b.Setenv("SIGILLO_TEST_MAIN", "1")
	for _, args := range []struct {
		name    string
		writers int
		size    float64
	}{{"writers=1/KiB=2", 1, 2}, {"writers=256/KiB=2", 256, 2}, {"writers=256/KiB=8", 256, 8}} {
		b.Run(args.name, func(b *testing.B) {
			cmd := benchLedgerCommand{Writers: []int{args.writers}, Sizes: []float64{args.size}, Rounds: b.N, Duration: time.Second}
			table, err := cmd.measure(b.Context(), console{nil, nil, b.Output()})
			if err != nil {
				b.Fatal(err)
			}
			for _, row := range table.Results {
				b.ReportMetric(row.Rate, row.Subject+"/s")
			}
			b.ReportMetric(table.Ratios[0].SigilloLimit, "sigillo-to-limit")
			b.ReportMetric(table.Ratios[0].LimitPlain, "limit-to-plain")
		})
	}
}
