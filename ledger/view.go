package ledger

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrNotFound says that the store has nothing under a key.
var ErrNotFound = errors.New("not in the ledger")

// View reads the store of a ledger. It has two parts: Badger itself, and the unix socket of a running
// instance. Values belong to the caller. A View checks nothing: whoever reads through it does.
type View interface {
	// Get gives the value under a key, or ErrNotFound.
	Get(ctx context.Context, key []byte) ([]byte, error)
	// Scan calls fn in key order for all keys that begin with prefix and are not below from (nil: from
	// the start). It works on one snapshot. An error of fn ends it and is returned.
	Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error
}

// Log is a ledger opened for reading, with who it says it is.
type Log struct {
	View
	Head    Head
	Genesis Entry
	close   func() error
	partial bool
}

// Partial tells that the log gives entries, full tiles and its newest checkpoint only (OpenURL): content,
// receipts, tokens, index and earlier checkpoints are not there, which says nothing about the ledger.
func (l *Log) Partial() bool { return l.partial }

// Close releases what the log was opened from.
func (l *Log) Close() error { return l.close() }

// Origin is the log's C2SP name.
func (l *Log) Origin() string { return l.Genesis.Genesis.Origin }

// newLog reads head and genesis through v.
func newLog(ctx context.Context, v View, close func() error) (*Log, error) {
	l := &Log{View: v, close: close}
	h, err := readHead(ctx, v)
	if err != nil {
		return nil, err
	}
	l.Head = h
	e, err := readEntry(ctx, v, 0)
	if err != nil {
		return nil, err
	}
	if e.Kind != KindGenesis {
		return nil, errors.New("the first entry is no genesis")
	}
	l.Genesis = *e
	return l, nil
}

// CheckpointKey is the key that the log's genesis names for its checkpoints. Whoever has the key from
// elsewhere uses that one: a log cannot vouch for itself.
func (l *Log) CheckpointKey() (ed25519.PublicKey, error) {
	for _, k := range l.Genesis.Genesis.Keys {
		if k.Use != "checkpoint" {
			continue
		}
		pub, err := x509.ParsePKIXPublicKey(k.SPKI)
		if err != nil {
			return nil, fmt.Errorf("checkpoint key in genesis: %w", err)
		}
		ed, ok := pub.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("the checkpoint key in genesis is not Ed25519")
		}
		return ed, nil
	}
	return nil, errors.New("genesis names no checkpoint key")
}

// VerifierKey is CheckpointKey as a C2SP vkey.
func (l *Log) VerifierKey() (string, error) {
	k, err := l.CheckpointKey()
	if err != nil {
		return "", err
	}
	return VerifierKey(l.Origin(), k), nil
}
