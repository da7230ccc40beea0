package share_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/share"
)

func TestPortionsLeaveRoomForWhoComesLater(t *testing.T) {
	t.Parallel()
	source := func(name string) share.Source {
		tenant, source, _ := strings.Cut(name, ".")
		return share.Source{Tenant: tenant, Name: source}
	}
	for name, c := range map[string]struct {
		held    map[string]int
		waiting []string // each has waited longer than the next
		counts  []int
		want    []int
	}{
		"nothing waits":                       {},
		"one source has half":                 {nil, []string{"a.x"}, []int{1000}, []int{50}},
		"few of one source":                   {nil, []string{"a.x"}, []int{7}, []int{7}},
		"two have a third each":               {nil, []string{"a.x", "b.x"}, []int{1000, 1000}, []int{34, 33}},
		"three have a quarter each":           {nil, []string{"a.x", "b.x", "c.x"}, []int{1000, 1000, 1000}, []int{25, 25, 25}},
		"few go before many":                  {nil, []string{"a.x", "b.x"}, []int{1000, 3}, []int{49, 3}},
		"whoever holds most gets no more":     {map[string]int{"a.x": 50}, []string{"a.x", "b.x"}, []int{1000, 1000}, []int{0, 25}},
		"whoever comes when two hold a third": {map[string]int{"a.x": 34, "b.x": 33}, []string{"a.x", "b.x", "c.x"}, []int{9, 9, 9}, []int{0, 0, 9}},
		"the sources of a tenant share":       {nil, []string{"a.x", "a.y", "b.x"}, []int{1000, 1000, 1000}, []int{23, 22, 33}},
		"what is held of others takes room":   {map[string]int{"d.x": 60}, []string{"a.x"}, []int{1000}, []int{20}},
		"no room":                             {map[string]int{"d.x": 100}, []string{"a.x"}, []int{1000}, []int{0}},
	} {
		held := map[share.Source]int{}
		for s, n := range c.held {
			held[source(s)] = n
		}
		var queues []share.Queue
		for i, s := range c.waiting {
			queues = append(queues, share.Queue{Source: source(s), Waiting: c.counts[i], Since: time.Unix(int64(i), 0)})
		}
		if got := share.Portions(100, held, queues); !slices.Equal(got, c.want) {
			t.Errorf("%s: the portions are %v, want %v", name, fmt.Sprint(got), c.want)
		}
	}
}
