package archive

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// commitment is SHA-256("sigillo/content/v1\n" || salt || SHA-256(head) || SHA-256(body)): docs/formats.md, section 3.
func commitment(salt, head, body [32]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte("sigillo/content/v1\n"))
	h.Write(salt[:])
	h.Write(head[:])
	h.Write(body[:])
	return [32]byte(h.Sum(nil))
}

// leafHash is RFC 6962, section 2.1: SHA-256(0x00 || entry).
func leafHash(entry []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(entry)
	return [32]byte(h.Sum(nil))
}

func nodeHash(left, right [32]byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{1})
	h.Write(left[:])
	h.Write(right[:])
	return [32]byte(h.Sum(nil))
}

// checkInclusion obeys RFC 9162, section 2.1.3.2, whose trees are those of RFC 6962.
func checkInclusion(leaf [32]byte, n, size uint64, path [][32]byte, root [32]byte) error {
	if n >= size {
		return fmt.Errorf("entry %d is not in a tree of %d", n, size)
	}
	fn, sn, r := n, size-1, leaf
	for _, p := range path {
		if sn == 0 {
			return errors.New("inclusion path is too long")
		}
		if fn&1 == 1 || fn == sn {
			r = nodeHash(p, r)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			r = nodeHash(r, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 {
		return errors.New("inclusion path is too short")
	}
	if r != root {
		return errors.New("inclusion path does not lead to the root")
	}
	return nil
}

// verifierKey is a C2SP signed-note verifier key of algorithm 0x01 (Ed25519).
type verifierKey struct {
	name string
	id   uint32
	key  ed25519.PublicKey
}

// parseVKey reads "<name>+<8 hex digits>+<base64 of 0x01 || key>" (C2SP signed-note).
func parseVKey(s string) (*verifierKey, error) {
	s = strings.TrimSuffix(s, "\n")
	name, rest, ok := strings.Cut(s, "+")
	id, encoded, ok2 := strings.Cut(rest, "+")
	if !ok || !ok2 || name == "" || strings.ContainsAny(name, " \n") {
		return nil, errors.New("verifier key is not NAME+ID+KEY")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != 1 {
		return nil, errors.New("verifier key is not an Ed25519 key of a signed note (algorithm 0x01)")
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	if hex.EncodeToString(sum[:4]) != id {
		return nil, errors.New("verifier key has another id than its name and key make")
	}
	return &verifierKey{name, binary.BigEndian.Uint32(sum[:4]), ed25519.PublicKey(raw[1:])}, nil
}

// tree is the body of a checkpoint (C2SP tlog-checkpoint).
type tree struct {
	origin string
	size   uint64
	root   [32]byte
}

const maxNote = 64 << 10

// openCheckpoint checks the key's signature on a note and reads the checkpoint. Signatures of other keys
// (witnesses) are passed over.
func openCheckpoint(note []byte, key *verifierKey) (*tree, error) {
	if len(note) > maxNote {
		return nil, fmt.Errorf("signed note has %d bytes, more than %d", len(note), maxNote)
	}
	split := bytes.LastIndex(note, []byte("\n\n"))
	if split < 0 || !bytes.HasSuffix(note, []byte("\n")) {
		return nil, errors.New("not a signed note: no blank line before signatures")
	}
	text, signatures := note[:split+1], strings.Split(strings.TrimSuffix(string(note[split+2:]), "\n"), "\n")
	found := false
	for _, line := range signatures {
		name, encoded, ok := strings.Cut(strings.TrimPrefix(line, "— "), " ")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if !strings.HasPrefix(line, "— ") || !ok || err != nil || len(raw) < 5 {
			return nil, errors.New("not a signed note: malformed signature line")
		}
		if name == key.name && binary.BigEndian.Uint32(raw) == key.id {
			if !ed25519.Verify(key.key, text, raw[4:]) {
				return nil, errors.New("signature of the checkpoint is wrong")
			}
			found = true
		}
	}
	if !found {
		return nil, fmt.Errorf("checkpoint is not signed by %s", key.name)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 3 {
		return nil, errors.New("checkpoint has not exactly three lines")
	}
	t := &tree{origin: lines[0]}
	var err error
	if t.size, err = strconv.ParseUint(lines[1], 10, 63); err != nil || strconv.FormatUint(t.size, 10) != lines[1] {
		return nil, errors.New("size of the checkpoint is not a plain number")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != 32 {
		return nil, errors.New("root of the checkpoint is not 32 bytes in base64")
	}
	t.root = [32]byte(root)
	return t, nil
}

// proofLine is one line of data/ledger/proofs.jsonl.
type proofLine struct {
	N    uint64   `json:"n"`
	Path []string `json:"path"` // base64, leaf's sibling first, as in a C2SP tlog-proof
}

func encodePath(n uint64, path [][32]byte) proofLine {
	l := proofLine{N: n, Path: make([]string, len(path))}
	for i, p := range path {
		l.Path[i] = base64.StdEncoding.EncodeToString(p[:])
	}
	return l
}

func (l *proofLine) decode() ([][32]byte, error) {
	if len(l.Path) > 64 {
		return nil, errors.New("inclusion path is too long")
	}
	path := make([][32]byte, len(l.Path))
	for i, s := range l.Path {
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(raw) != 32 {
			return nil, errors.New("inclusion path is not base64 of 32 bytes each")
		}
		path[i] = [32]byte(raw)
	}
	return path, nil
}
