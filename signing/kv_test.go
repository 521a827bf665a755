package signing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAnchorRights: what each role of docs/vault can do with an anchor, and what it must not be able to.
func TestAnchorRights(t *testing.T) {
	const path = "00112233445566aa"
	g := asRole(t, "gateway", time.Hour)
	kv, err := OpenKV(g, "sigillo-anchor", path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if err := kv.Put(t.Context(), map[string]string{"size": fmt.Sprint(i)}, i); err != nil {
			t.Fatal(err)
		}
	}
	if data, version, err := kv.Get(t.Context()); err != nil || version != 3 || data["size"] != "2" {
		t.Fatalf("version %d, %v, %v", version, data, err)
	}
	refused := func(role string, v *Vault, method, path string, body map[string]any) {
		t.Helper()
		if _, err := realVault(t).DoAs(t.Context(), v.client.Token(), method, path, body); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %s %s: %v", role, method, path, err)
		}
	}
	auditor, archivist := asRole(t, "auditor", time.Hour), asRole(t, "archivist", time.Hour)
	versions := map[string]any{"versions": []int{1, 2, 3}}
	for role, v := range map[string]*Vault{"gateway": g, "auditor": auditor, "archivist": archivist} {
		refused(role, v, http.MethodDelete, "sigillo-anchor/data/"+path, nil)
		refused(role, v, http.MethodPost, "sigillo-anchor/delete/"+path, versions)
		refused(role, v, http.MethodPut, "sigillo-anchor/destroy/"+path, versions)
		refused(role, v, http.MethodPost, "sigillo-anchor/undelete/"+path, versions)
		refused(role, v, http.MethodDelete, "sigillo-anchor/metadata/"+path, nil)
		refused(role, v, http.MethodPost, "sigillo-anchor/metadata/"+path, map[string]any{"max_versions": 1, "delete_version_after": "1s", "cas_required": false})
		refused(role, v, http.MethodPost, "sigillo-anchor/config", map[string]any{"cas_required": false, "max_versions": 1})
		refused(role, v, http.MethodDelete, "sys/mounts/sigillo-anchor", nil)
	}
	put := map[string]any{"data": map[string]string{"size": "9"}, "options": map[string]int{"cas": 3}}
	refused("auditor", auditor, http.MethodPost, "sigillo-anchor/data/"+path, put)
	refused("archivist", archivist, http.MethodPost, "sigillo-anchor/data/"+path, put)
	refused("gateway", g, http.MethodPost, "sigillo-anchor/data/rollback/"+path, put)
	refused("archivist", archivist, http.MethodPost, "sigillo-anchor/data/rollback/"+path, put)

	// Without check-and-set nothing is written at all.
	if _, err := realVault(t).DoAs(t.Context(), g.client.Token(), http.MethodPost, "sigillo-anchor/data/"+path, map[string]any{"data": put["data"]}); err == nil || !strings.Contains(err.Error(), "check-and-set") {
		t.Errorf("a write without check-and-set: %v", err)
	}
	// An auditor reads old versions too, and confirms once.
	old, err := realVault(t).DoAs(t.Context(), auditor.client.Token(), http.MethodGet, "sigillo-anchor/data/"+path+"?version=1", nil)
	if err != nil || fmt.Sprint(old["data"]) != "map[size:0]" {
		t.Errorf("the auditor reads version 1: %v, %v", old["data"], err)
	}
	word, err := OpenKV(auditor, "sigillo-anchor", "rollback/"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := word.Put(t.Context(), map[string]string{"request": "x"}, 0); err != nil {
		t.Error(err)
	}
	if err := word.Put(t.Context(), map[string]string{"request": "y"}, 1); !errors.Is(err, ErrForbidden) {
		t.Errorf("a confirmation is written over: %v", err)
	}
}

// TestConcurrentWritersOfOneRecord: of those that write after one version exactly one wins.
func TestConcurrentWritersOfOneRecord(t *testing.T) {
	kv, err := OpenKV(asRole(t, "gateway", time.Hour), "sigillo-anchor", "00112233445566bb")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Get(t.Context()); !errors.Is(err, ErrNoRecord) {
		t.Fatalf("an empty record: %v", err)
	}
	for round := range uint64(5) {
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for w := range 6 {
			all.Go(func() {
				err := kv.Put(t.Context(), map[string]string{"writer": fmt.Sprint(w)}, round)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, ErrStaleRecord) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if _, version, err := kv.Get(t.Context()); won != 1 || err != nil || version != round+1 {
			t.Fatalf("round %d: %d writers won, version %d, %v", round, won, version, err)
		}
	}
}

// TestDeletedRecordIsNotAnEmptyOne: an administrator deletes or destroys the newest version, or unmounts all.
func TestDeletedRecordIsNotAnEmptyOne(t *testing.T) {
	v, root := realVault(t), asRole(t, "gateway", time.Hour)
	for _, how := range []string{"delete", "destroy"} {
		path := "0011-" + how
		kv, err := OpenKV(root, "sigillo-anchor", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := kv.Put(t.Context(), map[string]string{"size": "1"}, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Do(t.Context(), http.MethodPut, "sigillo-anchor/"+how+"/"+path, map[string]any{"versions": []int{1}}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := kv.Get(t.Context()); err == nil || errors.Is(err, ErrNoRecord) || !strings.Contains(err.Error(), "deleted") {
			t.Errorf("after %s: %v", how, err)
		}
	}
	server := dial(t, VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{Token: SecretText(v.RootToken)}})
	kv, err := OpenKV(server, "nowhere", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Get(t.Context()); err == nil || errors.Is(err, ErrNoRecord) {
		t.Errorf("a missing mount: %v", err)
	}
	if err := kv.Put(t.Context(), map[string]string{"size": "1"}, 0); err == nil {
		t.Error("written into a missing mount")
	}
	kv, err = OpenKV(server, "transit", "keys/sigillo-checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Get(t.Context()); err == nil || errors.Is(err, ErrNoRecord) {
		t.Errorf("a mount that is no KV: %v", err)
	}
	for _, bad := range [][2]string{{"a b", "x"}, {"m", ""}, {"m", "../x"}, {"m", "x/"}, {"m", "x?y"}} {
		if _, err := OpenKV(server, bad[0], bad[1]); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestSealedVaultIsNoEmptyRecord(t *testing.T) {
	kv, err := OpenKV(asRole(t, "gateway", time.Hour), "sigillo-anchor", "00112233445566cc")
	if err != nil {
		t.Fatal(err)
	}
	v := realVault(t)
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, _, gerr := kv.Get(t.Context())
	perr := kv.Put(t.Context(), map[string]string{"size": "1"}, 0)
	if err := v.Unseal(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(gerr, ErrUnavailable) || !errors.Is(perr, ErrUnavailable) {
		t.Errorf("with Vault sealed: %v, %v", gerr, perr)
	}
}

func TestAccessorsTellPersonsApart(t *testing.T) {
	seen := map[[32]byte]bool{}
	for range 3 {
		d, err := asRole(t, "auditor", time.Hour).AccessorDigest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen[d] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 logins, %d accessors", len(seen))
	}
}
