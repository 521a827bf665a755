package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// tlogProofHeader is the first line of a C2SP tlog-proof.
const tlogProofHeader = "c2sp.org/tlog-proof@v1"

// Bounds of a proof in bytes: an audit path has at most 63 hashes of a line each.
const (
	maxProofHashes = 63
	maxProofExtra  = 64 << 10
	maxProof       = maxNote + maxProofHashes*45 + maxProofExtra*4/3 + 256
)

// TlogProof is a C2SP tlog-proof (c2sp.org/tlog-proof): where an entry stands, its inclusion proof, and
// the signed checkpoint that the proof leads to. It needs no network and no ledger to be checked.
type TlogProof struct {
	Index      uint64
	Path       []Hash
	Extra      []byte // not authenticated; nil: no such line
	Checkpoint []byte // the signed note as the log gave it, cosignatures included
}

// NewTlogProof proves entry n in the newest signed checkpoint. ErrNoCheckpoint when that does not cover it.
func NewTlogProof(ctx context.Context, v View, n uint64) (TlogProof, error) {
	size, note, err := NewestNote(ctx, v)
	if err != nil {
		return TlogProof{}, err
	}
	if n >= size {
		return TlogProof{}, fmt.Errorf("entry %d: the newest signed checkpoint is of size %d: %w over it", n, size, ErrNoCheckpoint)
	}
	path, err := InclusionProof(ctx, v, n, size)
	return TlogProof{Index: n, Path: path, Checkpoint: note}, err
}

// Marshal gives the proof's file.
func (p TlogProof) Marshal() []byte {
	b := []byte(tlogProofHeader + "\n")
	if p.Extra != nil {
		b = append(base64.StdEncoding.AppendEncode(append(b, "extra "...), p.Extra), '\n')
	}
	b = append(strconv.AppendUint(append(b, "index "...), p.Index, 10), '\n')
	for _, h := range p.Path {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), p.Checkpoint...)
}

// ParseTlogProof reads what Marshal writes, and nothing else; it checks form only.
func ParseTlogProof(b []byte) (TlogProof, error) {
	var p TlogProof
	if len(b) > maxProof {
		return p, fmt.Errorf("tlog-proof of %d bytes: the limit is %d", len(b), maxProof)
	}
	head, note, ok := bytes.Cut(b, []byte("\n\n"))
	if !ok {
		return p, errors.New("tlog-proof: no blank line before the checkpoint")
	}
	lines := strings.Split(string(head), "\n")
	if lines[0] != tlogProofHeader {
		return p, errors.New("tlog-proof: its first line is not " + tlogProofHeader)
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], "extra ") {
		var err error
		if p.Extra, err = base64.StdEncoding.Strict().DecodeString(lines[0][6:]); err != nil || len(p.Extra) > maxProofExtra {
			return p, fmt.Errorf("tlog-proof: the extra line is no base64 of at most %d bytes", maxProofExtra)
		}
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return p, errors.New("tlog-proof: no index line")
	}
	n, err := strconv.ParseUint(lines[0][6:], 10, 63)
	if err != nil {
		return p, errors.New("tlog-proof: the index is no decimal number")
	}
	p.Index = n
	if lines = lines[1:]; len(lines) > maxProofHashes {
		return p, fmt.Errorf("tlog-proof: %d hashes: the limit is %d", len(lines), maxProofHashes)
	}
	for _, l := range lines {
		h, err := base64.StdEncoding.Strict().DecodeString(l)
		if err != nil || len(h) != len(Hash{}) {
			return p, errors.New("tlog-proof: a line of the inclusion proof is no base64 of 32 bytes")
		}
		p.Path = append(p.Path, Hash(h))
	}
	p.Checkpoint = note
	if _, _, err := splitNote(note); err != nil {
		return p, fmt.Errorf("tlog-proof: %w", err)
	}
	if !bytes.Equal(p.Marshal(), b) { // a leading zero, a line end inside base64
		return p, errors.New("tlog-proof: not in its one canonical form")
	}
	return p, nil
}

// Verify checks offline that entry is number Index of the log whose C2SP verifier key is vkey, and gives
// the checkpoint that says so. ErrOtherLog: the key is of another log, so it tells nothing.
func (p TlogProof) Verify(entry []byte, vkey string) (Checkpoint, error) {
	origin, pub, err := ParseVerifierKey(vkey)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := OpenCheckpoint(p.Checkpoint, origin, pub)
	if err != nil {
		return c, err
	}
	return c, VerifyInclusion(entry, p.Index, c.Size, p.Path, c.Root)
}
