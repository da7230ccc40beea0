package strictyaml

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadFile reads a file of at most limit bytes: a document, or a file that one names. Devices are refused, pipes are
// read. Its errors name the file and what is wrong with it.
func ReadFile(name string, limit int64) ([]byte, error) {
	data, err := readFile(name, limit)
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	return data, nil
}

func readFile(name string, limit int64) (_ []byte, err error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("it is a folder")
	case info.Mode()&fs.ModeDevice != 0:
		return nil, errors.New("it is a device")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("it has more than the %d bytes that are read", limit)
	}
	return data, err
}
