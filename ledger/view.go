package ledger

import (
	"context"
	"errors"
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
	partial bool // only entries, tiles and one checkpoint can be had: a remote log
}

// Partial tells whether only entries, tiles and the newest checkpoint can be had.
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
