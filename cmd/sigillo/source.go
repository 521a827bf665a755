package main

import (
	"context"
	"errors"
	"fmt"

	"sigillo/archive"
	"sigillo/internal/exchange"
	"sigillo/ledger"
)

// source is a ledger as the archive reads it.
type source struct {
	log    *ledger.Log
	opener *ledger.Opener
	refs   map[exchange.ID][]ledger.MessageRef // of the exchange that is being packed
}

func newSource(w *writer) *source {
	return &source{log: w.log, opener: ledger.NewOpener(w.log, w.keys), refs: map[exchange.ID][]ledger.MessageRef{}}
}

func (s *source) Origin() string { return s.log.Origin() }

func (s *source) Segment(ctx context.Context, own string, first, last uint64, fn func(archive.Entry) error) error {
	return s.log.Segment(ctx, own, first, last, func(e ledger.Stored) error {
		return fn(archive.Entry{N: e.N, K: e.Own.K, Bytes: e.Bytes})
	})
}

func (s *source) Content(ctx context.Context, x exchange.ID, i int) (archive.Content, error) {
	refs, ok := s.refs[x]
	if !ok {
		entries, err := s.log.Exchange(ctx, x)
		if err != nil {
			return archive.Content{}, err
		}
		for _, e := range entries {
			refs = append(refs, e.Messages...)
		}
		clear(s.refs) // messages of one exchange are asked for one after the other
		s.refs[x] = refs
	}
	for _, r := range refs {
		if r.I != i {
			continue
		}
		c, err := s.opener.Content(ctx, x, r)
		if errors.Is(err, ledger.ErrErased) {
			return archive.Content{}, fmt.Errorf("%w: %w", archive.ErrErased, err)
		}
		return archive.Content{Head: c.Head, Body: c.Body, Salt: c.Salt}, err
	}
	return archive.Content{}, fmt.Errorf("exchange %s has no message %d", x, i)
}

func (s *source) Proof(ctx context.Context, n, size uint64) ([][32]byte, error) {
	path, err := ledger.InclusionProof(ctx, s.log, n, size)
	out := make([][32]byte, len(path))
	for i, h := range path {
		out[i] = h
	}
	return out, err
}

func (s *source) After(ctx context.Context, n uint64) (archive.Checkpoint, error) {
	c, err := ledger.After(ctx, s.log, n)
	if err != nil {
		return archive.Checkpoint{}, err
	}
	if c == nil {
		return archive.Checkpoint{}, fmt.Errorf("no stamped checkpoint covers entry %d", n)
	}
	return archive.Checkpoint{Size: c.Size, Note: c.Note, Query: c.Query, Reply: c.Reply}, nil
}

func (s *source) Before(ctx context.Context, n uint64) ([]byte, bool, error) {
	_, note, err := ledger.Before(ctx, s.log, n)
	return note, note != nil, err
}

func (s *source) Receipt(ctx context.Context, x exchange.ID) (string, error) {
	r, err := s.opener.Receipt(ctx, x)
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrPending) || errors.Is(err, ledger.ErrErased) {
		return "", nil // an exchange that recovery closed has none; a pending one stays out; an erased one is gone
	}
	return r, err
}
