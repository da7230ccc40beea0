package main

import (
	"strings"
	"testing"
	"time"
)

// spread is a sample of logins that took from one unit to a hundred.
func spread(unit time.Duration) sample {
	var s sample
	for n := range 100 {
		s.took = append(s.took, unit*time.Duration(n+1))
	}
	return s
}

func TestTableJudgesByTheQuietWhileBeforeOfTheSameDoor(t *testing.T) {
	var out strings.Builder
	table := &table{out: &out}
	table.quiet(byStream, spread(time.Second))
	table.quiet(byStream, spread(time.Millisecond))
	table.quiet(byCommand, spread(100*time.Millisecond))
	table.add(row{name: "held", door: byStream, sample: spread(2 * time.Millisecond)})
	table.add(row{name: "slow", door: byStream, sample: spread(4 * time.Millisecond)})
	table.add(row{name: "as slow by HTTP", door: byCommand, sample: spread(4 * time.Millisecond)})
	table.add(row{name: "free", door: byStream, sample: spread(time.Second), free: true})
	lost := spread(time.Millisecond)
	lost.unanswered = 1
	table.add(row{name: "lost", door: byStream, sample: lost})
	late := row{name: "late", door: byStream, sample: spread(time.Millisecond)}
	late.fault(true, "it came %s", "late")
	late.fault(false, "it came early")
	table.add(late)

	broken := table.broken()
	for i, want := range []string{"slow: p99 is 4.0 times", "lost: 1 logins", "late: it came late"} {
		if len(broken) != 3 || !strings.HasPrefix(broken[i], want) {
			t.Fatalf("broken bounds are %q, want three, and %q at place %d", broken, want, i)
		}
	}
	table.print()
	if want := "| slow | 100 | 204ms | 400ms | 400ms | 100ms | 4.0 | 0 |  |"; !strings.Contains(out.String(), want) {
		t.Errorf("the table is\n%s\nwant a row %s", out.String(), want)
	}
}

func TestUnknownSceneIsRefused(t *testing.T) {
	got, err := sceneOptions{only: "link,flood"}.chosen()
	if err != nil || len(got) != 2 || got[0].name != "link" {
		t.Errorf("got %d scenes and error %v for two that there are, want both in the order given", len(got), err)
	}
	if _, err := (sceneOptions{only: "tea"}).chosen(); err == nil {
		t.Error("the scene \"tea\" was taken, want an error that names those that there are")
	}
}
