package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// maxSecretBytes bounds a secret file.
const maxSecretBytes = 64 << 10

// Secret is a reference to a secret: ${env:NAME} or ${file:PATH}. It holds no secret, so it may be
// printed, logged and marshalled: what appears is the reference. Safe for concurrent use.
type Secret struct {
	source string // "env", "file" or "" for none
	name   string
}

var secretReference = regexp.MustCompile(`^\$\{(?:(env):([A-Za-z_][A-Za-z0-9_]*)|(file):([^{}\x00-\x1f]+))\}$`)

// parseSecret never repeats s in its error: somebody may have written the secret itself.
func parseSecret(s, base string) (Secret, error) {
	m := secretReference.FindStringSubmatch(s)
	switch {
	case m == nil:
		return Secret{}, errors.New("must be a reference, never the secret itself (write ${env:NAME} or ${file:PATH})")
	case m[1] != "":
		return Secret{source: "env", name: m[2]}, nil
	case filepath.IsAbs(m[4]):
		return Secret{source: "file", name: filepath.Clean(m[4])}, nil
	default:
		return Secret{source: "file", name: filepath.Join(base, m[4])}, nil
	}
}

// IsZero says that no secret is configured.
func (s Secret) IsZero() bool { return s.source == "" }

// String is the reference.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return "${" + s.source + ":" + s.name + "}"
}

// MarshalText is the reference, for JSON, YAML and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal follows the reference and returns the secret, anew at each call: a file may have been renewed.
// One line ending at its end is taken off. The caller owns the bytes and must not print them. It fails when
// there is no secret, or it is empty, larger than 64 KiB, or in a file that others may read or write.
func (s Secret) Reveal() ([]byte, error) {
	var secret []byte
	switch s.source {
	case "env":
		secret = []byte(os.Getenv(s.name))
	case "file":
		var err error
		if secret, err = readPrivate(s.name); err != nil {
			return nil, err
		}
		secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	default:
		return nil, errors.New("no secret is configured")
	}
	if len(secret) == 0 {
		return nil, fmt.Errorf("secret %s is empty or not set", s)
	}
	if len(secret) > maxSecretBytes {
		return nil, fmt.Errorf("secret %s is larger than %d bytes", s, maxSecretBytes)
	}
	return secret, nil
}

// readPrivate reads a file that only its owner and group may read.
func readPrivate(path string) ([]byte, error) {
	content, mode, err := readRegular(path, maxSecretBytes)
	if err != nil {
		return nil, err
	}
	if mode.Perm()&0o006 != 0 {
		return nil, fmt.Errorf("%s may be read or written by everybody (mode %04o): run chmod 0640 or stricter", path, mode.Perm())
	}
	return content, nil
}

// readRegular reads a regular file of at most limit bytes.
func readRegular(path string, limit int64) ([]byte, os.FileMode, error) {
	// Stat before Open: opening a FIFO would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // of what is read, should the name have moved
		return nil, 0, err
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(content)) > limit {
		return nil, 0, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return content, info.Mode(), nil
}
