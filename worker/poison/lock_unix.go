//go:build unix

package poison

import (
	"errors"
	"os"
	"syscall"
)

// lockFile locks a file for this process and reports whether it could; the lock goes with the process.
func lockFile(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
