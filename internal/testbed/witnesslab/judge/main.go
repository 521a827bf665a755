// Command judge lets transparency-dev/formats and x/mod/sumdb say whether a checkpoint with cosignatures is
// one: its arguments are the verifier keys of the log and of witnesses, all of which must have signed the
// note on standard input. It prints the size that was signed.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/transparency-dev/formats/log"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if err := judge(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

func judge(keys []string) error {
	if len(keys) == 0 {
		return fmt.Errorf("no verifier key of a log")
	}
	origin, err := note.NewVerifier(keys[0])
	if err != nil {
		return err
	}
	var witnesses []note.Verifier
	for _, k := range keys[1:] {
		v, err := f_note.NewVerifierForCosignatureV1(k)
		if err != nil {
			return err
		}
		witnesses = append(witnesses, v)
	}
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	c, _, n, err := log.ParseCheckpoint(b, origin.Name(), origin, witnesses...)
	if err != nil {
		return err
	}
	if len(n.Sigs) != len(keys) {
		return fmt.Errorf("%d of %d signatures hold", len(n.Sigs), len(keys))
	}
	fmt.Println(c.Size)
	return nil
}
