package providertest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main runs the tests of a package and fails when goroutines are left behind. Idle HTTP connections need a moment to
// go, so what is left is looked at again until it is gone or a limit is reached.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if left := leftover(10 * time.Second); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines are left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

func leftover(limit time.Duration) string {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		left := others()
		if left == "" {
			return ""
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return left
		}
	}
}

// others returns the stacks of all goroutines but this one and those of the runtime and of package testing.
func others() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for i, stack := range strings.Split(string(buf), "\n\n") {
		if i == 0 || strings.Contains(stack, "testing.(*M)") || strings.Contains(stack, "os/signal.") ||
			strings.Contains(stack, "created by runtime") || strings.Contains(stack, "testing/internal") {
			continue
		}
		left = append(left, stack)
	}
	return strings.Join(left, "\n\n")
}
