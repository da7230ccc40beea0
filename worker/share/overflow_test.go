package share_test

import (
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/share"
)

// What is sent back comes again when those before it have probably ended: half of what is held, and all that was sent back.
func TestWhatIsSentBackComesWhenItsTurnIsLikely(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	for _, tt := range []struct {
		name       string
		before     int // sent back earlier
		held       int
		rate       float64
		deliveries uint64
		want       time.Duration
	}{
		{"by what is held", 0, 4000, 1000, 1, 2100 * time.Millisecond},
		{"by what was sent back", 3000, 4000, 1000, 1, 5100 * time.Millisecond},
		{"before a rate is known", 0, 4000, 0, 1, 1100 * time.Millisecond},
		{"at least a moment", 0, 2, 1000, 1, 300 * time.Millisecond},
		{"longer each time", 0, 2, 1000, 4, 1700 * time.Millisecond},
		{"at most half a minute", 20_000, 4000, 10, 1, 30100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := share.NewOverflow()
			for range tt.before {
				o.Put("a", tt.held, tt.rate, 1, start)
			}
			if other, ok := o.Put("b", 0, tt.rate, 1, start); !ok || other != 300*time.Millisecond {
				t.Errorf("a message of another tenant comes after %v, room: %v, want 300ms: it waits for none of the first", other, ok)
			}
			if got, ok := o.Put("a", tt.held, tt.rate, tt.deliveries, start); !ok || got != tt.want {
				t.Errorf("the message comes after %v, room: %v, want %v", got, ok, tt.want)
			}
		})
	}
}

func TestNotEverythingCanBeSentBack(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	o := share.NewOverflow()
	if _, ok := o.Put("a", 0, 1000, 6, start); ok {
		t.Error("a message was sent back after it had been five times, want that it is not")
	}
	for i := range 32 << 10 {
		if _, ok := o.Put("a", 0, 1000, 1, start); !ok {
			t.Fatalf("there is no room for message %d, want room for 32768", i+1)
		}
	}
	if _, ok := o.Put("b", 0, 1000, 1, start); ok {
		t.Error("there is room for a message beyond 32768, want none")
	}
	if _, ok := o.Put("b", 0, 1000, 1, start.Add(time.Minute)); !ok {
		t.Error("there is no room when all have come again, want some")
	}
}
