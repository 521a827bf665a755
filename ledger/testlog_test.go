package ledger

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// seedKeys are keys that live in the test only: real signatures and real wrapping, from one seed, so
// that a ledger can be opened again. Faults can be set.
type seedKeys struct {
	checkpoint ed25519.PrivateKey
	master     [32]byte

	mu   sync.Mutex
	sign error // set: signing fails with it
}

func newSeedKeys(seed byte) *seedKeys {
	m := sha256.Sum256([]byte{seed})
	return &seedKeys{checkpoint: ed25519.NewKeyFromSeed(m[:]), master: m}
}

var errDestroyed = errors.New("destroyed")

func (k *seedKeys) failing(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sign = err
}

func (k *seedKeys) fault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sign
}

func (k *seedKeys) Public() crypto.PublicKey { return k.checkpoint.Public() }

func (k *seedKeys) Sign(_ context.Context, message []byte) ([]byte, error) {
	if err := k.fault(); err != nil {
		return nil, err
	}
	return ed25519.Sign(k.checkpoint, message), nil
}

// SignReceipts signs as "payload.signature": the JWS form itself is tested in signing.
func (k *seedKeys) SignReceipts(_ context.Context, payloads [][]byte) ([]SignedReceipt, error) {
	if err := k.fault(); err != nil {
		return nil, err
	}
	out := make([]SignedReceipt, len(payloads))
	for i, p := range payloads {
		out[i].Compact = fmt.Sprintf("%s.%x", p, ed25519.Sign(k.checkpoint, p))
	}
	return out, nil
}

func (k *seedKeys) check(compact string) ([]byte, error) {
	cut := len(compact) - 129
	if cut < 0 || compact[cut] != '.' {
		return nil, errors.New("malformed")
	}
	var sig []byte
	if _, err := fmt.Sscanf(compact[cut+1:], "%x", &sig); err != nil {
		return nil, err
	}
	if !ed25519.Verify(k.checkpoint.Public().(ed25519.PublicKey), []byte(compact[:cut]), sig) {
		return nil, errors.New("bad signature")
	}
	return []byte(compact[:cut]), nil
}

func (k *seedKeys) aead(name string) cipher.AEAD {
	key := sha256.Sum256(append(k.master[:], name...))
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	g, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return g
}

func (k *seedKeys) DataKey(_ context.Context, name string) (plain [32]byte, wrapped []byte, err error) {
	nonce := make([]byte, 12)
	if _, err = rand.Read(plain[:]); err == nil {
		_, err = rand.Read(nonce)
	}
	return plain, k.aead(name).Seal(nonce, nonce, plain[:], nil), err
}

func (k *seedKeys) Unwrap(_ context.Context, name string, wrapped []byte) (plain [32]byte, err error) {
	p, err := k.aead(name).Open(nil, wrapped[:12], wrapped[12:], nil)
	copy(plain[:], p)
	return plain, err
}

func (k *seedKeys) MAC(_ context.Context, name string, input []byte) (out [32]byte, err error) {
	m := hmac.New(sha256.New, append(k.master[:], name...))
	m.Write(input)
	copy(out[:], m.Sum(nil))
	return out, nil
}

func (k *seedKeys) Destroyed(err error) bool { return errors.Is(err, errDestroyed) }

const testOrigin = "sigillo.test/ec-77777777777"

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func testOptions(dir string, k *seedKeys) Options {
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		panic(err)
	}
	return Options{Dir: dir, Origin: testOrigin, Node: "gw-1", Software: "sigillo test", Custody: "file",
		Checkpoints: k, Receipts: k, Keys: k, DiskStop: 1 << 20, Logger: quiet(),
		PublicKeys: []PublicKey{{Use: "checkpoint", Alg: "Ed25519", KID: "test", SPKI: spki}}}
}

// openTest opens a ledger that the test closes by itself or at its end.
func openTest(t *testing.T, dir string, k *seedKeys) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), testOptions(dir, k))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, l) })
	return l
}

