package testbed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// BuildVault gives the path of the Vault test server.
func BuildVault(ctx context.Context) (string, error) {
	return Built(ctx, "internal/testbed/vaultlab", ".")
}

// Vault is a running Vault test server.
type Vault struct {
	Address   string // https://127.0.0.1:…
	CAFile    string // PEM that its certificate verifies against
	RootToken string
	UnsealKey string

	start  []string // the command and its certificate
	store  string   // directory of its store; "" for a store in memory
	cmd    *exec.Cmd
	done   chan error
	client *http.Client
}

// StartVault starts a server with an empty store in memory, initialised and unsealed, and mounts transit
// at transit/ and sigillo-class/, KV version 2 at sigillo-anchor/ and AppRole at approle/. Its certificate is of pki.
func StartVault(ctx context.Context, pki *PKI) (*Vault, error) { return StartVaultIn(ctx, pki, "") }

// StartVaultIn is StartVault with its store in an empty directory, so that Stop and Restart lose nothing.
func StartVaultIn(ctx context.Context, pki *PKI, store string) (*Vault, error) {
	bin, err := BuildVault(ctx)
	if err != nil {
		return nil, err
	}
	server, err := pki.Server()
	if err != nil {
		return nil, err
	}
	v := &Vault{CAFile: filepath.Join(filepath.Dir(server.CertFile), "tls-root.pem"), store: store,
		start: []string{bin, "-tls-cert", server.CertFile, "-tls-key", server.KeyFile}}
	v.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: pki.ClientTLS(nil)}}
	if err := v.launch("-dev"); err != nil {
		return nil, err
	}
	for path, body := range map[string]any{"sys/mounts/transit": map[string]string{"type": "transit"},
		"sys/mounts/sigillo-class": map[string]string{"type": "transit"}, "sys/auth/approle": map[string]string{"type": "approle"}} {
		if _, err := v.Do(ctx, http.MethodPost, path, body); err != nil {
			return nil, errors.Join(err, v.Stop())
		}
	}
	if err := v.mountAnchors(ctx); err != nil {
		return nil, errors.Join(err, v.Stop())
	}
	return v, nil
}

// launch starts the process and waits for its first line, which says that it serves.
func (v *Vault) launch(more ...string) error {
	if v.store != "" {
		more = append(more, "-storage", "file", "-dir", v.store)
	}
	v.cmd = exec.Command(v.start[0], append(v.start[1:len(v.start):len(v.start)], more...)...)
	v.cmd.Stderr = io.Discard
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := v.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var facts struct {
		Address   string `json:"address"`
		RootToken string `json:"root_token"`
		UnsealKey string `json:"unseal_key"`
	}
	if err == nil {
		err = json.Unmarshal(line, &facts)
	}
	v.done = make(chan error, 1)
	go func() { v.done <- v.cmd.Wait() }()
	if err != nil {
		return errors.Join(fmt.Errorf("the Vault test server did not start: %w", err), v.Stop())
	}
	v.Address = facts.Address
	if facts.RootToken != "" { // of a new store only
		v.RootToken, v.UnsealKey = facts.RootToken, facts.UnsealKey
	}
	return nil
}

// Restart starts a stopped server of StartVaultIn on its old address and unseals it.
func (v *Vault) Restart(ctx context.Context) error {
	if v.store == "" {
		return errors.New("the Vault test server kept its store in memory: start it with StartVaultIn")
	}
	if err := v.launch("-listen", strings.TrimPrefix(v.Address, "https://")); err != nil {
		return err
	}
	return v.Unseal(ctx)
}

// Do calls the server's HTTP API with the root token and gives the answer's data.
func (v *Vault) Do(ctx context.Context, method, path string, body any) (map[string]any, error) {
	return v.DoAs(ctx, v.RootToken, method, path, body)
}

// DoAs calls with another token.
func (v *Vault) DoAs(ctx context.Context, token, method, path string, body any) (map[string]any, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, method, v.Address+"/v1/"+path, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	q.Header.Set("X-Vault-Token", token)
	resp, err := v.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	var answer struct {
		Data map[string]any `json:"data"`
		Auth map[string]any `json:"auth"`
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			return nil, err
		}
	}
	if answer.Auth != nil {
		return answer.Auth, nil
	}
	return answer.Data, nil
}

// Prepare makes the signing keys (checkpoint, receipt and an RSA-3072 seal key under their default
// names), writes the policy under its name, and gives an AppRole with it. ttl is that of its tokens.
func (v *Vault) Prepare(ctx context.Context, policy string, hcl []byte, ttl time.Duration) (roleID, secretID string, err error) {
	for name, kind := range map[string]string{"sigillo-checkpoint": "ed25519", "sigillo-receipt": "ecdsa-p256", "sigillo-seal": "rsa-3072"} {
		if _, err := v.Do(ctx, http.MethodPost, "transit/keys/"+name, map[string]string{"type": kind}); err != nil {
			return "", "", err
		}
	}
	return v.Role(ctx, policy, hcl, ttl)
}

// Role writes a policy and an AppRole of the same name that has it, and gives a way to log in.
func (v *Vault) Role(ctx context.Context, name string, hcl []byte, ttl time.Duration) (roleID, secretID string, err error) {
	if _, err := v.Do(ctx, http.MethodPut, "sys/policies/acl/"+name, map[string]string{"policy": string(hcl)}); err != nil {
		return "", "", err
	}
	if _, err := v.Do(ctx, http.MethodPost, "auth/approle/role/"+name, map[string]any{"token_policies": []string{name},
		"token_ttl": ttl.String(), "token_max_ttl": (2 * ttl).String(), "token_no_default_policy": false}); err != nil {
		return "", "", err
	}
	role, err := v.Do(ctx, http.MethodGet, "auth/approle/role/"+name+"/role-id", nil)
	if err != nil {
		return "", "", err
	}
	secret, err := v.Do(ctx, http.MethodPost, "auth/approle/role/"+name+"/secret-id", map[string]any{})
	if err != nil {
		return "", "", err
	}
	roleID, _ = role["role_id"].(string)
	secretID, _ = secret["secret_id"].(string)
	return roleID, secretID, nil
}

// Seal makes the server refuse everything until Unseal.
func (v *Vault) Seal(ctx context.Context) error {
	_, err := v.Do(ctx, http.MethodPut, "sys/seal", nil)
	return err
}

// Unseal opens a sealed server.
func (v *Vault) Unseal(ctx context.Context) error {
	_, err := v.Do(ctx, http.MethodPut, "sys/unseal", map[string]string{"key": v.UnsealKey})
	return err
}

// Stop kills the server, as a crash would, and waits; a second Stop is no error. A store in memory is gone.
func (v *Vault) Stop() error {
	if err := v.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-v.done // it was killed: its exit code says nothing
	v.done <- nil
	v.client.CloseIdleConnections()
	return nil
}
