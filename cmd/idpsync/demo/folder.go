package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/stream"
)

var (
	//go:embed directory.yaml
	directoryText string
	//go:embed policy.cedar
	policyText string
)

// mark is the file by which a demo knows a folder as its own, to be emptied.
const mark = ".idpsync-dev"

// ownFolder returns a fresh folder below a data directory, beside those of other demos that run.
func ownFolder(dataDir string) (string, error) {
	folder, err := filepath.Abs(filepath.Join(dataDir, "dev"))
	if err != nil {
		return "", kit.Fail(kit.ExitFailure, "choose another folder with --data-dir", "%w", err)
	}
	own := folder
	for n := 2; stream.InUse(own); n++ {
		own = fmt.Sprintf("%s-%d", folder, n)
	}
	return own, freshFolder(own)
}

// freeAddress returns the address if it is free, and otherwise one with a free port. Once takes a free port at any rate, so
// that such demos never meet.
func freeAddress(address string, once bool) (string, error) {
	if address == kit.Off {
		return address, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", kit.Fail(kit.ExitUsage, "give host:port", "%w", err)
	}
	another := net.JoinHostPort(host, "0")
	if once {
		return another, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return another, nil //nolint:nilerr // taken is the answer, whatever the reason
	}
	return address, l.Close()
}

func freshFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return kit.Fail(kit.ExitFailure, "choose another folder with --data-dir", "%w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, mark)); err != nil {
			return kit.Fail(kit.ExitRefused, "choose another folder with --data-dir", "%s holds something that is not a demo's", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return kit.Fail(kit.ExitFailure, "choose another folder with --data-dir", "%w", err)
	}
	return os.WriteFile(filepath.Join(dir, mark), []byte("idpsync dev empties this folder when it starts\n"), 0o600)
}

// file returns the path of one of the demo's files, which people may read and change.
func (m *Demo) file(name string) string { return filepath.Join(m.folder, "demo", name) }

// write writes files of the demo.
func (m *Demo) write(files map[string][]byte) error {
	for name, content := range files {
		path := m.file(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// apply declares the demo's directory, in the way of idpsync apply.
func (m *Demo) apply(ctx context.Context) error {
	key, certificate, err := idp.NewServiceProviderKey("idpsync demo", m.o.Now())
	if err != nil {
		return err
	}
	text := strings.NewReplacer("ISSUER", m.issuer.URL()).Replace(directoryText)
	err = m.write(map[string][]byte{
		"directory.yaml": []byte(text), "policies/contractors.cedar": []byte(policyText),
		"idp.xml": m.idp.Metadata(), "sp.key": key, "sp.crt": certificate,
	})
	if err != nil {
		return err
	}
	declared, err := manifest.Load(m.file("directory.yaml"), m.o.Checks(ctx))
	if err != nil {
		return fmt.Errorf("the demo's directory: %w", err)
	}
	have, err := m.worker.Store.Directory(ctx)
	if err != nil {
		return err
	}
	plan, err := manifest.NewPlan(have, declared)
	if err != nil {
		return fmt.Errorf("the demo's directory: %w", err)
	}
	if _, err := m.worker.Store.ApplyDirectory(ctx, have.Revision, plan.Directory, "dev", m.o.Now(), plan.Steps...); err != nil {
		return err
	}
	return m.worker.Directories.Reload(ctx)
}

// credentials makes the tokens of the demo's administrator and HR system.
func (m *Demo) credentials(ctx context.Context) error {
	files := map[string][]byte{}
	for _, c := range []struct {
		name    string
		purpose providers.Purpose
		grants  []string
		token   *providers.Secret
	}{
		{"admin", providers.PurposeCommands, []string{"admin", "user", "viewer"}, &m.admin},
		{"workday", providers.FeedPurpose("workday"), []string{"user", "viewer"}, &m.feed},
	} {
		id, token, hash, err := providers.NewToken(m.o.Rand)
		if err != nil {
			return err
		}
		row := store.Credential{ID: id, Tenant: tenant, Name: c.name, Purpose: string(c.purpose), SecretHash: hash, Grants: c.grants, CreatedAt: m.o.Now()}
		if err := m.worker.Store.CreateCredential(ctx, row, "dev"); err != nil {
			return err
		}
		*c.token = token
		files[c.name+".token"] = []byte(token.Reveal() + "\n")
	}
	return m.write(files)
}

// startedAt is how to start the program at a path.
func startedAt(path string) string {
	if slices.ContainsFunc(strings.Split(filepath.ToSlash(path), "/"), func(folder string) bool { return strings.HasPrefix(folder, "go-build") }) {
		if _, err := os.Stat(filepath.Join("cmd", "idpsync", "main.go")); err == nil {
			return "go run ./cmd/idpsync"
		}
		return "go run github.com/idpsync/idpsync/cmd/idpsync"
	}
	if found, err := exec.LookPath("idpsync"); err == nil {
		one, failed := os.Stat(found)
		other, err := os.Stat(path)
		if failed == nil && err == nil && os.SameFile(one, other) {
			return "idpsync"
		}
	}
	return quoted(path)
}

// quoted writes a text as one word of a shell's command line.
func quoted(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
