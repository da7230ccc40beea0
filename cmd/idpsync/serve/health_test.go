package serve

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/assemble"
)

// A check that hangs in what it looks at must neither hide what others find nor look healthy.
func TestCheckThatHangsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHealth(time.Now, slog.New(slog.DiscardHandler))
		wants := func(when string, names ...string) {
			t.Helper()
			failing, _ := h.state()
			same := len(failing) == len(names)
			for i := 0; same && i < len(names); i++ {
				same = failing[i].Name == names[i]
			}
			if !same {
				t.Errorf("%s the failing ones are %+v, want %v", when, failing, names)
			}
		}
		wants("before the start", "starting")
		h.waits(failure{Name: "database", What: "does not answer", Hint: "bring it up"})
		wants("while the start waits for the database", "database")

		release, looks := make(chan struct{}), 0
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.follow(ctx, []assemble.Check{
				{Name: "steady", Look: func(context.Context) []assemble.Failure {
					return []assemble.Failure{{Name: "steady", What: "is away", Hint: "bring it up"}}
				}},
				{Name: "hanging", Look: func(context.Context) []assemble.Failure {
					if looks++; looks == 2 {
						<-release
					}
					return nil
				}},
			})
		}()
		synctest.Wait()
		wants("at first", "steady")
		<-time.After(silentAfter + checkInterval) // of the bubble
		wants("once a check hangs", "hanging", "steady")
		close(release)
		synctest.Wait()
		wants("once it hangs no more", "steady")
		cancel()
		<-ended
	})
}
