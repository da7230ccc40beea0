package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The programs of a run.
const (
	plainProgram  = "idpsync"
	pointsProgram = "idpsync-points" // with package fault around the parts of its worker
)

// programs says where they are.
type programs struct {
	folder string
	root   string // of the module that they were built of
}

// build makes the plain program, the one with points, and the broker. A worker that is given stands in for the plain
// program, so that a run can be made with that of another commit, and there is none with points.
func build(ctx context.Context, folder, worker string) (programs, error) {
	root, err := moduleRoot()
	if err != nil {
		return programs{}, err
	}
	wanted := [][]string{{"-o", filepath.Join(folder, "nats-server"), "github.com/nats-io/nats-server/v2"}}
	if worker == "" {
		wanted = append(wanted,
			[]string{"-o", filepath.Join(folder, plainProgram), "./cmd/idpsync"},
			[]string{"-o", filepath.Join(folder, pointsProgram), "-tags", "chaos", "./cmd/idpsync"})
	} else if worker, err = filepath.Abs(worker); err != nil {
		return programs{}, err
	} else if err := os.Symlink(worker, filepath.Join(folder, plainProgram)); err != nil {
		return programs{}, err
	}
	for _, args := range wanted {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return programs{}, fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return programs{folder, root}, nil
}

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
