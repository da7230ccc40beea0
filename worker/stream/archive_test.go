package stream_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/stream"
)

// The archive is there for those who want it, and stays as it is when others migrate.
func TestMigrateMakesTheArchiveWhenAsked(t *testing.T) {
	c := dial(t, broker(t).Credentials().Options())
	migrate(t, c)
	if _, ok := c.Archive(t.Context()); ok {
		t.Error("there is an archive, want none as nobody asked for it")
	}
	plan := small
	plan.ArchiveAge, plan.ArchiveBytes = 48*time.Hour, 1<<24
	if r, err := stream.Migrate(t.Context(), c, plan); err != nil || actions(r)[stream.ActionCreated] != 1 {
		t.Fatalf("the migration is %+v with the error %v, want the archive created", r, err)
	}
	for _, again := range []stream.Topology{plan, small, {}} {
		if r, err := stream.Migrate(t.Context(), c, again); err != nil || r.Changed() {
			t.Errorf("another migration is %+v with the error %v, want no change", r, err)
		}
	}
	if have, ok := c.Archive(t.Context()); !ok || have.MaxAge != 48*time.Hour || have.MaxBytes != 1<<24 {
		t.Errorf("the archive is %+v, want one of 48 h and 16 MiB", have)
	}
	if d, err := stream.Compare(t.Context(), c); err != nil || len(d) != 0 {
		t.Errorf("the differences are %v with the error %v, want none", d, err)
	}
	for plan, want := range map[stream.Topology]time.Duration{{}: 48 * time.Hour, {ArchiveAge: time.Hour}: time.Hour} {
		if ages, err := stream.AgesWith(t.Context(), c, plan); err != nil || ages.Archive != want {
			t.Errorf("with %+v archived events would be kept for %v with the error %v, want %v", plan, ages.Archive, err, want)
		}
	}
	plan.ArchiveAge = 24 * time.Hour
	if r, err := stream.Migrate(t.Context(), c, plan); err != nil || actions(r)[stream.ActionUpdated] != 1 {
		t.Errorf("with another age the migration is %+v with the error %v, want the archive updated", r, err)
	}
}
