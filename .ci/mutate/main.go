// Mutate asks whether the tests would notice if a rule of security were gone. It makes each of the small changes that
// mutations.txt lists, one at a time, and wants a test to fail. The working tree stays as it is: the go command is told to
// read the changed file in place of the other one.
//
//	go run -C .ci ./mutate          all mutations
//	go run -C .ci ./mutate nonce    those with the word in their name
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const list = "mutations.txt"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := check(ctx, "..", list, strings.Join(os.Args[1:], " "), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// atOnce is how many mutations are tried side by side. Linking a test, which takes most of the time, keeps one core busy.
var atOnce = max(1, runtime.GOMAXPROCS(0))

// check tries the mutations of the list whose name holds word on the module in the folder root.
func check(ctx context.Context, root, list, word string, out io.Writer) (err error) {
	began := time.Now()
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	mutations, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	mutations = named(mutations, word)
	if len(mutations) == 0 {
		return fmt.Errorf("no mutation of %s is named after %q", list, word)
	}
	tree, err := readTree(root)
	if err != nil {
		return err
	}
	var faults []error
	for i := range mutations {
		if err := tree.place(&mutations[i]); err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %s: %w", list, mutations[i].line, mutations[i].name, err))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	r := runner{root: root, scratch: scratch}
	if err := r.untouched(ctx, mutations); err != nil {
		return err
	}
	fmt.Fprintf(out, "%5.1fs  the tests pass without a mutation\n", time.Since(began).Seconds())
	verdicts := tryAll(ctx, r, mutations, out)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return judge(mutations, verdicts, time.Since(began), out)
}

// named returns the mutations with the word in their name.
func named(mutations []mutation, word string) []mutation {
	var out []mutation
	for _, m := range mutations {
		if strings.Contains(strings.ToLower(m.name), strings.ToLower(word)) {
			out = append(out, m)
		}
	}
	return out
}

// tryAll tries mutations and writes a line for each as it ends.
func tryAll(ctx context.Context, r runner, mutations []mutation, out io.Writer) []verdict {
	verdicts := make([]verdict, len(mutations))
	next := make(chan int)
	var mu sync.Mutex // of out
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				began := time.Now()
				v := r.try(ctx, i, mutations[i])
				verdicts[i] = v
				mu.Lock()
				fmt.Fprintf(out, "%5.1fs  %-9s %s%s\n", time.Since(began).Seconds(), v.word(), mutations[i].name, v.by())
				mu.Unlock()
			}
		})
	}
	for i := range mutations {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	return verdicts
}

// judge sums up. A mutation that survives is a failure unless the list gives a reason, and so is a reason that has come to
// nothing.
func judge(mutations []mutation, verdicts []verdict, took time.Duration, out io.Writer) error {
	killed, expected := 0, 0
	var bad []string
	for i, m := range mutations {
		v := verdicts[i]
		switch {
		case v.fault != "":
			bad = append(bad, fmt.Sprintf("%s:%d: %s: %s", list, m.line, m.name, v.fault))
		case v.killer != "" && m.survives != "":
			bad = append(bad, fmt.Sprintf("%s:%d: %s: %s notices it now; remove the line that says why it survives", list, m.line, m.name, v.killer))
		case v.killer != "":
			killed++
		case m.survives != "":
			expected++
		default:
			bad = append(bad, fmt.Sprintf("%s:%d: %s: survives, as none of these fails: %s", list, m.line, m.name, m.testNames()))
		}
	}
	fmt.Fprintf(out, "\n%d mutations in %s: %d killed, %d survive for a reason, %d not in order\n", len(mutations), took.Round(time.Second), killed, expected, len(bad))
	for i, m := range mutations {
		if m.survives != "" && verdicts[i].killer == "" {
			fmt.Fprintf(out, "survives: %s: %s\n", m.name, m.survives)
		}
	}
	if len(bad) > 0 {
		return errors.New("\n" + strings.Join(bad, "\n"))
	}
	return nil
}
