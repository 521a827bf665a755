package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Cosignatures are those of C2SP tlog-cosignature, version 1: a note signature of type 0x04 whose bytes
// are the time in seconds and an Ed25519 signature over that time and the checkpoint's text. They are
// kept beside the checkpoint and never in it: a token was made over the checkpoint's bytes.
const (
	cosignatureV1    = 0x04
	cosignatureBytes = 4 + 8 + ed25519.SignatureSize // key id, time, signature
)

// maxCosignatures bounds what a witness may answer, in bytes. It may answer with signatures of several
// keys and types, of which those of ML-DSA-44 take 3,300 bytes each.
const maxCosignatures = 32 << 10

// witnessKey is a witness's name and key, and by what its signature lines are known.
type witnessKey struct {
	name string
	id   uint32
	pub  ed25519.PublicKey
}

// parseWitnessKey reads the C2SP vkey of a cosigner: name+hash+base64(0x04||key).
func parseWitnessKey(vkey string) (witnessKey, error) {
	var k witnessKey
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 || parts[0] == "" || len(parts[0]) > 200 || strings.ContainsFunc(parts[0], notInKeyName) {
		return k, errors.New("witness key: not name+hash+key")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return k, errors.New("witness key: its last part is no base64 of 33 bytes")
	}
	if raw[0] != cosignatureV1 {
		return k, fmt.Errorf("witness key: of type 0x%02x, a witness's is 0x%02x (Ed25519 cosignature/v1)", raw[0], cosignatureV1)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	k = witnessKey{name: parts[0], id: binary.BigEndian.Uint32(sum[:]), pub: raw[1:]}
	if fmt.Sprintf("%08x", k.id) != parts[1] {
		return k, errors.New("witness key: its hash does not match")
	}
	return k, nil
}

func notInKeyName(r rune) bool {
	return r == unicode.ReplacementChar || unicode.IsSpace(r) || unicode.IsControl(r) || r == '+'
}

// cosignature is one line of a witness.
type cosignature struct {
	name string
	id   uint32
	time uint64 // seconds since 1970
	sig  []byte
	line string // without its newline
}

// parseCosignature reads one note signature line; ok is false for a well-formed line of another type.
func parseCosignature(line string) (c cosignature, ok bool, err error) {
	rest, marked := strings.CutPrefix(line, "— ")
	name, b64, two := strings.Cut(rest, " ")
	if !marked || !two || name == "" || strings.ContainsFunc(name, notInKeyName) {
		return c, false, errors.New("cosignature: not a note signature line")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(b64)
	if err != nil || len(raw) < 5 || base64.StdEncoding.EncodeToString(raw) != b64 {
		return c, false, errors.New("cosignature: no base64 of a key id and a signature")
	}
	if len(raw) != cosignatureBytes {
		return c, false, nil
	}
	c = cosignature{name: name, id: binary.BigEndian.Uint32(raw), time: binary.BigEndian.Uint64(raw[4:]), sig: raw[12:], line: line}
	return c, c.time < 1<<63, nil
}

// parseCosignatures reads the lines that a witness answers, or that are kept for a size. Lines of other
// types of signature are left out; text that is no signature line is an error.
func parseCosignatures(body []byte) ([]cosignature, error) {
	if len(body) > maxCosignatures {
		return nil, fmt.Errorf("cosignatures of more than %d bytes", maxCosignatures)
	}
	text, ended := bytes.CutSuffix(body, []byte("\n"))
	if !ended {
		return nil, errors.New("cosignatures: no newline at the end")
	}
	var out []cosignature
	for line := range strings.SplitSeq(string(text), "\n") {
		c, ok, err := parseCosignature(line)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, c)
		}
	}
	return out, nil
}

// by tells whether the line says that it is of k.
func (c cosignature) by(k witnessKey) bool { return c.name == k.name && c.id == k.id }

// verify tells whether k signed the checkpoint's text at the time that the line says.
func (c cosignature) verify(k witnessKey, text string) bool {
	return c.by(k) && ed25519.Verify(k.pub, []byte("cosignature/v1\ntime "+strconv.FormatUint(c.time, 10)+"\n"+text), c.sig)
}

// Cosigned gives the signed checkpoint of a size with the n cosignatures of witnesses that are kept for
// it joined to its signatures, as C2SP signed-note wants it. ErrNotFound: no checkpoint of that size.
func Cosigned(ctx context.Context, v View, size uint64) (note []byte, n int, err error) {
	if note, err = v.Get(ctx, noteKey(size)); err != nil {
		return nil, 0, fmt.Errorf("reading the checkpoint of size %d: %w", size, err)
	}
	lines, err := cosignatureLines(ctx, v, size)
	if err != nil {
		return nil, 0, err
	}
	return append(note, lines...), bytes.Count(lines, []byte("\n")), nil
}

// cosignatureLines are the lines kept for a size; none are no error.
func cosignatureLines(ctx context.Context, v View, size uint64) ([]byte, error) {
	lines, err := v.Get(ctx, cosignKey(size))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("reading the cosignatures of size %d: %w", size, err)
	}
	return lines, nil
}
