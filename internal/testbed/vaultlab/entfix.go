package main

import (
	"context"
	"reflect"
	_ "unsafe" // for go:linkname

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/vault"
)

// registry is the least that the core asks of a plugin registry; without one every mount panics.
type registry map[consts.PluginType]map[string]logical.Factory

func (r registry) Contains(name string, t consts.PluginType) bool { _, ok := r[t][name]; return ok }

func (r registry) Get(name string, t consts.PluginType) (func() (interface{}, error), bool) {
	f, ok := r[t][name]
	return func() (interface{}, error) { return f, nil }, ok
}

func (r registry) Keys(t consts.PluginType) []string {
	var names []string
	for n := range r[t] {
		names = append(names, n)
	}
	return names
}

func (r registry) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// The SDK panics on a path with a create operation and no ExistenceCheck; this version of Vault has such
// paths in sys/ (stubs of the enterprise edition) and in transit. entPaths and tolerant take them away.
//
//go:linkname entPaths github.com/hashicorp/vault/vault.entPaths
var entPaths func(*vault.SystemBackend) []*framework.Path

func init() { entPaths = func(*vault.SystemBackend) []*framework.Path { return nil } }

func tolerant(f logical.Factory) logical.Factory {
	return func(ctx context.Context, c *logical.BackendConfig) (logical.Backend, error) {
		b, err := f(ctx, c)
		if err != nil {
			return nil, err
		}
		if v := reflect.Indirect(reflect.ValueOf(b)).FieldByName("Backend"); v.IsValid() {
			if fb, ok := v.Interface().(*framework.Backend); ok {
				for _, p := range fb.Paths {
					if p.ExistenceCheck == nil {
						delete(p.Operations, logical.CreateOperation)
						delete(p.Callbacks, logical.CreateOperation)
					}
				}
			}
		}
		return b, nil
	}
}
