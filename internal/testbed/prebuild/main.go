// Command prebuild builds the programs of the nested modules into the cache, so that the tests need not.
// It is quick when they are there.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"sigillo/internal/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, p := range []struct{ module, pkg string }{
		{"internal/testbed/vaultlab", "."},
		{"internal/testbed/judges", "./tlogproof"},
		{"internal/testbed/judges", "github.com/transparency-dev/tessera/cmd/fsck"},
		{"internal/testbed/witnesslab", "."},
		{"internal/testbed/witnesslab", "./judge"},
	} {
		path, err := testbed.Built(ctx, p.module, p.pkg)
		if err != nil {
			fmt.Fprintln(os.Stderr, "prebuild:", err)
			stop()
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
