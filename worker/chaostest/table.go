package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The ways in which the quiet tenant logs in; each is compared with its own quiet figure.
const (
	byStream  = "quiet"
	byCommand = "quiet, commands by HTTP"
)

// A row is what one sort of trouble did to the quiet tenant.
type row struct {
	sample
	name   string
	door   string        // by which the quiet tenant logged in
	calm   time.Duration // p99 of the quiet while before it in the same deployment
	free   bool          // its ratio has no bound
	note   string
	faults []string // bounds that it broke
}

func (r *row) fault(broken bool, format string, args ...any) {
	if broken {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

// A table is what the scenes have shown.
type table struct {
	out  io.Writer
	rows []row
	calm []row             // by door, of all quiet whiles
	last map[string]sample // the latest of them, by door
}

// quiet adds a while in which nothing happened.
func (t *table) quiet(door string, s sample) {
	i := slices.IndexFunc(t.calm, func(r row) bool { return r.door == door })
	if i < 0 {
		i = len(t.calm)
		t.calm = append(t.calm, row{name: door, door: door})
	}
	r := &t.calm[i]
	r.took = append(r.took, s.took...)
	slices.Sort(r.took)
	r.unanswered += s.unanswered
	r.refused += s.refused
	if t.last == nil {
		t.last = map[string]sample{}
	}
	t.last[door] = s
	fmt.Fprintf(t.out, "%s: p50 %s, p99 %s of %d logins\n", door, short(s.percentile(50)), short(s.percentile(99)), len(s.took))
}

// add adds what trouble did, and says it at once.
func (t *table) add(r row) {
	if r.err != nil {
		r.note = strings.TrimPrefix(r.note+"; first error: "+r.err.Error(), "; ")
	}
	r.calm = t.last[r.door].percentile(99)
	t.rows = append(t.rows, r)
	fmt.Fprintf(t.out, "%s: p50 %s, p99 %s, worst %s of %d logins; %s\n", r.name, short(r.percentile(50)), short(r.percentile(99)), short(r.worst()), len(r.took), r.note)
}

// ratio is that of a row's p99 to the quiet one. A machine has other things to do, more at one time than at another, so that
// the quiet while right before it is what counts.
func (r row) ratio() float64 {
	if r.calm == 0 {
		return 0
	}
	return float64(r.percentile(99)) / float64(r.calm)
}

// print writes the table in Markdown.
func (t *table) print() {
	fmt.Fprint(t.out, "\n| scene | logins | p50 | p99 | worst | quiet p99 | ratio | unanswered | note |\n|---|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, r := range slices.Concat(t.calm, t.rows) {
		if r.calm == 0 {
			r.calm = r.percentile(99)
		}
		fmt.Fprintf(t.out, "| %s | %d | %s | %s | %s | %s | %.1f | %d | %s |\n", r.name, len(r.took), short(r.percentile(50)),
			short(r.percentile(99)), short(r.worst()), short(r.calm), r.ratio(), r.unanswered+r.refused, strings.ReplaceAll(r.note, "|", "/"))
	}
	fmt.Fprintln(t.out)
}

// broken lists the bounds that do not hold.
func (t *table) broken() []string {
	var all []string
	for _, r := range slices.Concat(t.calm, t.rows) {
		faults := r.faults
		if ratio := r.ratio(); !r.free && ratio > boundRatio {
			faults = append(faults, fmt.Sprintf("p99 is %.1f times the quiet one, want at most %d", ratio, boundRatio))
		}
		if n := r.unanswered + r.refused; n > 0 {
			faults = append(faults, fmt.Sprintf("%d logins were not answered as they must be", n))
		}
		for _, f := range faults {
			all = append(all, r.name+": "+f)
		}
	}
	return all
}

// short is a time as a reader wants it.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}
