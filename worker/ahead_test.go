package worker_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A login whose token is not valid yet waits until it is, and is then let in; a front door is told to come again; one that
// is valid much later is refused at once. A dead letter of an earlier version, whose token is valid by now, can be replayed.
func TestLoginsAheadWait(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	d.Start()
	ahead := func(subject string, by time.Duration) workertest.Claims {
		from := time.Now().Add(by)
		return d.Person(subject).With(workertest.Claims{"iat": from.Unix(), "nbf": from.Unix(), "exp": from.Add(time.Hour).Unix()})
	}
	d.LogIn("soon", ahead("ada", 10*time.Minute))
	d.LogIn("late", ahead("eve", time.Hour))
	if r := d.Await("late"); r.Code != record.CodeUnauthenticated || r.Reason != "not_yet_valid" {
		t.Errorf("a token that is valid in an hour gets %d %s, want unauthenticated not_yet_valid at once", r.Status, r.Data)
	}
	d.Eventually("for the login to be parked", func() bool { return d.Counts().Parked == 1 })
	d.Clock.Advance(7 * time.Minute)
	d.LogIn("other", d.Person("bob"))
	if r := d.Await("other"); r.Status != 201 {
		t.Errorf("another login gets %d %s, want 201", r.Status, r.Data)
	}
	if got := d.Results.Of("soon"); len(got) != 0 || d.Counts().Parked != 1 {
		t.Errorf("three minutes before its token is valid the login has the results %+v, want that it still waits", got)
	}
	d.Clock.Advance(90 * time.Second)
	if r := d.Await("soon"); r.Status != 201 {
		t.Errorf("when its token is valid the login gets %d %s, want 201", r.Status, r.Data)
	}
	if letters := d.LettersOf("soon"); len(letters) != 0 {
		t.Errorf("the login that waited has the dead letters %+v, want none", letters)
	}
}
