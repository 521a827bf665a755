package signing

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/google/renameio/v2"
)

// SealAlgorithm is the kind of seal key that CreateKeyDir makes.
type SealAlgorithm string

// The kinds of seal keys (conservation.md 3.2: neither Ed25519 nor RSA-PSS verify everywhere).
const (
	SealP256    SealAlgorithm = "p256"
	SealRSA3072 SealAlgorithm = "rsa3072"
)

// KeyDir keeps keys in files of mode 0600 in a directory of mode 0700: for demonstrations only. Whoever
// reads the directory can sign; the ledger's genesis and every report say so.
type KeyDir struct {
	dir  string
	keys map[Use]crypto.Signer

	mu sync.Mutex // one class key file is made at a time
}

// CreateKeyDir makes a directory with a fresh key for each use; it must not hold keys already.
func CreateKeyDir(dir string, seal SealAlgorithm) (*KeyDir, error) {
	if err := os.MkdirAll(filepath.Join(dir, "class"), 0o700); err != nil {
		return nil, err
	}
	for _, use := range []Use{UseCheckpoint, UseReceipt, UseSeal} {
		if path := keyPath(dir, use); fileExists(path) {
			return nil, fmt.Errorf("%s exists: keys are never overwritten", path)
		}
	}
	_, checkpoint, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	receipt, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var sealKey crypto.Signer
	switch seal {
	case SealP256:
		sealKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case SealRSA3072:
		sealKey, err = rsa.GenerateKey(rand.Reader, 3072)
	default:
		err = fmt.Errorf("seal algorithm %q: p256 or rsa3072", seal)
	}
	if err != nil {
		return nil, err
	}
	for use, key := range map[Use]crypto.Signer{UseCheckpoint: checkpoint, UseReceipt: receipt, UseSeal: sealKey} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := renameio.WriteFile(keyPath(dir, use), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return nil, fmt.Errorf("writing the %s key: %w", use, err)
		}
	}
	if err := syncDirectory(dir); err != nil {
		return nil, fmt.Errorf("writing keys: %w", err)
	}
	return OpenKeyDir(dir)
}

func keyPath(dir string, use Use) string { return filepath.Join(dir, string(use)+".pem") }

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// OpenKeyDir opens a directory that CreateKeyDir made. A directory or files that others may use are refused.
func OpenKeyDir(dir string) (*KeyDir, error) {
	for _, d := range []string{dir, filepath.Join(dir, "class")} {
		info, err := os.Stat(d)
		if err != nil {
			return nil, fmt.Errorf("directory of keys: %w", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("directory of keys %s: mode %04o lets others in (chmod 700)", d, info.Mode().Perm())
		}
	}
	d := &KeyDir{dir: dir, keys: map[Use]crypto.Signer{}}
	for _, use := range []Use{UseCheckpoint, UseReceipt, UseSeal} {
		key, err := readPrivateKey(keyPath(dir, use))
		if err != nil {
			return nil, fmt.Errorf("%s key: %w", use, err)
		}
		d.keys[use] = key
	}
	if _, ok := d.keys[UseCheckpoint].(ed25519.PrivateKey); !ok {
		return nil, errors.New("checkpoint key: must be Ed25519")
	}
	if k, ok := d.keys[UseReceipt].(*ecdsa.PrivateKey); !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("receipt key: must be ECDSA P-256")
	}
	if err := fitForSeals(d.keys[UseSeal].Public()); err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return d, nil
}

func readPrivateKey(path string) (crypto.Signer, error) {
	b, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: no PKCS#8 key in PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: not a PKCS#8 key", path)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key that does not sign", path)
	}
	return signer, nil
}

// Kind implements Custody.
func (d *KeyDir) Kind() string { return "file" }

// Close implements Custody.
func (d *KeyDir) Close() error { return nil }

// Key implements Custody for the checkpoint and the receipt key.
func (d *KeyDir) Key(_ context.Context, use Use) (Key, error) {
	if use != UseCheckpoint && use != UseReceipt {
		return nil, fmt.Errorf("no message key for use %q", use)
	}
	id, err := Thumbprint(d.keys[use].Public())
	if err != nil {
		return nil, err
	}
	return &fileKey{id: id, key: d.keys[use]}, nil
}

// CryptoSigner implements Custody.
func (d *KeyDir) CryptoSigner(_ context.Context, use Use) (crypto.Signer, error) {
	key, ok := d.keys[use]
	if !ok || use != UseSeal {
		return nil, fmt.Errorf("no digest signer for use %q", use)
	}
	return key, nil
}

