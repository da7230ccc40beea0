package share

import "time"

// A Source names a source of a tenant.
type Source struct{ Tenant, Name string }

// A Queue is what a source has waiting somewhere else, to be taken up by whoever has room.
type Queue struct {
	Source
	Waiting int
	Since   time.Time // when the first of them could have been taken up
}

// Portions says how many items of each queue to take up next by one who may hold most of them, and holds some. Whoever holds
// least comes next: first of the tenants, then of a tenant's sources; of several, who has waited longest. No source gets more
// than there is room left beside it (Choudhury and Hahne's dynamic threshold, 1998): a source whose items take long, alone, has
// half of all places at most, two have a third each, and so there are always some for a source that comes later.
func Portions(most int, held map[Source]int, queues []Queue) []int {
	free := most
	sources, tenants := map[Source]int{}, map[string]int{}
	for s, n := range held {
		free -= n
		sources[s] += n
		tenants[s.Tenant] += n
	}
	portions := make([]int, len(queues))
	for free > 0 {
		next := -1
		for i, q := range queues {
			if portions[i] < q.Waiting && sources[q.Source] < free && (next < 0 || before(q, queues[next], sources, tenants)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		portions[next]++
		sources[queues[next].Source]++
		tenants[queues[next].Tenant]++
		free--
	}
	return portions
}

// before reports whether a comes before b.
func before(a, b Queue, sources map[Source]int, tenants map[string]int) bool {
	if n, m := tenants[a.Tenant], tenants[b.Tenant]; n != m {
		return n < m
	}
	if n, m := sources[a.Source], sources[b.Source]; n != m {
		return n < m
	}
	return a.Since.Before(b.Since)
}
