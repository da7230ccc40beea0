package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// reviveEvery is how often an embedded broker is started again at most.
	reviveEvery = 15 * time.Second
	// reviveRoom is how many bytes must fit onto the disk before that is worth it.
	reviveRoom = 1 << 20
)

// Health says what the embedded broker itself finds wrong. That JetStream is on says little: a stream whose write failed, as that
// of a full disk does, refuses every further one until the server is started again.
func (s *Server) Health() []Failure {
	status := s.current().Healthz(nil)
	if status == nil || status.Error == "" && status.StatusCode < 400 {
		return nil
	}
	return []Failure{{Name: "embedded_broker", What: status.Error, Hint: "make space under --data-dir if its disk is full: the broker is then started again by itself; else see the log"}}
}

// Revive starts the broker again on its data and its address, if its disk takes writes. Connections find it by themselves. It
// does so at most once in a while; when it did nothing, it reports false without an error. After an error the broker may
// be down; the next call tries again.
func (s *Server) Revive(ctx context.Context) (bool, error) {
	s.mu.Lock()
	old, soon, ended := s.server, time.Since(s.revived) < reviveEvery, s.ended
	s.mu.Unlock()
	if soon || ended {
		return false, nil
	}
	if err := tryDisk(s.dataDir); err != nil {
		return false, fmt.Errorf("the disk takes no writes yet: %w", err)
	}
	s.mu.Lock()
	s.revived, s.down = time.Now(), true
	s.mu.Unlock()
	s.log.Warn("the embedded broker is started again in place; connections are lost for a moment", "data_dir", s.dataDir)
	old.Shutdown()
	old.WaitForShutdown()
	if _, err := s.launch(ctx); err != nil {
		return false, err
	}
	s.mu.Lock()
	s.down = false
	s.mu.Unlock()
	s.log.Info("the embedded broker is back", "url", s.URL())
	return true, nil
}

// Down reports whether the broker was stopped to be started again, and is not back.
func (s *Server) Down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// tryDisk writes as much to the disk as a broker needs to go on.
func tryDisk(dir string) (err error) {
	f, err := os.CreateTemp(dir, ".space-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, reviveRoom)); err != nil {
		return err
	}
	return f.Sync()
}
