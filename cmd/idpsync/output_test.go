package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

func TestTable(t *testing.T) {
	var out buffer
	err := printTable(&out, []string{"NAME", "WHAT", "LAST"}, [][]string{
		{"a", "long enough", "x"},
		{"Zoë\x1b[2J", "", ""},
		{"b\nc", "d\u202ee", "f\u200b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "NAME     WHAT         LAST\n" +
		"a        long enough  x\n" +
		"Zoë·[2J\n" +
		"b·c      d·e          f·\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%q\nwant:\n%q", got, want)
	}
}

// terminal returns both ends of a pseudo-terminal: what a person types and sees, and what the program has.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

func TestConfirm(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, " yes \n": true, "n\n": false, "\n": false, "yep\n": false, "\x04": false} {
		person, program := terminal(t)
		if _, err := person.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		var asked buffer
		a := &app{stdin: program, stderr: &asked}
		err := a.confirm(false, "Do it?")
		if (err == nil) != want || err != nil && exitCode(err) != kit.ExitRefused {
			t.Errorf("the answer %q gives the error %v, want consent: %v", answer, err, want)
		}
		if asked.String() != "Do it? [y/N] " {
			t.Errorf("the question is %q, want %q", asked.String(), "Do it? [y/N] ")
		}
	}
}

func TestConfirmAsksNobody(t *testing.T) {
	var out buffer
	a := &app{stdin: strings.NewReader("y\n"), stderr: &out}
	if err := a.confirm(true, "Do it?"); err != nil || out.String() != "" {
		t.Errorf("with --yes the error is %v and the output %q, want neither", err, out.String())
	}
	err := a.confirm(false, "Do it?")
	if exitCode(err) != kit.ExitRefused || hintOf(err, nil) == "" || out.String() != "" {
		t.Errorf("without a terminal the error is %v and the output %q, want a refusal with a hint and no question", err, out.String())
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	var out buffer
	a := &app{stderr: &out, now: time.Now}
	p := a.progress("users", 10)
	p.Add(5)
	p.Close()
	if out.String() != "" {
		t.Errorf("without a terminal %q is drawn, want nothing", out.String())
	}

	person, program := terminal(t)
	now := time.Unix(0, 0)
	a = &app{stderr: program, now: func() time.Time { now = now.Add(time.Second); return now }}
	p = a.progress("users", 10)
	p.Add(5)
	p.Close()
	p.Add(1) // after the end nothing is drawn
	seen := make([]byte, 200)
	n, err := person.Read(seen)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(seen[:n]); !strings.Contains(got, "users [===============               ] 5/10 5/s") {
		t.Errorf("the terminal shows %q, want a bar at 5 of 10 users", got)
	}
}

func TestColours(t *testing.T) {
	_, program := terminal(t)
	for _, tc := range []struct {
		environ map[string]string
		want    bool
	}{{nil, true}, {map[string]string{"NO_COLOR": "1"}, false}, {map[string]string{"TERM": "dumb"}, false}} {
		a := &app{environ: tc.environ}
		if got := a.colours(program); got != tc.want {
			t.Errorf("with the environment %v there are colours: %v, want %v", tc.environ, got, tc.want)
		}
		if a.colours(&buffer{}) {
			t.Error("colours where there is no terminal")
		}
	}
}
