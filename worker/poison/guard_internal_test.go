package poison

import (
	"testing"

	"github.com/idpsync/idpsync/store"
)

func TestFinding(t *testing.T) {
	proved := store.InFlight{Run: "r1", Died: true}
	alone := func(run string, m store.InFlight) store.InFlight {
		m.Run, m.Worker, m.Alone = run, "w"+run, true
		return m
	}
	silent := store.InFlight{EventID: "silent"}
	for name, c := range map[string]struct {
		markers []store.InFlight
		want    Finding
	}{
		"nothing":                                    {nil, Finding{}},
		"a batch of another run":                     {[]store.InFlight{{}}, Finding{Marked: true}},
		"batches of two other runs":                  {[]store.InFlight{{Run: "r1"}, {Run: "r2"}}, Finding{Marked: true, Suspect: true}},
		"a proved death in a batch":                  {[]store.InFlight{proved}, Finding{Marked: true, Suspect: true}},
		"two proved deaths in batches":               {[]store.InFlight{proved, {Run: "r2", Died: true}}, Finding{Marked: true, Suspect: true}},
		"one proved death alone":                     {[]store.InFlight{alone("1", proved)}, Finding{Marked: true, Suspect: true}},
		"a proved death, and a proved one alone":     {[]store.InFlight{proved, alone("2", proved)}, Finding{Marked: true, Killed: "w2"}},
		"a batch, and a proved death alone":          {[]store.InFlight{{}, alone("2", proved)}, Finding{Marked: true, Suspect: true}},
		"alone with a run that may live":             {[]store.InFlight{alone("1", store.InFlight{})}, Finding{Marked: true, Wait: true}},
		"a proved death, and a run that may live":    {[]store.InFlight{proved, alone("2", store.InFlight{})}, Finding{Marked: true, Wait: true}},
		"alone with a silent run":                    {[]store.InFlight{alone("1", silent)}, Finding{Marked: true, Suspect: true}},
		"a proved death, and alone with a silent":    {[]store.InFlight{proved, alone("2", silent)}, Finding{Marked: true, Suspect: true}},
		"alone with two silent runs":                 {[]store.InFlight{alone("1", silent), alone("2", silent)}, Finding{Marked: true, Killed: "w2"}},
		"alone with a silent run and one that lives": {[]store.InFlight{alone("1", silent), alone("2", store.InFlight{})}, Finding{Marked: true, Wait: true}},
		"a proved death alone, and a silent run":     {[]store.InFlight{alone("1", proved), alone("2", silent)}, Finding{Marked: true, Killed: "w2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := find(c.markers, func(m store.InFlight) bool { return m.EventID == "silent" })
			if got != c.want {
				t.Errorf("the finding is %+v, want %+v", got, c.want)
			}
		})
	}
}
