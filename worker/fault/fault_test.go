package fault

import (
	"testing"
	"time"
)

func TestCrashesHaveNamesAndSentencesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Crashes() {
		if c.Name == "" || c.What == "" || seen[c.Name] {
			t.Errorf("the crash %q (%q) has no name or sentence, or the name of another one; want both, and unique names", c.Name, c.What)
		}
		seen[c.Name] = true
	}
	for _, name := range []string{inPublish, inDrain, AfterAck} {
		if !seen[name] {
			t.Errorf("there is no crash %q, want it in the list, as code asks for it by name", name)
		}
	}
}

func TestEnvironmentThatCannotBeFollowedIsAnError(t *testing.T) {
	for _, environ := range []map[string]string{
		{CrashVariable: "after-commit"}, {CrashVariable: "nowhere:1"}, {CrashVariable: "after-commit:soon"}, {SabotageVariable: "tea"},
	} {
		if _, err := FromEnvironment(environ); err == nil {
			t.Errorf("got no error for %v, want one: a run that breaks nothing would prove nothing", environ)
		}
	}
	if _, err := FromEnvironment(map[string]string{CrashVariable: "after-commit:17", SabotageVariable: "ack-first"}); err != nil {
		t.Errorf("got error %v for a crash and a sabotage that there are, want none", err)
	}
}

func TestClockIsAheadOrBehind(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	for text, want := range map[string]time.Time{"": at, "1h": at.Add(time.Hour), "-1h": at.Add(-time.Hour)} {
		clock, err := Clock(map[string]string{SkewVariable: text}, now)
		if err != nil {
			t.Errorf("got error %v for the skew %q, want none", err, text)
		} else if got := clock(); !got.Equal(want) {
			t.Errorf("with the skew %q it is %v, want %v", text, got, want)
		}
	}
	if _, err := Clock(map[string]string{SkewVariable: "a bit"}, now); err == nil {
		t.Error("got no error for a skew that is no duration, want one")
	}
}

func TestCrashIsDueAfterItsPassages(t *testing.T) {
	find := func(name string) *killer {
		for _, c := range Crashes() {
			if c.Name == name {
				return &killer{crash: &c}
			}
		}
		t.Fatalf("there is no crash %q", name)
		return nil
	}
	k := find("after-commit")
	k.left.Store(3)
	for _, other := range []Call{{Point: AfterStore, Method: "Park"}, {Point: BeforeStore, Method: "Batch"}} {
		if k.due(other) || k.left.Load() != 3 {
			t.Errorf("%s of %s was counted as a passage of after-commit, want only those after Batch", other.Point, other.Method)
		}
	}
	for i, want := range []bool{false, false, true, false} {
		if got := k.due(Call{Point: AfterStore, Method: "Batch"}); got != want {
			t.Errorf("passage %d: due is %t, want %t", i+1, got, want)
		}
	}
	k = find(inDrain)
	k.left.Store(1)
	if batch := (Call{Point: BeforeStore, Method: "Batch"}); k.due(batch) {
		t.Error("in-drain is due before any lane was drained, want that it waits for that")
	} else if k.draining.Store(true); !k.due(batch) {
		t.Error("in-drain is not due at the first batch after the drain began, want that it is")
	}
}
