package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// Spool takes the body of one message while it arrives: sealed chunk by chunk, each written to the store
// ahead of the entry that will make it count. It holds one chunk in memory. What no entry ever names is
// removed, at the latest when the ledger is opened again. One goroutine uses it.
type Spool struct {
	l      *Ledger
	s      *sealer
	buf    []byte
	chunks uint32 // written
	sum    measured
	ended  bool
	gone   bool
}

// errSpoolEnded says that a spool was used after its end.
var errSpoolEnded = errors.New("the spooled body has ended")

// Spool begins the body of message i of an exchange.
func (l *Ledger) Spool(id exchange.ID, i int) (*Spool, error) {
	x, err := uuid.Parse(string(id))
	if err != nil || x.String() != string(id) {
		return nil, fmt.Errorf("exchange id %q is no UUID in canonical form", id)
	}
	s, err := newSealer(l.opts.Origin, x, i)
	if err != nil {
		return nil, err
	}
	return &Spool{l: l, s: s, sum: measured{Hash: sha256.New()}}, nil
}

// Write takes the next bytes.
func (p *Spool) Write(b []byte) (int, error) {
	if p.ended || p.gone {
		return 0, errSpoolEnded
	}
	for rest := b; len(rest) > 0; {
		if len(p.buf) == chunkSize {
			if err := p.flush(false); err != nil {
				return len(b) - len(rest), err
			}
		}
		n := min(chunkSize-len(p.buf), len(rest))
		p.buf = append(p.buf, rest[:n]...)
		rest = rest[n:]
	}
	return p.sum.Write(b)
}

// flush seals what is in memory and writes it. The first chunk leaves a mark by which it is found again
// if no entry follows.
func (p *Spool) flush(last bool) error {
	if p.chunks == maxChunks {
		return fmt.Errorf("a body of more than %d MiB", maxChunks*(chunkSize>>20))
	}
	stream := bodyStream(p.s.i)
	writes := []kv{{chunkKey(p.s.x, stream, p.chunks), p.s.chunk(nil, stream, p.chunks, last, p.buf)}}
	if p.chunks == 0 {
		writes = append(writes, kv{spoolKey(p.s.x, p.s.i), nil})
	}
	if err := p.l.aheadOf(writes); err != nil {
		return err
	}
	p.chunks++
	p.buf = p.buf[:0]
	return nil
}

// end writes the last chunk; Record does it.
func (p *Spool) end() error {
	if p.gone {
		return errSpoolEnded
	}
	if p.ended {
		return nil
	}
	if err := p.flush(true); err != nil {
		return err
	}
	p.ended, p.buf = true, nil
	return nil
}

// Size is how many bytes were written.
func (p *Spool) Size() int64 { return p.sum.size }

// Digest is the SHA-256 of the bytes written so far.
func (p *Spool) Digest() [32]byte { return [32]byte(p.sum.Sum(nil)) }

// CopyTo ends the body and gives its bytes back: what goes on to the other side comes from the store.
func (p *Spool) CopyTo(ctx context.Context, w io.Writer) error {
	if err := p.end(); err != nil {
		return err
	}
	m := &openedMessage{view: p.l.View(), origin: p.s.origin, x: p.s.x, ref: MessageRef{I: p.s.i}, aead: p.s.aead, prefix: p.s.prefix}
	return m.copyStream(ctx, bodyStream(p.s.i), w)
}

// Discard removes a body that no entry will name.
func (p *Spool) Discard(ctx context.Context) error {
	p.gone, p.buf = true, nil
	if p.chunks == 0 {
		return nil
	}
	return p.l.dropSpool(ctx, p.s.x, p.s.i)
}

// dropSpool removes the chunks of a body and its mark.
func (l *Ledger) dropSpool(ctx context.Context, x uuid.UUID, i int) error {
	deletes := [][]byte{spoolKey(x, i)}
	body := chunkKey(x, bodyStream(i), 0)
	err := badgerView{l.db}.Scan(ctx, body[:len(body)-4], nil, func(key, _ []byte) error {
		deletes = append(deletes, key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for the chunks of a body without entry: %w", err)
	}
	if err := write(l.db, nil, deletes); err != nil {
		return fmt.Errorf("removing a body without entry: %w", err)
	}
	return nil
}

// dropSpools removes, when the ledger is opened, the bodies whose entries never came.
func (l *Ledger) dropSpools(ctx context.Context) error {
	var left [][]byte
	err := badgerView{l.db}.Scan(ctx, []byte{tableSpool}, nil, func(key, _ []byte) error {
		left = append(left, key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for bodies without entry: %w", err)
	}
	for _, key := range left {
		if len(key) != 21 {
			return errors.New("the table of bodies without entry is malformed")
		}
		if err := l.dropSpool(ctx, uuid.UUID(key[1:17]), int(binary.BigEndian.Uint32(key[17:]))); err != nil {
			return err
		}
	}
	return nil
}

// aheadOf writes content ahead of its entry.
func (l *Ledger) aheadOf(writes []kv) error {
	if err := l.failedErr(); err != nil {
		return err
	}
	if err := l.room(); err != nil {
		return err
	}
	if err := write(l.db, writes, nil); err != nil {
		return fmt.Errorf("writing content ahead of its entry: %w", err)
	}
	return nil
}
