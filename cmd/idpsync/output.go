package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/worker/strictyaml"
)

// jsonFlag adds --json to a command that lists or shows.
func jsonFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "json", false, "print JSON")
}

// yesFlag adds --yes to a command that changes something.
func yesFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVarP(to, "yes", "y", false, "do it without asking")
}

// An age is a flag for how long ago something was; it knows days too.
type age time.Duration

func (a *age) Type() string { return "duration" }

func (a *age) String() string {
	if *a == 0 {
		return ""
	}
	return time.Duration(*a).String()
}

func (a *age) Set(s string) error {
	d, err := strictyaml.ParseDuration(s)
	if err != nil || d < 0 {
		return errors.New("write it as 90s, 15m, 36h or 7d")
	}
	*a = age(d)
	return nil
}

// printJSON prints one value, indented.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// printTable prints rows under a heading, in columns. Cells hold what outsiders sent, so they are made printable.
func printTable(w io.Writer, heading []string, rows [][]string) error {
	widths := make([]int, len(heading))
	all := append([][]string{heading}, rows...)
	for _, row := range all {
		for i := range row {
			row[i] = kit.Printable(row[i])
			if n := len([]rune(row[i])); i < len(widths) && n > widths[i] {
				widths[i] = n
			}
		}
	}
	out := bufio.NewWriter(w)
	for _, row := range all {
		line := ""
		for i, cell := range row {
			line += cell
			if i < len(row)-1 && i < len(widths) {
				line += strings.Repeat(" ", widths[i]-len([]rune(cell))+2)
			}
		}
		fmt.Fprintln(out, strings.TrimRight(line, " "))
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours reports whether a writer shows colours: a terminal does, unless NO_COLOR is set (https://no-color.org).
func (a *app) colours(w io.Writer) bool {
	return isTerminal(w) && a.environ["NO_COLOR"] == "" && a.environ["TERM"] != "dumb"
}

// confirm asks a question that --yes answers. Without a terminal nobody is asked and the answer is no.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) {
		return kit.Fail(kit.ExitRefused, "add --yes to do it without being asked", "nobody to ask: standard input is not a terminal; nothing was changed")
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && answer == "" {
		return kit.Fail(kit.ExitRefused, "", "no answer; nothing was changed")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return kit.Fail(kit.ExitRefused, "", "not confirmed; nothing was changed")
	}
}
