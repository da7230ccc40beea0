package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/idpsync/idpsync/worker/fault"
	"github.com/idpsync/idpsync/worker/linktest"
)

// A slot is the place of one worker: its data directory and its links stay, its processes come and go.
type slot struct {
	w        *world
	n        int
	program  string
	database links  // only one
	broker   links  // one to each node
	http     string // address of its API
	rng      *rand.Rand
	closing  chan struct{}
	done     chan struct{}

	mu     sync.Mutex
	cur    *process
	point  string // at which it will die by itself; "" for none
	armed  bool
	asked  bool // somebody outside ends it
	frozen bool
	last   error
}

func newSlot(w *world, n int) (*slot, error) {
	s := &slot{
		w: w, n: n, program: pointsProgram, armed: !w.o.calm && !w.o.poison,
		rng: rand.New(rand.NewPCG(w.o.seed, uint64(100+n))), closing: make(chan struct{}), done: make(chan struct{}),
	}
	if w.o.plain || n == 0 && w.o.sabotage == "" && !w.o.poison {
		s.program = plainProgram
	}
	database, err := linktest.New(w.databaseHost())
	if err != nil {
		return nil, err
	}
	s.database = links{database}
	for _, node := range w.broker.nodes {
		k, err := linktest.New(node.addr)
		if err != nil {
			return nil, err
		}
		s.broker = append(s.broker, k)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.http = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	go s.supervise()
	return s, nil
}

// supervise starts the worker again whenever it has ended, as systemd or Kubernetes does.
func (s *slot) supervise() {
	defer close(s.done)
	for {
		p, err := s.start()
		if err != nil {
			s.w.log.Error("worker not started", "slot", s.n, "error", err)
			return
		}
		<-p.done
		s.note(p)
		select {
		case <-s.closing:
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (s *slot) start() (*process, error) {
	log, err := logFile(filepath.Join(s.w.folder, fmt.Sprintf("worker-%d.log", s.n)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	u, err := url.Parse(s.w.database)
	if err != nil {
		return nil, err
	}
	u.Host = s.database[0].Addr()
	cmd := exec.Command(filepath.Join(s.w.programs, s.program), "run",
		"--nats-url", s.broker.url(), "--database-url", u.String(),
		"--data-dir", filepath.Join(s.w.folder, fmt.Sprintf("data-%d", s.n)), "--seal-key-file", s.w.sealKey(),
		"--worker-name", fmt.Sprintf("worker-%d", s.n), "--http-listen", s.http, "--admin-listen", "off")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.point, s.asked, s.frozen = "", false, false
	var more []string
	if s.program != plainProgram { // smaller batches pass the points more often
		cmd.Args = append(cmd.Args, "--batch-size", "100")
	}
	if s.armed && s.program != plainProgram {
		crash := s.crash()
		s.point = crash.Name
		passes := s.rng.IntN(40)
		switch {
		case crash.Each:
			passes = s.rng.IntN(2000)
		case crash.Rare:
			passes = s.rng.IntN(3)
		}
		more = append(more, fmt.Sprintf("%s=%s:%d", fault.CrashVariable, s.point, passes))
	}
	if skew := s.skew(); skew != 0 {
		more = append(more, fmt.Sprintf("%s=%v", fault.SkewVariable, skew))
		s.w.tally.add("worker with a wrong clock")
	}
	if s.w.o.poison {
		more = append(more, fault.PoisonVariable+"="+poisonID)
	}
	if s.w.o.sabotage != "" && s.w.o.sabotage != noLedger {
		more = append(more, fault.SabotageVariable+"="+s.w.o.sabotage)
	}
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(more...), log, log
	p, err := s.w.spawner.process(cmd)
	s.cur = p
	return p, err
}

// skew chooses how wrong the clock of the next process is: of every third one it is ahead, and of another third behind.
func (s *slot) skew() time.Duration {
	if s.program == plainProgram || s.w.o.calm || s.w.o.poison {
		return 0
	}
	return s.w.o.skew * time.Duration(s.rng.IntN(3)-1)
}

// crash chooses where the next process dies.
func (s *slot) crash() fault.Crash {
	all := fault.Crashes()
	chosen := all[s.rng.IntN(len(all))]
	if s.w.o.sabotage == "publish-late" { // what it breaks shows when a worker dies there
		i := slices.IndexFunc(all, func(c fault.Crash) bool { return c.Name == fault.AfterAck })
		chosen = all[i]
	}
	return chosen
}

// note counts how a process ended.
func (s *slot) note(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = p.err
	switch {
	case p.killed() && !s.asked && s.w.o.poison:
		s.w.tally.add("kill poison")
	case p.killed() && !s.asked:
		s.w.tally.add("kill at " + s.point)
	case p.err != nil && !p.killed():
		s.w.tally.add("worker left with an error")
		s.w.log.Warn("worker left with an error", "slot", s.n, "error", p.err)
	}
}

// end sends the signal to the worker that runs now.
func (s *slot) end(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil || s.frozen {
		return false
	}
	if sig == syscall.SIGKILL {
		s.asked = true
	}
	return s.cur.signal(sig)
}

// freeze stops the process as a machine that is starved does.
func (s *slot) freeze(wait func()) bool {
	s.mu.Lock()
	p := s.cur
	if p == nil || s.frozen || !p.signal(syscall.SIGSTOP) {
		s.mu.Unlock()
		return false
	}
	s.frozen = true
	s.mu.Unlock()
	wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	p.signal(syscall.SIGCONT)
	if s.cur == p {
		s.frozen = false
	}
	return true
}

// disarm lets processes live that are started from now on.
func (s *slot) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
}

// stop ends the worker for good, in peace.
func (s *slot) stop() error {
	s.disarm()
	close(s.closing)
	for {
		s.end(syscall.SIGTERM)
		select {
		case <-s.done:
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.last != nil {
				return fmt.Errorf("worker %d did not end in peace: %w", s.n, s.last)
			}
			return nil
		case <-time.After(30 * time.Second):
			s.end(syscall.SIGKILL)
			<-s.done
			return fmt.Errorf("worker %d did not end within 30 s", s.n)
		}
	}
}

func (s *slot) close() error {
	select {
	case <-s.closing:
	default:
		close(s.closing)
		s.end(syscall.SIGCONT)
		for ended := false; !ended; {
			s.mu.Lock()
			s.frozen = false
			s.mu.Unlock()
			s.end(syscall.SIGKILL)
			select {
			case <-s.done:
				ended = true
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
	return errors.Join(s.database.close(), s.broker.close())
}

// A tally counts faults by name.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func newTally() *tally { return &tally{counts: map[string]int{}} }

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[name]++
}

// kills is how many processes were ended by kill -9 or its like.
func (t *tally) kills() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for name, count := range t.counts {
		if strings.HasPrefix(name, "kill ") {
			n += count
		}
	}
	return n
}

func (t *tally) String() string {
	kills := t.kills()
	t.mu.Lock()
	defer t.mu.Unlock()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(t.counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, t.counts[name]))
	}
	return fmt.Sprintf("%d kills; %s", kills, strings.Join(parts, ", "))
}

func sortedByCount(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
}
