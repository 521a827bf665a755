// Command witnesslab is a witness for the tests: the omniwitness of transparency-dev/witness, unchanged, with
// the logs that its flags name instead of the public list. What it checks, cosigns, keeps and answers
// is that project's code; only the flags and the first line of output are ours.
//
// It prints one line of JSON, {"address":"http://…","vkey":"…"}, once it serves, and ends when its
// standard input does.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/config"
	"github.com/transparency-dev/witness/omniwitness"
	"github.com/transparency-dev/witness/persistence/sqlite"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of add-checkpoint")
	db := flag.String("db", "", "SQLite file of what it has cosigned")
	key := flag.String("key", "", "file of its signer and verifier key, made when it is missing")
	name := flag.String("name", "witness.test", "name of the key that is made")
	var logs logFlag
	flag.Var(&logs, "log", "verifier key of a log that it serves; may be repeated")
	flag.Parse()
	if err := run(*listen, *db, *key, *name, logs); err != nil {
		fmt.Fprintln(os.Stderr, "witnesslab:", err)
		os.Exit(1)
	}
}

type logFlag []string

func (l *logFlag) String() string     { return strings.Join(*l, " ") }
func (l *logFlag) Set(v string) error { *l = append(*l, v); return nil }

func run(listen, db, key, name string, logs []string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	skey, vkey, err := keys(key, name)
	if err != nil {
		return err
	}
	signer, err := f_note.NewSignerForCosignatureV1(skey)
	if err != nil {
		return err
	}
	store, shut, err := sqlite.New(ctx, sqlite.Opts{Path: db})
	if err != nil {
		return err
	}
	if err := store.Init(ctx); err != nil {
		return errors.Join(err, shut())
	}
	var served []config.Log
	for _, l := range logs {
		v, err := note.NewVerifier(l)
		if err != nil {
			return errors.Join(err, shut())
		}
		served = append(served, config.Log{VKey: l, Verifier: v, Origin: v.Name(), QPD: 1e9, Contact: "test"})
	}
	if err := store.AddLogs(ctx, served); err != nil {
		return errors.Join(err, shut())
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return errors.Join(err, shut())
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": "http://" + ln.Addr().String(), "vkey": vkey}); err != nil {
		return errors.Join(err, shut())
	}
	err = omniwitness.Main(ctx, omniwitness.OperatorConfig{WitnessKeys: []note.Signer{signer}, WitnessVerifier: signer.Verifier(), Logs: store},
		store, ln, &http.Client{Timeout: 10 * time.Second})
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, shut())
}

// keys reads the witness's two keys, one a line, or makes them.
func keys(file, name string) (skey, vkey string, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if skey, vkey, err = note.GenerateKey(rand.Reader, name); err != nil {
			return "", "", err
		}
		if vkey, err = f_note.VKeyToCosignatureV1(vkey); err != nil {
			return "", "", err
		}
		return skey, vkey, os.WriteFile(file, []byte(skey+"\n"+vkey+"\n"), 0o600)
	}
	if err != nil {
		return "", "", err
	}
	skey, vkey, ok := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if !ok {
		return "", "", errors.New("the key file has not two lines")
	}
	return skey, vkey, nil
}
