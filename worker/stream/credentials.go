package stream

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/idpsync/idpsync/providers"
)

// The files of a data directory that say how to reach its broker, both with mode 0600. The second is for the plain nats
// client, which reads these variables.
const (
	credentialsFile = "nats.json"
	environmentFile = "nats.env"
)

type credentialsJSON struct {
	URL      string `json:"url"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`
}

// ReadCredentials returns how to reach the embedded broker of a data directory, which may be another process and may
// have picked its port. Before the first start the error is of class [ErrUnreachable] and wraps fs.ErrNotExist.
func ReadCredentials(dataDir string) (Credentials, error) {
	path := filepath.Join(dataDir, credentialsFile)
	op := "read " + path
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, &Error{
			Op: op, Class: ErrUnreachable, Err: err,
			Hint: "no broker has run there yet: start `idpsync run`, check --data-dir, or give --nats-url",
		}
	}
	if err != nil {
		return Credentials{}, &Error{Op: op, Class: ErrOptions, Err: err, Hint: "run it as the user who runs `idpsync run`"}
	}
	var c credentialsJSON
	if err := json.Unmarshal(raw, &c); err != nil || c.URL == "" {
		return Credentials{}, &Error{Op: op, Class: ErrOptions, Hint: "the file is damaged; remove it and start `idpsync run` again"}
	}
	return Credentials{URL: c.URL, User: c.User, Password: providers.Secret(c.Password)}, nil
}

// writeCredentials replaces both files.
func writeCredentials(dataDir string, c Credentials) error {
	j := credentialsJSON{URL: c.URL, User: c.User, Password: c.Password.Reveal()}
	raw, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return &Error{Op: "write " + credentialsFile, Err: err}
	}
	if err := writeFile(filepath.Join(dataDir, credentialsFile), append(raw, '\n')); err != nil {
		return err
	}
	env := "export NATS_URL=" + shellQuote(j.URL) + "\n"
	if j.User != "" {
		env += "export NATS_USER=" + shellQuote(j.User) + "\nexport NATS_PASSWORD=" + shellQuote(j.Password) + "\n"
	}
	return writeFile(filepath.Join(dataDir, environmentFile), []byte(env))
}

// writeFile replaces path in one step by a file that only its owner may read.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return wrap("write "+path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = wrap("write "+path, err)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
