package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers/seal"
)

// maxSecret bounds what is sealed by hand, in bytes.
const maxSecret = 64 << 10

func newSealCommand(a *app) *cobra.Command {
	var public string
	var showPublic, replace, yes bool
	cmd := &cobra.Command{
		Use:   "seal",
		Short: "Encrypt a password so that only the workers can read it",
		Long: `Read a password from standard input, up to the end of its first line, and print it sealed: a text that can stand in
place of "password" or "password_hash" in any command, and that only the workers of this deployment can open.

Commands that the broker stores must not hold a password in the clear. Whoever has no access to the deployment's key
file seals with its public key, which --public prints.`,
		Example: `  idpsync seal --public
  printf %s 'correct horse' | idpsync seal --key XA…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(cmd)
			if err != nil {
				return err
			}
			if replace {
				return a.replaceSealKey(cmd.Context(), c, yes)
			}
			if public == "" {
				if public, err = c.sealPublic(); err != nil {
					return err
				}
			}
			if showPublic {
				fmt.Fprintln(a.stdout, public)
				return nil
			}
			plain, err := a.readSecret("Password: ")
			if err != nil {
				return err
			}
			sealed, err := seal.Text(public, plain)
			if err != nil {
				return kit.Fail(kit.ExitUsage, "idpsync seal --public prints the public key where the deployment's key file is", "%w", err)
			}
			fmt.Fprintln(a.stdout, sealed)
			return nil
		},
	}
	cmd.Flags().StringVar(&public, "key", "", "public key to seal for (X…); default that of the deployment's key file")
	cmd.Flags().BoolVar(&showPublic, "public", false, "print the public key, and seal nothing")
	cmd.Flags().BoolVar(&replace, "replace-lost-key", false, "give the deployment the key of this key file in place of one that is lost")
	yesFlag(cmd, &yes)
	cmd.MarkFlagsMutuallyExclusive("key", "public", "replace-lost-key")
	a.addSettings(cmd, areaStore)
	return cmd
}

// sealKeyPath is where the deployment's seal key lies.
func (c config) sealKeyPath() string {
	if c.SealKeyFile != "" {
		return c.SealKeyFile
	}
	return filepath.Join(c.DataDir, sealKeyFile)
}

// sealPublic is the public key of the deployment's key file.
func (c config) sealPublic() (string, error) {
	key, err := seal.ReadFile(c.sealKeyPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "", kit.Fail(kit.ExitFailure, "start idpsync run once, or name the deployment's key with --data-dir, --seal-key-file or --key", "there is no seal key: %w", err)
	}
	if err != nil {
		return "", kit.Fail(kit.ExitFailure, "idpsync seal --key seals with the public key alone", "%w", err)
	}
	return key.KeyID(), nil
}

// readSecret reads one line from standard input, without showing it on a terminal.
func (a *app) readSecret(prompt string) ([]byte, error) {
	var secret []byte
	var err error
	if f, ok := a.stdin.(*os.File); ok && isTerminal(f) {
		fmt.Fprint(a.stderr, prompt)
		secret, err = term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.stderr)
	} else {
		secret, err = io.ReadAll(io.LimitReader(a.stdin, maxSecret+1))
		secret, _, _ = bytes.Cut(secret, []byte("\n"))
		secret = bytes.TrimSuffix(secret, []byte("\r"))
	}
	switch {
	case err != nil:
		return nil, kit.Fail(kit.ExitFailure, "", "standard input cannot be read: %w", err)
	case len(secret) == 0:
		return nil, kit.Fail(kit.ExitUsage, "printf %s 'the password' | idpsync seal", "nothing came on standard input")
	case len(secret) > maxSecret:
		return nil, kit.Fail(kit.ExitUsage, "", "standard input is longer than %d bytes", maxSecret)
	}
	return secret, nil
}
