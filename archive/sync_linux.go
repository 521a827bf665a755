package archive

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes everything below dir durable with one call: a package has tens of thousands of small files,
// and a sync of each takes minutes. Since Linux 5.8 syncfs tells write errors.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
