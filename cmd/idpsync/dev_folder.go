package main

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

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/directory/manifest"
	"github.com/idpsync/idpsync/worker/stream"
)

var (
	//go:embed dev.yaml
	demoDirectory string
	//go:embed dev.cedar
	demoPolicy string
)

// demoMark is the file by which a demo knows a folder as its own, to be emptied.
const demoMark = ".idpsync-dev"

// forDev makes the settings those of a demo: a fresh folder of its own, and free ports where the usual ones are taken.
func (c *config) forDev(once bool) error {
	if !c.embedded() || c.DatabaseURL != "" {
		return fail(exitUsage, "use idpsync run with these", "dev brings its own broker and database")
	}
	folder, err := filepath.Abs(filepath.Join(c.DataDir, "dev"))
	if err != nil {
		return fail(exitFailure, "choose another folder with --data-dir", "%w", err)
	}
	c.DataDir = folder
	for n := 2; stream.InUse(c.DataDir); n++ { // other demos run
		c.DataDir = fmt.Sprintf("%s-%d", folder, n)
	}
	if err := freshFolder(c.DataDir); err != nil {
		return err
	}
	for _, listen := range []*string{&c.NATSListen, &c.HTTPListen, &c.AdminListen} {
		if *listen == off {
			continue
		}
		host, _, err := net.SplitHostPort(*listen)
		if err != nil {
			return fail(exitUsage, "give host:port", "%w", err)
		}
		if once {
			*listen = net.JoinHostPort(host, "0")
			continue
		}
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			*listen = net.JoinHostPort(host, "0")
			continue
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func freshFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(exitFailure, "choose another folder with --data-dir", "%w", err)
	}
	if len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, demoMark)); err != nil {
			return fail(exitRefused, "choose another folder with --data-dir", "%s holds something that is not a demo's", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(exitFailure, "choose another folder with --data-dir", "%w", err)
	}
	return os.WriteFile(filepath.Join(dir, demoMark), []byte("idpsync dev empties this folder when it starts\n"), 0o600)
}

// file returns the path of one of the demo's files, which people may read and change.
func (m *demo) file(name string) string { return filepath.Join(m.cfg.DataDir, "demo", name) }

// write writes files of the demo.
func (m *demo) write(files map[string][]byte) error {
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
func (m *demo) apply(ctx context.Context) error {
	key, certificate, err := idp.NewServiceProviderKey("idpsync demo", m.app.now())
	if err != nil {
		return err
	}
	text := strings.NewReplacer("ISSUER", m.issuer.URL()).Replace(demoDirectory)
	err = m.write(map[string][]byte{
		"directory.yaml": []byte(text), "policies/contractors.cedar": []byte(demoPolicy),
		"idp.xml": m.idp.Metadata(), "sp.key": key, "sp.crt": certificate,
	})
	if err != nil {
		return err
	}
	declared, err := m.app.declaration(ctx, m.file("directory.yaml"))
	if err != nil {
		return fmt.Errorf("the demo's directory: %w", err)
	}
	have, err := m.deploy.Store.Directory(ctx)
	if err != nil {
		return err
	}
	plan, err := manifest.NewPlan(have, declared)
	if err != nil {
		return fmt.Errorf("the demo's directory: %w", err)
	}
	if _, err := m.deploy.Store.ApplyDirectory(ctx, have.Revision, plan.Directory, "dev", m.app.now(), plan.Steps...); err != nil {
		return err
	}
	return m.deploy.Directories.Reload(ctx)
}

// credentials makes the tokens of the demo's administrator and HR system.
func (m *demo) credentials(ctx context.Context) error {
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
		id, token, hash, err := providers.NewToken(m.app.random)
		if err != nil {
			return err
		}
		row := store.Credential{ID: id, Tenant: demoTenant, Name: c.name, Purpose: string(c.purpose), SecretHash: hash, Grants: c.grants, CreatedAt: m.app.now()}
		if err := m.deploy.Store.CreateCredential(ctx, row, "dev"); err != nil {
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
