package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"sigillo/internal/exchange"
	"sigillo/ledger"
	"sigillo/signing"
)

// vaultAnchor keeps a log's newest mark in Vault's KV, by check-and-set.
type vaultAnchor struct{ kv *signing.KV }

// Keys of the record: the signed note is what counts, the others are for people.
const (
	markNote   = "checkpoint"
	markOrigin = "origin"
	markSize   = "size"
	markRoot   = "root"
)

// Name implements ledger.Anchor.
func (a vaultAnchor) Name() string { return "vault:" + a.kv.Path() }

// Read implements ledger.Anchor.
func (a vaultAnchor) Read(ctx context.Context) (ledger.AnchorMark, error) {
	data, version, err := a.kv.Get(ctx)
	if errors.Is(err, signing.ErrNoRecord) {
		return ledger.AnchorMark{}, ledger.ErrNoMark
	}
	if err != nil {
		return ledger.AnchorMark{}, err
	}
	m, err := ledger.MarkOf([]byte(data[markNote]))
	m.Version = version
	return m, err
}

// Advance implements ledger.Anchor: Vault compares versions, the sizes are compared here, on the version
// that is then replaced.
func (a vaultAnchor) Advance(ctx context.Context, next ledger.AnchorMark) error {
	old, err := a.Read(ctx)
	if err != nil && !errors.Is(err, ledger.ErrNoMark) {
		return err
	}
	if write, err := old.Precedes(next); err != nil || !write {
		return err
	}
	err = a.kv.Put(ctx, map[string]string{markNote: string(next.Note), markOrigin: next.Origin,
		markSize: strconv.FormatUint(next.Size, 10), markRoot: next.Root.String()}, old.Version)
	if errors.Is(err, signing.ErrStaleRecord) {
		return fmt.Errorf("%w: %w", ledger.ErrAnchorMoved, err)
	}
	return err
}

// anchorPath is a log's record in the mount.
func anchorPath(origin string) string {
	return fmt.Sprintf("%x", sha256sum([]byte(origin)))[:16]
}

// origin is the configured origin in an epoch of the log.
func (p *parts) origin(epoch int) string { return ledger.EpochOrigin(p.cfg.Origin, epoch) }

// anchors are the configured anchors of the log's epoch.
func (p *parts) anchors(epoch int) ([]ledger.Anchor, error) {
	var all []ledger.Anchor
	if v, ok := p.custody.(*signing.Vault); ok {
		kv, err := signing.OpenKV(v, p.cfg.Anchors.Vault.Mount, anchorPath(p.origin(epoch)))
		if err != nil {
			return nil, err
		}
		all = append(all, vaultAnchor{kv})
	}
	for _, file := range p.cfg.Anchors.Files {
		all = append(all, ledger.FileAnchor(file, epoch))
	}
	return all, nil
}

// anchorOptions completes the options of the configuration's ledger.
func (p *parts) anchorOptions(o *ledger.Options) error {
	epoch, err := ledger.Epoch(o.Dir)
	if err != nil {
		return err
	}
	o.Origin, o.LaterOrigin = p.origin(epoch), p.origin(epoch+1)
	if o.Anchors, err = p.anchors(epoch); err != nil {
		return err
	}
	if o.LaterAnchors, err = p.anchors(epoch + 1); err != nil {
		return err
	}
	o.AnchorsRequired, o.AnchorEvery = p.cfg.Anchors.Required, p.cfg.Anchors.Interval
	o.Previous, err = ledger.PreviousOf(o.Dir, epoch)
	return err
}

// compareAnchored holds an open log against anchors that were asked before it was opened.
type compareAnchored = func(context.Context, *ledger.Log) ([]exchange.Finding, string)

// compareAnchors asks the configured anchors of the ledger in dir; the function that it gives holds the
// ledger, once it is open, against their answers. A live ledger grows meanwhile, so they are asked first.
func (p *parts) compareAnchors(ctx context.Context, dir string) (compareAnchored, error) {
	if p.cfg == nil {
		return nil, nil // verify --dir alone: nothing is configured
	}
	epoch, err := ledger.Epoch(dir)
	if err != nil {
		return nil, err
	}
	anchors, err := p.anchors(epoch)
	if err != nil {
		return nil, err
	}
	later, err := p.anchors(epoch + 1)
	if err != nil {
		return nil, err
	}
	var before []ledger.Anchor
	if epoch > 1 {
		if before, err = p.anchors(epoch - 1); err != nil {
			return nil, err
		}
	}
	anchors, later = ledger.ReadOnce(ctx, anchors), ledger.ReadOnce(ctx, later)
	return func(ctx context.Context, l *ledger.Log) ([]exchange.Finding, string) {
		found, assurance := ledger.CompareAnchors(ctx, l, anchors)
		found = append(found, ledger.CompareLater(ctx, l, p.origin(epoch+1), later)...)
		return append(found, ledger.ComparePrevious(ctx, l, dir, before)...), assurance
	}, nil
}

// anchored is the readiness of the anchors.
func (g *runningGateway) anchored() error {
	if !g.parts.cfg.Anchors.Required {
		return nil
	}
	var all []error
	for _, s := range g.ledger.Anchored() {
		if !s.Failing.IsZero() {
			all = append(all, fmt.Errorf("%s failing since %s, at size %d", s.Name, s.Failing.UTC().Format(time.RFC3339), s.Size))
		}
	}
	return errors.Join(all...)
}

// refusedBy tells whether opening the ledger ended in a verdict: it has lost what was acknowledged, or is
// not what its anchors vouch for.
func refusedBy(err error) bool {
	var behind *ledger.BehindError
	var damaged *ledger.DamagedError
	var rolled *ledger.RolledBackError
	var forked *ledger.ForkedError
	return errors.As(err, &behind) || errors.As(err, &damaged) || errors.As(err, &rolled) || errors.As(err, &forked) || errors.Is(err, ledger.ErrForked)
}

// confirmedInVault reads which token confirmed a rollback request; nil without Vault.
func (p *parts) confirmedInVault() func(context.Context, ledger.Hash) (ledger.Hash, error) {
	v, ok := p.custody.(*signing.Vault)
	if !ok {
		return nil
	}
	return func(ctx context.Context, request ledger.Hash) (accessor ledger.Hash, err error) {
		kv, err := p.confirmation(v, request)
		if err != nil {
			return accessor, err
		}
		data, _, err := kv.Get(ctx)
		if err != nil {
			return accessor, err
		}
		if data["request"] != request.String() {
			return accessor, errors.New("the confirmation there is of another request")
		}
		return accessor, accessor.UnmarshalText([]byte(data["accessor"]))
	}
}

// confirmation is the record of a request's confirmation: the auditor writes it once, the gateway reads it.
func (p *parts) confirmation(v *signing.Vault, request ledger.Hash) (*signing.KV, error) {
	return signing.OpenKV(v, p.cfg.Anchors.Vault.Mount, "rollback/"+request.String()[:16])
}
