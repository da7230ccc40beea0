package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A patch changes one place of the sources for one build. The place must be there, once: a change of the product that
// moves it has to move the patch too.
type patch struct{ file, old, new string }

// points builds points into the worker: it gets everything it uses through package faulttest.
var points = []patch{
	{"cmd/idpsync/wire.go", `"github.com/idpsync/idpsync/worker/policy"`, `"github.com/idpsync/idpsync/worker/faulttest"
	"github.com/idpsync/idpsync/worker/policy"`},
	{"cmd/idpsync/wire.go", `worker.New(d.store, publisher,`, `faulttest.New(a.environ, d.store, publisher,`},
	{"cmd/idpsync/wire.go", `directory.NewCache(d.store, factories(),`, `directory.NewCache(d.store, faulttest.Factories(a.environ, factories()),`},
}

// sabotage is the worker broken on purpose, in the ways that such programs usually are.
var sabotage = map[string][]patch{
	"ack-first": {
		{"worker/lane.go", "		e := openMessage(m)\n", "		e := openMessage(m)\n		_ = m.Ack()\n"},
	},
	"publish-late": {
		{"worker/deliver.go", "	w.publishResults(ctx, events, failed)\n", ""},
		{"worker/deliver.go", "	w.dispose(ctx, events, failed)\n", "	w.dispose(ctx, events, failed)\n	w.publishResults(ctx, events, failed)\n"},
	},
	"no-ledger": { // rows are written and not looked at
		{"worker/commit.go", "	if row := e.earlier(&found); row != nil {\n", "	if row := e.earlier(&found); row != nil && p == nil {\n"},
		{"store/write.go", `{"events", "", eventInsertColumns`, `{"events", idempotent, eventInsertColumns`},
	},
}

// build makes the plain program, the one with points, and the broker.
func build(ctx context.Context, root, folder, broken string) error {
	patches := points
	if broken != "" {
		more, ok := sabotage[broken]
		if !ok {
			return fmt.Errorf("there is no sabotage %q", broken)
		}
		patches = append(append([]patch(nil), points...), more...)
	}
	overlay, err := overlayOf(root, folder, patches)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(folder, "idpsync"), "./cmd/idpsync"},
		{"-o", filepath.Join(folder, "idpsync-points"), "-overlay", overlay, "./cmd/idpsync"},
		{"-o", filepath.Join(folder, "nats-server"), "github.com/nats-io/nats-server/v2"},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// overlayOf writes the patched sources into folder, and the file that tells go build of them.
func overlayOf(root, folder string, patches []patch) (string, error) {
	texts := map[string]string{}
	for _, p := range patches {
		text, ok := texts[p.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, p.file))
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, p.old); n != 1 {
			return "", fmt.Errorf("%s holds %d times what a chaos build changes; mend the patch in worker/chaostest/build.go: %q", p.file, n, p.old)
		}
		texts[p.file] = strings.Replace(text, p.old, p.new, 1)
	}
	replace := map[string]string{}
	for file, text := range texts {
		name := filepath.Join(folder, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = name
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, "overlay.json")
	return name, os.WriteFile(name, b, 0o600)
}

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
