package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// A spawner starts processes that end with this one, whatever becomes of it. The kernel ties them to the thread that
// started them, so one thread starts all.
type spawner struct {
	requests chan spawn
	done     chan struct{}
}

type spawn struct {
	cmd *exec.Cmd
	err chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawn), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for r := range s.requests {
			r.err <- r.cmd.Start()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	endWithParent(cmd)
	r := spawn{cmd, make(chan error, 1)}
	s.requests <- r
	return <-r.err
}

func (s *spawner) close() {
	close(s.requests)
	<-s.done
}

// A process is one life of a program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // then
	mu   sync.Mutex
	gone bool
}

func (s *spawner) process(cmd *exec.Cmd) (*process, error) {
	if err := s.start(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.err, p.gone = err, true
		p.mu.Unlock()
		close(p.done)
	}()
	return p, nil
}

// signal sends a signal to the process, if it has not ended: its id is its own until it is waited for.
func (p *process) signal(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone && p.cmd.Process.Signal(s) == nil
}

// killed reports whether the process was ended by SIGKILL.
func (p *process) killed() bool {
	var exit *exec.ExitError
	if !errors.As(p.err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// logFile opens a log to append to.
func logFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return f, nil
}
