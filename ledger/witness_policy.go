package ledger

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
)

// maxWitnesses keeps a checkpoint with all its cosignatures far below the size that its readers bound.
const maxWitnesses = 32

// Witness is a C2SP tlog-witness: somebody else who keeps the newest checkpoint of this log that it has
// seen, and cosigns only what continues it.
type Witness struct {
	URL string // submission prefix; https, or http to a loopback address
	Key string // C2SP vkey of its cosignature/v1 key (type 0x04)
}

// WitnessPolicy says who cosigns, and how many make a checkpoint a witnessed one. The zero value asks
// nobody.
type WitnessPolicy struct {
	Witnesses []Witness
	Quorum    int // k of n; 1 to the number of witnesses
}

// Check says what is wrong with the policy, naming the witness by its place.
func (p WitnessPolicy) Check() error {
	_, err := p.keys()
	return err
}

// keys gives the key of each witness, in order.
func (p WitnessPolicy) keys() ([]witnessKey, error) {
	if len(p.Witnesses) == 0 {
		return nil, nil
	}
	if len(p.Witnesses) > maxWitnesses {
		return nil, fmt.Errorf("%d witnesses: the limit is %d", len(p.Witnesses), maxWitnesses)
	}
	if p.Quorum < 1 || p.Quorum > len(p.Witnesses) {
		return nil, fmt.Errorf("a quorum of %d of %d witnesses: write one from 1 to %d", p.Quorum, len(p.Witnesses), len(p.Witnesses))
	}
	var keys []witnessKey
	for i, w := range p.Witnesses {
		k, err := parseWitnessKey(w.Key)
		if err == nil {
			err = checkWitnessURL(w.URL)
		}
		for j, other := range keys {
			if k.pub.Equal(other.pub) { // the name is not signed: one key is one voice
				err = fmt.Errorf("the same key as witness %d", j+1)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("witness %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// checkWitnessURL repeats nothing of the address: it might contain a password.
func checkWitnessURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("url: not https://HOST[:PORT][/PATH]")
	}
	if u.Scheme == "https" || u.Scheme == "http" && onLoopback(u) {
		return nil
	}
	return errors.New("url: not https (http serves to a loopback address only): who answers could claim a fork")
}

func onLoopback(u *url.URL) bool {
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// holds counts the witnesses of the keys whose cosignature over text stands among the lines.
func holds(keys []witnessKey, lines []cosignature, text string) (count int) {
	for _, k := range keys {
		for _, c := range lines {
			if c.verify(k, text) {
				count++
				break
			}
		}
	}
	return count
}
