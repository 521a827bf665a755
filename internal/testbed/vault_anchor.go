package testbed

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// mountAnchors mounts KV version 2 at sigillo-anchor/ as docs/vault/README.md says: every write by
// check-and-set. A fresh mount answers 400 while it prepares itself for versions.
func (v *Vault) mountAnchors(ctx context.Context) error {
	if _, err := v.Do(ctx, http.MethodPost, "sys/mounts/sigillo-anchor", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := v.Do(ctx, http.MethodPost, "sigillo-anchor/config", map[string]any{"cas_required": true, "max_versions": 100})
		if err == nil || !strings.Contains(err.Error(), "pgrading") {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
