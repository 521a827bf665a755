package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"sigillo/ledger"
)

// openURL opens a log over HTTP for somebody without access to its disks: base is where its /log stands,
// vkey its verifier key, caFile (or "") a PEM file of the authorities that its certificate may come from
// instead of the system's. Plain http is for the loopback only: what comes in clear from elsewhere would
// still be verified, but the reader would tell everybody on the way what it reads. An error carries its
// exit code: what answers and is not the log of that key is a verdict, what does not answer is none.
func openURL(ctx context.Context, base, vkey, caFile string) (*ledger.Log, error) {
	if vkey == "" {
		return nil, errors.New("--url needs --key VKEY: the log's verifier key as you know it from elsewhere, not from the log itself")
	}
	if _, _, err := ledger.ParseVerifierKey(vkey); err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New("--url: https://HOST/log (http:// only for 127.0.0.1, ::1 and localhost)")
	}
	transport, err := logTransport(caFile)
	if err != nil {
		return nil, err
	}
	log, err := ledger.OpenURL(ctx, base, vkey, &http.Client{Transport: transport})
	if err == nil {
		return log, nil
	}
	transport.CloseIdleConnections()
	for _, verdict := range []error{ledger.ErrOtherLog, ledger.ErrNoteSignature, ledger.ErrBadAnswer} {
		if errors.Is(err, verdict) {
			return nil, &exitError{exitNegative, fmt.Errorf("%s: %w", base, err)}
		}
	}
	return nil, undetermined(fmt.Errorf("%s: %w", base, err))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func logTransport(caFile string) (*http.Transport, error) {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: no certificate in %s", caFile)
	}
	return t, nil
}
