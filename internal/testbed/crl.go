package testbed

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// revokedEntry is one line of an authority's NAME.revoked.json.
type revokedEntry struct {
	Serial string    `json:"serial"` // hexadecimal
	Time   time.Time `json:"time"`
}

func (a *Authority) revoked() ([]revokedEntry, error) {
	raw, err := os.ReadFile(a.path(".revoked.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []revokedEntry
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("reading %s: %w", a.path(".revoked.json"), err)
	}
	return out, nil
}

func (a *Authority) revoke(c *x509.Certificate, now time.Time) error {
	entries, err := a.revoked()
	if err != nil {
		return err
	}
	raw, err := json.Marshal(append(entries, revokedEntry{c.SerialNumber.Text(16), now.Add(-crlBackdate).UTC().Truncate(time.Second)}))
	if err != nil {
		return fmt.Errorf("encoding %s: %w", a.path(".revoked.json"), err)
	}
	return writeFile(a.path(".revoked.json"), raw, 0o644)
}

// crl issues the authority's list (DER) and writes it to NAME.crl.der. Its number is the time in milliseconds.
func (a *Authority) crl(thisUpdate, nextUpdate time.Time, number int64) ([]byte, error) {
	entries, err := a.revoked()
	if err != nil {
		return nil, err
	}
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: thisUpdate.UTC().Truncate(time.Second), NextUpdate: nextUpdate.UTC().Truncate(time.Second)}
	for _, e := range entries {
		serial, ok := new(big.Int).SetString(e.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("%s: serial %q is not hexadecimal", a.path(".revoked.json"), e.Serial)
		}
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: e.Time})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: issuing its revocation list: %w", a.name, err)
	}
	return der, writeFile(a.path(".crl.der"), der, 0o644)
}
