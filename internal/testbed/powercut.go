package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoMount says that this process cannot mount a file system of its own: it needs root, mkfs.ext4 and
// a loop device.
var ErrNoMount = errors.New("no file system can be mounted here")

// Disk is a file system of its own whose power can be cut, or that can be small. One goroutine uses it.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
	img string
}

// ext4Shutdown is EXT4_IOC_SHUTDOWN; the argument EXT4_GOING_FLAGS_NOLOGFLUSH drops everything that was
// not synced, as a power cut does.
const (
	ext4Shutdown   = 0x8004587d
	ext4NoLogFlush = 2
)

// MountDisk makes an ext4 of the given size in bytes in a sparse file under base and mounts it there.
func MountDisk(base string, size int64) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: not root", ErrNoMount)
	}
	d := &Disk{Dir: filepath.Join(base, "mnt"), img: filepath.Join(base, "disk")}
	if err := errors.Join(os.Mkdir(d.Dir, 0o700), os.WriteFile(d.img, nil, 0o600), os.Truncate(d.img, size)); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", d.img); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	if err := d.mount(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	return d, nil
}

// MountSmall mounts a tmpfs of the given size in bytes under base: a disk that fills up.
func MountSmall(base string, size int64) (*Disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: not root", ErrNoMount)
	}
	d := &Disk{Dir: filepath.Join(base, "small")}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := command("mount", "-t", "tmpfs", "-o", "size="+strconv.FormatInt(size, 10), "tmpfs", d.Dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMount, err)
	}
	return d, nil
}

func (d *Disk) mount() error { return command("mount", "-o", "loop", d.img, d.Dir) }

// Cut takes the power away from a Disk of MountDisk: what was not synced is lost, and nothing can be
// read or written until Remount.
func (d *Disk) Cut() error {
	f, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	flags := uint32(ext4NoLogFlush)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
		err = fmt.Errorf("cutting the power of %s: %w", d.Dir, e)
	}
	return errors.Join(err, f.Close())
}

// Remount brings a Disk back after Cut. No process may have files of it open.
func (d *Disk) Remount() error { return errors.Join(d.Close(), d.mount()) }

// Close unmounts.
func (d *Disk) Close() error { return command("umount", d.Dir) }

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
