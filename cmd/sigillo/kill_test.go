package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/exchange"
	"sigillo/internal/testbed"
	"sigillo/ledger"
)

const verifyNotice = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Header/><soapenv:Body>
<p:verifyPaymentNoticeReq xmlns:p="http://pagopa-api.pagopa.gov.it/node/nodeForPsp.xsd"><idPSP>TESTPSP1</idPSP><idBrokerPSP>88888888888</idBrokerPSP>
<idChannel>88888888888_01</idChannel><password>segnaposto-01</password><qrCode><fiscalCode>77777777777</fiscalCode>
<noticeNumber>302000100000012345</noticeNumber></qrCode></p:verifyPaymentNoticeReq></soapenv:Body></soapenv:Envelope>`

// inLedger checks that every answered exchange has its closing response entry, that nothing is open, and
// that the whole ledger is intact.
func inLedger(t *testing.T, s *demoSite, answered []string) *exchange.Verdict {
	t.Helper()
	v := &verifyCommand{Config: s.config}
	o, p, err := v.options(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	verdict, err := verdictOf(t.Context(), p.cfg.Data, o)
	if err != nil {
		t.Fatal(err)
	}
	if verdict.Verdict != exchange.Intact || verdict.Counts["open_exchanges"] != 0 {
		t.Fatalf("verdict %s, counts %v, findings %v", verdict.Verdict, verdict.Counts, verdict.Findings)
	}
	log, _, err := ledger.OpenLog(t.Context(), p.cfg.Data, storeLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	lost := 0
	for _, id := range answered {
		entries, err := log.Exchange(t.Context(), exchange.ID(id))
		if err != nil || entries[len(entries)-1].Kind != exchange.KindResponse && entries[len(entries)-1].Kind != exchange.KindUndelivered {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d answered exchanges are not in the ledger", lost, len(answered))
	}
	return verdict
}

// TestKillOfRunLosesNothingAnswered kills the real process at random moments under load.
func TestKillOfRunLosesNothingAnswered(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	var answered []string
	const kills = 20
	for range kills {
		p := startRun(t, s)
		c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 64)
		<-c.more(1 + rand.IntN(300))
		p.kill(t)
		answered = append(answered, c.stop()...)
	}
	startRun(t, s).stop(t) // recovers, and stops cleanly
	v := inLedger(t, s, answered)
	if v.Counts["kind:recovery"] == 0 {
		t.Errorf("%d kills with 64 exchanges in flight left none open: the test did not hit", kills)
	}
	t.Logf("%d answered exchanges over %d kills, %d recovered, %d entries", len(answered), kills, v.Counts["kind:recovery"], v.Counts["entries"])
}

// TestPowerCutOfRunLosesNothingAnswered does the same with the disk losing what was not synced.
func TestPowerCutOfRunLosesNothingAnswered(t *testing.T) {
	base := t.TempDir()
	disk, err := testbed.MountDisk(base, 3<<30)
	if err != nil {
		t.Skipf("a power cut needs a disk of its own: %v", err)
	}
	defer func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := demoSiteForTest(t, filepath.Join(base, "site"))
	moveLedger(t, s, filepath.Join(disk.Dir, "ledger"))
	var answered []string
	for range 20 {
		p := startRun(t, s)
		c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 64)
		<-c.more(50 + rand.IntN(300))
		if err := disk.Cut(); err != nil {
			t.Fatal(err)
		}
		p.kill(t)
		answered = append(answered, c.stop()...)
		if err := disk.Remount(); err != nil {
			t.Fatal(err)
		}
	}
	startRun(t, s).stop(t)
	inLedger(t, s, answered)
	t.Logf("%d answered exchanges over 20 power cuts", len(answered))
}

// moveLedger points the site's configuration at another ledger directory.
func moveLedger(t *testing.T, s *demoSite, dir string) {
	t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(b), "\ndata: ledger\n", "\ndata: "+dir+"\n", 1)
	if changed == string(b) {
		t.Fatal("the configuration's data line was not found")
	}
	if err := os.WriteFile(s.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}