// fileKey is a key in memory.
type fileKey struct {
	id  string
	key crypto.Signer
}

func (k *fileKey) KeyID() string            { return k.id }
func (k *fileKey) Version() int             { return 1 }
func (k *fileKey) Public() crypto.PublicKey { return k.key.Public() }

func (k *fileKey) Versions(context.Context) ([]KeyVersion, error) {
	return []KeyVersion{{Version: 1, Public: k.Public()}}, nil
}

func (k *fileKey) Sign(_ context.Context, message []byte) ([]byte, error) {
	if ed, ok := k.key.(ed25519.PrivateKey); ok {
		return ed25519.Sign(ed, message), nil
	}
	ec, ok := k.key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of kind %T signs no messages", k.key)
	}
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, ec, digest[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}

func (k *fileKey) SignBatch(ctx context.Context, messages [][]byte) ([]Signed, error) {
	out := make([]Signed, len(messages))
	for i, m := range messages {
		out[i].Signature, out[i].Err = k.Sign(ctx, m)
	}
	return out, nil
}

var classKeyName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)

func (d *KeyDir) classFile(name string) (string, error) {
	if !classKeyName.MatchString(name) {
		return "", fmt.Errorf("class key name %q: lower-case letters, digits and . _ - only", name)
	}
	return filepath.Join(d.dir, "class", name+".key"), nil
}

// classKey reads a class key; create makes it when it is missing.
func (d *KeyDir) classKey(name string, create bool) ([]byte, error) {
	path, err := d.classFile(name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key, err := readSecretFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && create:
		key = make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := renameio.WriteFile(path, key, 0o600); err != nil {
			return nil, fmt.Errorf("writing class key %s: %w", name, err)
		}
		return key, syncDirectory(filepath.Dir(path))
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("class key %s: %w", name, ErrNoClassKey)
	case err != nil:
		return nil, err
	case len(key) != 32:
		return nil, fmt.Errorf("class key %s: %d bytes instead of 32", name, len(key))
	}
	return key, nil
}

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func classAEAD(key []byte) (cipher.AEAD, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

// DataKey implements Custody: AES-256-GCM under the class key, the name as associated data.
func (d *KeyDir) DataKey(_ context.Context, name string) (DataKey, error) {
	var out DataKey
	key, err := d.classKey(name, true)
	if err != nil {
		return out, err
	}
	aead, err := classAEAD(key)
	if err != nil {
		return out, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return out, err
	}
	if _, err := rand.Read(out.Plain[:]); err != nil {
		return out, err
	}
	out.Wrapped = aead.Seal(nonce, nonce, out.Plain[:], []byte(name))
	return out, nil
}

// Unwrap implements Custody.
func (d *KeyDir) Unwrap(_ context.Context, name string, wrapped []byte) (plain [32]byte, err error) {
	key, err := d.classKey(name, false)
	if err != nil {
		return plain, err
	}
	aead, err := classAEAD(key)
	if err != nil {
		return plain, err
	}
	if len(wrapped) != aead.NonceSize()+32+aead.Overhead() {
		return plain, fmt.Errorf("data key wrapped by %s: wrong length", name)
	}
	b, err := aead.Open(nil, wrapped[:aead.NonceSize()], wrapped[aead.NonceSize():], []byte(name))
	if err != nil {
		return plain, fmt.Errorf("data key wrapped by %s: altered, or of another class key", name)
	}
	copy(plain[:], b)
	return plain, nil
}

// MAC implements Custody, without making a class key: a search must not bring back one that was destroyed.
// It is keyed with a key derived from the class key (HKDF, RFC 5869).
func (d *KeyDir) MAC(_ context.Context, name string, input []byte) (out [32]byte, err error) {
	key, err := d.classKey(name, false)
	if err != nil {
		return out, err
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "sigillo/mac/v1", 32)
	if err != nil {
		return out, err
	}
	m := hmac.New(sha256.New, derived)
	m.Write(input)
	copy(out[:], m.Sum(nil))
	return out, nil
}

// ClassKeyExists implements Custody.
func (d *KeyDir) ClassKeyExists(_ context.Context, name string) (bool, error) {
	_, err := d.classKey(name, false)
	if errors.Is(err, ErrNoClassKey) {
		return false, nil
	}
	return err == nil, err
}

// DeleteClassKey implements Custody.
func (d *KeyDir) DeleteClassKey(_ context.Context, name string) error {
	path, err := d.classFile(name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("class key %s: %w", name, ErrNoClassKey)
	} else if err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}