func closeTest(t *testing.T, l *Ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

func newID() exchange.ID { return exchange.ID(uuid.Must(uuid.NewV7()).String()) }

var (
	testFrom     = exchange.Party{Participant: "node:pagopa", Role: "node", Cert: Hash{1}.String()}
	testTo       = exchange.Party{Participant: "ec:77777777777", Role: "ec"}
	testDecision = &exchange.Decision{Allow: true, Policies: []string{"node-may-call-ec"}, Pack: Hash{2}.String()}
)

func requestRecord(id exchange.ID, body []byte, keys ...exchange.Key) exchange.Record {
	return exchange.Record{Kind: exchange.KindRequest, Exchange: id, Principal: "ec:77777777777", Class: "audit-10y", Captured: time.Now(),
		Route: "ec-in", Operation: "paGetPaymentV2", From: testFrom, To: testTo, Decision: testDecision, Keys: keys,
		Messages: []exchange.Message{{Points: []exchange.Point{exchange.RequestReceived, exchange.RequestForwarded},
			Head: []byte(`{"method":"POST"}`), Body: body}}}
}

func responseRecord(req exchange.Record, at exchange.Recorded, body []byte) exchange.Record {
	r := req
	r.Kind, r.FirstIndex, r.Keys = exchange.KindResponse, 1, nil
	r.Request = &exchange.RequestRef{N: at.N, Entry: at.Entry, Body: sha256.Sum256(req.Messages[0].Body)}
	r.Outcome = &exchange.Outcome{Code: "OK"}
	r.Messages = []exchange.Message{{Points: []exchange.Point{exchange.ResponseReceived, exchange.ResponseDelivered},
		Status: 200, Head: []byte(`{"status":200}`), Body: body}}
	return r
}

// roundTrip records one whole exchange and waits for its receipt.
func roundTrip(ctx context.Context, l *Ledger, body []byte, keys ...exchange.Key) (exchange.ID, error) {
	req := requestRecord(newID(), body, keys...)
	at, err := l.Record(ctx, req)
	if err != nil {
		return "", err
	}
	if _, err = l.Record(ctx, responseRecord(req, at, []byte("answer"))); err != nil {
		return "", err
	}
	_, err = l.Receipt(ctx, req.Exchange)
	return req.Exchange, err
}

// fill records n whole exchanges.
func fill(t *testing.T, l *Ledger, n int) []exchange.ID {
	t.Helper()
	var ids []exchange.ID
	for i := range n {
		id, err := roundTrip(t.Context(), l, fmt.Appendf(nil, "<request n=\"%d\"/>", i), exchange.Key{Name: "notice", Value: fmt.Sprintf("30200010000%07d", i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// verifyDir is the oracle of every test: what a user's verify says about the ledger in dir.
// A ledger that cannot even be begun is broken.
func verifyDir(t *testing.T, dir string, k *seedKeys, more ...func(*VerifyOptions)) *exchange.Verdict {
	t.Helper()
	l, found, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		return &exchange.Verdict{Verdict: exchange.Broken, Findings: append(found, exchange.Finding{Check: "open", Severity: exchange.Broken, Detail: err.Error()})}
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	o := VerifyOptions{Keys: k, CheckReceipt: k.check}
	for _, m := range more {
		m(&o)
	}
	v, err := Verify(t.Context(), l, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		v.Add(f)
	}
	return v
}

func wantIntact(t *testing.T, v *exchange.Verdict) {
	t.Helper()
	if v.Verdict != exchange.Intact {
		for _, f := range v.Findings {
			t.Log(f)
		}
		t.Fatalf("verdict %s", v.Verdict)
	}
}

// copyDir copies a stopped ledger as it is.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := copyLedger(to, from); err != nil {
		t.Fatal(err)
	}
	return to
}

// indexOf gives what the index says, one line for each member of each run.
func indexOf(t *testing.T, v View) []string {
	t.Helper()
	var lines []string
	each := func(table byte, fn func(key, value []byte) error) {
		if err := v.Scan(t.Context(), []byte{table}, nil, fn); err != nil {
			t.Fatal(err)
		}
	}
	each(tableExchange, func(key, value []byte) error {
		lines = append(lines, fmt.Sprintf("%x", key))
		return nil
	})
	for _, table := range []byte{tableTerm, tableKeyed} {
		each(table, func(key, value []byte) error {
			n := binary.BigEndian.Uint64(key[len(key)-8:])
			line := func(n uint64) error {
				lines = append(lines, fmt.Sprintf("%x %d", key[:len(key)-8], n))
				return nil
			}
			return errors.Join(line(n), members(n, value, line))
		})
	}
	chains := map[string]bool{}
	each(tableOwnIndex, func(key, _ []byte) error {
		chains[string(key[1:len(key)-9])] = true
		return nil
	})
	for p := range chains {
		if err := scanOwn(t.Context(), v, p, 0, func(k, n uint64) error {
			lines = append(lines, fmt.Sprintf("%s %d %d", p, k, n))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	sort.Strings(lines)
	return lines
}
