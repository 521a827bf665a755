// Command buildvault builds the Vault test server into the cache, so that the tests need not.
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
	path, err := testbed.BuildVault(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "buildvault:", err)
		stop()
		os.Exit(1)
	}
	fmt.Println(path)
}
