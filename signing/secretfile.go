package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxSecretFile bounds the file of a key, a token or a secret id, in bytes.
const maxSecretFile = 64 << 10

// readSecretFile reads a regular file that nobody but its owner may use.
func readSecretFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening: a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // of what is read, should the name have moved
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets others read it (chmod 600)", path, info.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxSecretFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxSecretFile)
	}
	return b, nil
}

// Secret gives a secret. It is asked anew at each login, so that what is renewed outside is taken up.
type Secret func() ([]byte, error)

// SecretText is a secret that is at hand.
func SecretText(s string) Secret {
	return func() ([]byte, error) { return []byte(s), nil }
}

// SecretFile is the secret in a file of mode 0600, without the end of line at its end.
func SecretFile(path string) Secret {
	return func() ([]byte, error) {
		b, err := readSecretFile(path)
		return bytes.TrimRight(b, "\r\n"), err
	}
}

// reveal asks for a secret that must not be empty. No error of it holds the secret.
func (s Secret) reveal(what string) (string, error) {
	b, err := s()
	if err != nil {
		return "", fmt.Errorf("vault: %s: %w", what, err)
	}
	if len(b) == 0 {
		return "", fmt.Errorf("vault: %s: %w", what, errEmptySecret)
	}
	return string(b), nil
}

var errEmptySecret = errors.New("the secret is empty")
