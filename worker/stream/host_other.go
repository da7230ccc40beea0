//go:build !(linux || darwin || freebsd)

package stream

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked by another process")

// lockFile holds path open and removes it again. Removing fails while another process has it open.
func lockFile(path string) (unlock func(), err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errLocked
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, errLocked
	}
	if err != nil {
		return nil, err
	}
	return func() {
		_ = f.Close()
		_ = os.Remove(path)
	}, nil
}

// diskFree returns 0: it is not known.
func diskFree(string) int64 { return 0 }
