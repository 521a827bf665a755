// Command vaultlab is a real Vault server with the few engines that Sigillo's tests need, in a module of
// its own so that the product's go.mod stays clean. It prints one line of JSON once it serves: address,
// and with -dev root token and unseal key. Nothing but tests starts it.
package main

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	auditfile "github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	tlsCert := flag.String("tls-cert", "", "PEM certificate chain")
	tlsKey := flag.String("tls-key", "", "PEM key")
	storage := flag.String("storage", "inmem", "inmem or file")
	dir := flag.String("dir", "", "directory of file storage")
	dev := flag.Bool("dev", false, "initialise and unseal an empty server")
	flag.Parse()
	if err := run(*listen, *tlsCert, *tlsKey, *storage, *dir, *dev); err != nil {
		fmt.Fprintln(os.Stderr, "vaultlab:", err)
		os.Exit(1)
	}
}

func run(listen, tlsCert, tlsKey, storage, dir string, dev bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	pair, err := tls.LoadX509KeyPair(tlsCert, tlsKey)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	url := "https://" + ln.Addr().String()
	back, err := backend(storage, dir, log)
	if err != nil {
		return err
	}
	core, err := newCore(back, storage, url, log)
	if err != nil {
		return err
	}
	// The certificate login needs to see the caller's certificate.
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core,
		ListenerConfig: &configutil.Listener{Type: "tcp", MaxRequestDuration: 90 * time.Second, MaxRequestSize: 32 << 20}})}
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}}))
	}()
	facts := map[string]any{"address": url}
	if dev {
		if err := initialise(ctx, core, facts); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return server.Close()
	case err := <-served:
		return err
	}
}

func backend(storage, dir string, log hclog.Logger) (physical.Backend, error) {
	switch storage {
	case "inmem":
		return inmem.NewInmem(nil, log)
	case "file":
		return file.NewFileBackend(map[string]string{"path": dir}, log)
	}
	return nil, fmt.Errorf("storage %q: inmem or file", storage)
}

func newCore(back physical.Backend, storage, url string, log hclog.Logger) (*vault.Core, error) {
	secrets := map[string]logical.Factory{"transit": tolerant(transit.Factory), "pki": tolerant(pki.Factory), "kv": tolerant(kv.Factory)}
	logins := map[string]logical.Factory{"approle": tolerant(approle.Factory), "cert": tolerant(cert.Factory)}
	return vault.NewCore(&vault.CoreConfig{Physical: back, StorageType: storage, RedirectAddr: url, DisableMlock: true, Logger: log,
		LogicalBackends: secrets, CredentialBackends: logins, AuditBackends: map[string]audit.Factory{"file": auditfile.Factory},
		BuiltinRegistry: registry{consts.PluginTypeSecrets: secrets, consts.PluginTypeCredential: logins}})
}

func initialise(ctx context.Context, core *vault.Core, facts map[string]any) error {
	done, err := core.Initialized(ctx)
	if err != nil || done {
		return err
	}
	res, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, Type: "shamir"}})
	if err != nil {
		return err
	}
	if _, err := core.Unseal(res.SecretShares[0]); err != nil {
		return err
	}
	facts["root_token"], facts["unseal_key"] = res.RootToken, hex.EncodeToString(res.SecretShares[0])
	return nil
}
