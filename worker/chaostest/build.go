package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// The programs of a run.
const (
	plainProgram  = "idpsync"
	pointsProgram = "idpsync-points" // with package fault around the parts of its worker
)

// build makes the plain program, the one with points, and the broker.
func build(ctx context.Context, root, folder string) error {
	for _, args := range [][]string{
		{"-o", filepath.Join(folder, plainProgram), "./cmd/idpsync"},
		{"-o", filepath.Join(folder, pointsProgram), "-tags", "chaos", "./cmd/idpsync"},
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

// moduleRoot is the folder of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
