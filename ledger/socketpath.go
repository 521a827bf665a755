package ledger

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is what the kernel takes as the path of a unix socket, less its final zero.
const maxSocketPath = 107

// socketAddress is the path of the socket of the ledger in dir. A path that is too long for the kernel is
// written through an open handle of the directory; release closes it, once the socket is not needed any more.
func socketAddress(dir string) (path string, release func() error, err error) {
	path = filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return path, func() error { return nil }, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), d.Close, nil
}
