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
)

// noteEd25519 is the signature type of C2SP signed-note for Ed25519 over the note's text.
const noteEd25519 = 0x01

// maxNote bounds a signed note in bytes: origin, size, root and a handful of signature lines.
const maxNote = 16 << 10

// Checkpoint is a C2SP tlog-checkpoint: a log's origin, its size and its root.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
}

func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// CheckOrigin refuses an origin that cannot be the name of a C2SP note key: it is 1 to 200 bytes of
// printable ASCII without space and plus.
func CheckOrigin(origin string) error {
	if origin == "" || len(origin) > 200 {
		return errors.New("origin: 1 to 200 characters")
	}
	for _, c := range []byte(origin) {
		if c <= ' ' || c > '~' || c == '+' || c == '"' || c == '\\' {
			return fmt.Errorf("origin: character %q is not allowed", c)
		}
	}
	return nil
}

// keyHash is the four bytes by which a note names its key (C2SP signed-note).
func keyHash(origin string, pub ed25519.PublicKey) uint32 {
	h := sha256.New()
	h.Write([]byte(origin))
	h.Write([]byte{'\n', noteEd25519})
	h.Write(pub)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// VerifierKey is the C2SP vkey of an origin's checkpoint key: name+hash+base64(type||key).
func VerifierKey(origin string, pub ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", origin, keyHash(origin, pub),
		base64.StdEncoding.EncodeToString(append([]byte{noteEd25519}, pub...)))
}

// ParseVerifierKey reads a C2SP vkey of type Ed25519.
func ParseVerifierKey(vkey string) (origin string, pub ed25519.PublicKey, err error) {
	parts := strings.SplitN(strings.TrimSpace(vkey), "+", 3)
	if len(parts) != 3 {
		return "", nil, errors.New("verifier key: not name+hash+key")
	}
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != noteEd25519 {
		return "", nil, errors.New("verifier key: not an Ed25519 key of type 1")
	}
	pub = ed25519.PublicKey(raw[1:])
	if fmt.Sprintf("%08x", keyHash(parts[0], pub)) != parts[1] {
		return "", nil, errors.New("verifier key: its hash does not match")
	}
	return parts[0], pub, nil
}

// signCheckpoint makes the signed note of c.
func signCheckpoint(ctx context.Context, c Checkpoint, s Signer) ([]byte, error) {
	pub, ok := s.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the checkpoint key is not Ed25519")
	}
	text := c.text()
	sig, err := s.Sign(ctx, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("signing the checkpoint of size %d: %w", c.Size, err)
	}
	if !ed25519.Verify(pub, []byte(text), sig) {
		return nil, fmt.Errorf("signing the checkpoint of size %d: the signature does not verify under the public key", c.Size)
	}
	line := append(binary.BigEndian.AppendUint32(nil, keyHash(c.Origin, pub)), sig...)
	return []byte(text + "\n— " + c.Origin + " " + base64.StdEncoding.EncodeToString(line) + "\n"), nil
}

// ErrNoteSignature says that a note carries no valid signature by the wanted key.
var ErrNoteSignature = errors.New("no valid signature by the log's key")

// ErrOtherLog says that a checkpoint is of another log than the one wanted.
var ErrOtherLog = errors.New("checkpoint of another log")

// OpenCheckpoint reads a signed note and checks that pub signed it for its own origin. Further
// signatures (witnesses) may stand beside; extension lines are not used and are refused.
func OpenCheckpoint(note []byte, origin string, pub ed25519.PublicKey) (Checkpoint, error) {
	c, sigs, err := splitNote(note)
	if err != nil {
		return c, err
	}
	if c.Origin != origin {
		return c, fmt.Errorf("%w (%q, not %q)", ErrOtherLog, c.Origin, origin)
	}
	text := []byte(c.text())
	for _, l := range sigs {
		rest, isSig := strings.CutPrefix(l, "— ")
		name, b64, two := strings.Cut(rest, " ")
		raw, err := base64.StdEncoding.DecodeString(b64)
		if !isSig || !two || err != nil || len(raw) < 5 {
			return c, errors.New("checkpoint: a signature line is malformed")
		}
		if name == origin && binary.BigEndian.Uint32(raw) == keyHash(origin, pub) && ed25519.Verify(pub, text, raw[4:]) {
			return c, nil
		}
	}
	return c, ErrNoteSignature
}

// splitNote reads what a note says, and gives its signature lines unread.
func splitNote(note []byte) (c Checkpoint, sigs []string, err error) {
	if len(note) > maxNote {
		return c, nil, fmt.Errorf("checkpoint of %d bytes: the limit is %d", len(note), maxNote)
	}
	text, rest, ok := bytes.Cut(note, []byte("\n\n"))
	if !ok {
		return c, nil, errors.New("checkpoint: no blank line before the signatures")
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 3 {
		return c, nil, errors.New("checkpoint: not exactly origin, size and root")
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return c, nil, errors.New("checkpoint: the size is no decimal number")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != 32 || base64.StdEncoding.EncodeToString(root) != lines[2] {
		return c, nil, errors.New("checkpoint: the root is no base64 of 32 bytes")
	}
	if len(rest) == 0 || rest[len(rest)-1] != '\n' {
		return c, nil, errors.New("checkpoint: the signatures do not end in a newline")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}, strings.Split(strings.TrimSuffix(string(rest), "\n"), "\n"), nil
}
