package config

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
)

// Witnesses are those who cosign checkpoints (C2SP tlog-witness). Without a list nobody does.
type Witnesses struct {
	Quorum int       `yaml:"quorum"` // cosignatures that make a checkpoint a witnessed one; zero: more than half of them
	List   []Witness `yaml:"list"`   // at most 32
}

// Witness is one of them. The log's verifier key must be given to its operator first.
type Witness struct {
	URL string `yaml:"url"` // submission prefix, https://HOST[:PORT][/PATH]; http to a loopback address only
	Key string `yaml:"key"` // C2SP verifier key of its cosignatures, NAME+HASH+BASE64, of type 0x04 (Ed25519)
}

const maxWitnesses = 32

func (w *Witnesses) setDefaults() {
	if len(w.List) > 0 {
		fill(&w.Quorum, len(w.List)/2+1)
	}
}

func (v *validator) witnesses() {
	w := v.config.Witnesses
	switch n := len(w.List); {
	case n == 0 && w.Quorum != 0:
		v.add("witnesses.list", "is required in this section (name a witness, or take witnesses away: then nobody cosigns)")
		return
	case n == 0:
		return
	case n > maxWitnesses:
		v.add("witnesses.list", "must have at most "+strconv.Itoa(maxWitnesses)+" witnesses")
	case w.Quorum < 1 || w.Quorum > n:
		v.add("witnesses.quorum", "must be from 1 to the number of witnesses, "+strconv.Itoa(n))
	}
	urls, keys := map[string]string{}, map[string]string{}
	for i, x := range w.List {
		at := index("witnesses.list", i)
		v.require(at+".url", x.URL, "https://HOST/PATH, to which /add-checkpoint is added")
		if u := v.url(at+".url", x.URL); u != nil && u.Scheme != "https" && !loopback(u.Host) {
			v.add(at+".url", "must be https, http serves to a loopback address only (write https://…): who answers can claim a fork")
		}
		v.unique(at+".url", strings.TrimSuffix(x.URL, "/"), urls, "each witness is asked once")
		v.require(at+".key", x.Key, "the verifier key that its operator publishes, NAME+HASH+BASE64")
		if x.Key == "" {
			continue
		}
		public, problem := witnessKey(x.Key)
		if problem != "" {
			v.add(at+".key", problem)
			continue
		}
		v.unique(at+".key", public, keys, "one key is one voice, whatever its name")
	}
}

// witnessKey gives the public key in a C2SP verifier key of a cosigner, or what is wrong with it.
func witnessKey(vkey string) (public, problem string) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 || parts[0] == "" || len(parts[0]) > 200 || strings.ContainsFunc(parts[0], unicode.IsSpace) {
		return "", "must be a verifier key NAME+HASH+BASE64 (copy the line that the witness's operator publishes)"
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) == 0 {
		return "", "must end in base64 after the second + (copy the whole line)"
	}
	if raw[0] != 0x04 || len(raw) != 33 {
		return "", "must be an Ed25519 cosignature key, type 0x04 (ask the operator for the key of cosignature/v1)"
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return "", "has a hash that does not fit its name and key: it was cut or mistyped (copy the whole line)"
	}
	return parts[2], ""
}
