package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// mortalKeys are seedKeys whose class keys can be destroyed, as in Vault.
type mortalKeys struct {
	*seedKeys
	mu   sync.Mutex
	dead map[string]bool
	away error // set: nothing of class keys works
	made int   // data keys asked for
}

func newMortalKeys(seed byte) *mortalKeys {
	return &mortalKeys{seedKeys: newSeedKeys(seed), dead: map[string]bool{}}
}

func (k *mortalKeys) alive(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away != nil {
		return k.away
	}
	if k.dead[name] {
		return fmt.Errorf("class key %s: %w", name, errDestroyed)
	}
	return nil
}

func (k *mortalKeys) setAway(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = err
}

// DataKey makes the class key when it is missing, also one that was destroyed: as custodies do. Nobody may ask that.
func (k *mortalKeys) DataKey(ctx context.Context, name string) ([32]byte, []byte, error) {
	if err := k.alive(name); err != nil && !errors.Is(err, errDestroyed) {
		return [32]byte{}, nil, err
	}
	k.mu.Lock()
	k.made++
	delete(k.dead, name)
	k.mu.Unlock()
	return k.seedKeys.DataKey(ctx, name)
}

func (k *mortalKeys) Unwrap(ctx context.Context, name string, wrapped []byte) ([32]byte, error) {
	if err := k.alive(name); err != nil {
		return [32]byte{}, err
	}
	return k.seedKeys.Unwrap(ctx, name, wrapped)
}

func (k *mortalKeys) MAC(ctx context.Context, name string, input []byte) ([32]byte, error) {
	if err := k.alive(name); err != nil {
		return [32]byte{}, err
	}
	return k.seedKeys.MAC(ctx, name, input)
}

func (k *mortalKeys) DeleteClassKey(_ context.Context, name string) error {
	if err := k.alive(name); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead[name] = true
	return nil
}

func mortalOptions(dir string, k *mortalKeys) Options {
	o := testOptions(dir, k.seedKeys)
	o.Keys = k
	return o
}

func openMortal(t *testing.T, dir string, k *mortalKeys) *Ledger {
	t.Helper()
	l, err := Open(t.Context(), mortalOptions(dir, k))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, l) })
	return l
}
