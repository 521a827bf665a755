// Command tlogproof judges a C2SP tlog-proof file with code that is not Sigillo's: the parser of
// github.com/transparency-dev/formats, the Merkle proofs of github.com/transparency-dev/merkle and the
// notes of golang.org/x/mod. Exit status 0: the entry is in the log that the key names; 1: it is not shown.
//
//	tlogproof VKEY PROOF-FILE ENTRY-FILE
package main

import (
	"fmt"
	"os"

	"github.com/transparency-dev/formats/log"
	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: tlogproof VKEY PROOF-FILE ENTRY-FILE")
		os.Exit(2)
	}
	if err := judge(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "tlogproof:", err)
		os.Exit(1)
	}
}

func judge(vkey, proofFile, entryFile string) error {
	text, err := os.ReadFile(proofFile)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(entryFile)
	if err != nil {
		return err
	}
	var p tlogproof.TLogProof
	if err := p.Unmarshal(text); err != nil {
		return err
	}
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	c, _, _, err := log.ParseCheckpoint(p.Checkpoint, key.Name(), key)
	if err != nil {
		return err
	}
	var path [][]byte
	for _, h := range p.Hashes {
		path = append(path, h[:])
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, rfc6962.DefaultHasher.HashLeaf(entry), path, c.Hash)
}
