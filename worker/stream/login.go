package stream

import (
	"errors"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
)

// ownLogin reports whether the options themselves say how to log in, beside what a saved context says.
func (o Options) ownLogin() bool {
	return o.User != "" || o.Token != "" || o.Creds != "" || o.NKey != ""
}

// login returns how the connection logs in. What lies in files is read again at each connection, so that a rotated secret needs
// no restart; what cannot be read then leaves the former one in force.
func (c *Conn) login(o Options) ([]nats.Option, error) {
	var opts []nats.Option
	switch {
	case o.PasswordFile != "":
		if o.User == "" {
			return nil, &Error{Op: "read NATS password", Class: ErrOptions, Hint: "a password needs its user: set --nats-user"}
		}
		last, err := readPassword(o.PasswordFile)
		if err != nil {
			return nil, &Error{Op: "read NATS password", Class: ErrOptions, Hint: "check --nats-password-file", Err: err}
		}
		opts = append(opts, nats.UserInfoHandler(func() (string, string) {
			if next, err := readPassword(o.PasswordFile); err != nil {
				c.log.Warn("NATS password not read anew; the last one stays in force", "error", err)
			} else {
				last = next
			}
			return o.User, last.Reveal()
		}))
	case o.savedLogin && (o.User != "" || o.Token != ""):
		opts = append(opts, c.savedLogin(o)...)
	case o.User != "":
		opts = append(opts, nats.UserInfo(o.User, o.Password.Reveal()))
	case o.Token != "":
		opts = append(opts, nats.Token(o.Token.Reveal()))
	}
	if o.Creds != "" {
		if _, err := os.Stat(o.Creds); err != nil {
			return nil, &Error{Op: "read NATS credentials", Class: ErrOptions, Hint: "check --nats-creds", Err: err}
		}
		opts = append(opts, nats.UserCredentials(o.Creds)) // reads the file at each connection
	}
	if o.NKey != "" {
		first, err := readNKey(o.NKey)
		if err != nil {
			return nil, &Error{Op: "read nkey seed", Class: ErrOptions, Hint: "check --nats-nkey", Err: err}
		}
		opts = append(opts, nats.Nkey(first.Nkey, c.sign(o.NKey, first)))
	}
	return opts, nil
}

// readPassword reads a password, which is a line of its own.
func readPassword(path string) (providers.Secret, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return "", errors.New("it is not one line")
	}
	return providers.Secret(text), nil
}

// savedLogin reads the login of the saved context again at each connection.
func (c *Conn) savedLogin(o Options) []nats.Option {
	last := o
	read := func() Options {
		if s, err := readContext(o.Context, o.ContextDir); err != nil {
			c.log.Warn("NATS context not read anew; its last login stays in force", "error", err)
		} else if next := s.under(Options{}); (next.Token != "") == (o.Token != "") {
			last = next
		}
		return last
	}
	if o.User == "" {
		return []nats.Option{nats.TokenHandler(func() string { return read().Token.Reveal() })}
	}
	return []nats.Option{nats.UserInfoHandler(func() (string, string) {
		l := read()
		return l.User, l.Password.Reveal()
	})}
}

// readNKey reads a seed: the public key, and what signs with it.
func readNKey(path string) (nats.Options, error) {
	var o nats.Options
	opt, err := nats.NkeyOptionFromSeed(path)
	if err == nil {
		err = opt(&o)
	}
	return o, err
}

var errSeedChanged = errors.New("the nkey seed was replaced; the next attempt uses it")

// sign returns what signs with the seed of a file. The client library reads the seed again each time, but sends the public key
// that it was given at first. So a new one is set when a signature is asked for; the library holds its lock then, and
// sends it at its next attempt.
func (c *Conn) sign(path string, key nats.Options) nats.SignatureHandler {
	return func(nonce []byte) ([]byte, error) {
		next, err := readNKey(path)
		nc := c.live.Load()
		switch {
		case err != nil:
			return nil, err
		case next.Nkey == key.Nkey || nc == nil:
			return key.SignatureCB(nonce)
		}
		key = next
		nc.Opts.Nkey = next.Nkey
		return nil, errSeedChanged
	}
}
