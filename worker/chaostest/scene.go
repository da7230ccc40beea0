package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
)

// sceneLength is how long most of the trouble lasts, by a scale of 1.
const sceneLength = 45 * time.Second

// issuerHangs has one issuer of another tenant accept connections and answer nothing, then three; then anonymous clients
// name one; and then all of that is over.
func issuerHangs(ctx context.Context, s *stage) error {
	for _, h := range s.holes {
		h.black.Store(true)
	}
	serial := 0
	var mu sync.Mutex
	logins := func(n int) func(context.Context) error {
		return func(ctx context.Context) error {
			return every(ctx, 200*time.Millisecond, func(int) error {
				mu.Lock()
				serial++
				id := fmt.Sprintf("hung-%d", serial)
				mu.Unlock()
				token, err := unknownKey(s.holes[n].Issuer, id)
				if err != nil {
					return err
				}
				return s.nc.PublishMsg(loginMessage(acme, fmt.Sprintf("hole%d", n), id, token))
			})
		}
	}
	last := s.length(sceneLength, 10*time.Second)
	for _, part := range []struct {
		name  string
		lasts time.Duration
		noise []func(context.Context) error
	}{
		{"1 an issuer hangs, 5 logins/s for it", last, []func(context.Context) error{logins(0)}},
		{"1 three issuers hang", last, []func(context.Context) error{logins(0), logins(1), logins(2)}},
		{"1 eight anonymous HTTP clients name it", last, []func(context.Context) error{callers(s.world, s.holes[0].Issuer, 8)}},
		{"1 the minute after all that", s.length(time.Minute, 15*time.Second), nil},
	} {
		got, err := s.while(ctx, func(ctx context.Context) error { return beside(ctx, lasting(part.lasts), part.noise...) })
		if err != nil {
			return err
		}
		s.table.add(row{name: part.name, sample: got, door: byStream})
	}
	return nil
}

// lettersFull has the stream of dead letters refuse what 100 bad logins a second of another tenant give it.
func lettersFull(ctx context.Context, s *stage) error {
	before, err := s.setLettersRoom(ctx, func(have uint64) int64 { return int64(have) + 16<<10 }) //nolint:gosec // of a young stream
	if err != nil {
		return err
	}
	answered, err := s.answers(acme, "okta")
	if err != nil {
		return err
	}
	sent := 0
	last := s.length(sceneLength, 15*time.Second)
	got, err := s.while(ctx, func(ctx context.Context) error {
		return beside(ctx, lasting(last), func(ctx context.Context) error {
			return every(ctx, 10*time.Millisecond, func(n int) error {
				token, err := forged(s.steady, fmt.Sprintf("bad-%d", n))
				if err != nil {
					return err
				}
				sent++
				return s.nc.PublishMsg(loginMessage(acme, "okta", fmt.Sprintf("bad-%d", n), token))
			})
		})
	})
	if err != nil {
		return err
	}
	s.table.add(row{
		name: "2 dead letters full, 100 bad logins/s", sample: got, door: byStream,
		note: fmt.Sprintf("%d of %d bad logins answered meanwhile, %d ERROR lines", answered.Load(), sent, s.errorLines()),
	})
	if _, err := s.setLettersRoom(ctx, func(uint64) int64 { return before }); err != nil {
		return err
	}
	got, err = s.while(ctx, lasting(last))
	if err != nil {
		return err
	}
	s.table.add(row{
		name: "2 there is room again", sample: got, door: byStream,
		note: fmt.Sprintf("%d of %d bad logins answered", answered.Load(), sent),
	})
	return nil
}

// flood has one tenant publish bad logins as fast as the broker takes them.
func flood(ctx context.Context, s *stage) error {
	messages := make([]*nats.Msg, s.number(30_000))
	if err := parallel(len(messages), func(n int) error {
		id := fmt.Sprintf("flood-%d", n)
		token, err := forged(s.steady, id)
		messages[n] = loginMessage(acme, "okta", id, token)
		return err
	}); err != nil {
		return err
	}
	answered, err := s.answers(acme, "okta")
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := s.while(ctx, func(ctx context.Context) error {
		refused, err := s.publishAll(ctx, messages, 256)
		if err != nil {
			return err
		}
		s.await(ctx, s.length(4*time.Minute, time.Minute), func() bool { return int(answered.Load())+refused >= len(messages) })
		return nil
	})
	if err != nil {
		return err
	}
	s.table.add(row{
		name: fmt.Sprintf("3 a flood of %d bad logins", len(messages)), sample: got, door: byStream,
		note: fmt.Sprintf("%d answered in %v", answered.Load(), time.Since(began).Round(time.Second)),
	})
	return nil
}

// avatars has a feed of another tenant send users with the largest pictures.
func avatars(ctx context.Context, s *stage) error {
	image := make([]byte, 196_000)
	if _, err := rand.Read(image); err != nil {
		return err
	}
	copy(image, pngHeader)
	picture := "data:image/png;base64," + base64.StdEncoding.EncodeToString(image)
	messages := make([]*nats.Msg, s.number(1000))
	for n := range messages {
		id := fmt.Sprintf("picture-%d", n)
		body, err := json.Marshal(map[string]any{"email": id + "@corp.example", "name": "Person " + id, "auth_provider": "oidc", "roles": []string{"user"}, "avatar": picture})
		if err != nil {
			return err
		}
		m := nats.NewMsg(subject(providers.ShapeFeed, acme, "workday"))
		m.Header[record.HeaderEventID] = []string{id}
		m.Header["Authorization"] = []string{"Bearer " + s.feeds[acme]}
		m.Data = body
		messages[n] = m
	}
	answered, err := s.answers(acme, "workday")
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := s.while(ctx, func(ctx context.Context) error {
		if _, err := s.publishAll(ctx, messages, 8); err != nil {
			return err
		}
		s.await(ctx, s.length(4*time.Minute, time.Minute), func() bool { return int(answered.Load()) >= len(messages) })
		return nil
	})
	if err != nil {
		return err
	}
	peak := s.workers[0].peakMemory()
	slow := s.logLines("nats.log", "Slow Consumer")
	r := row{
		name: fmt.Sprintf("4 %d feed users with %d KB pictures", len(messages), len(picture)>>10), sample: got, door: byStream,
		note: fmt.Sprintf("%d done in %v, worker at most %d MB, %d slow consumers", answered.Load(), time.Since(began).Round(time.Second), peak>>20, slow),
	}
	r.fault(peak > boundMemory, "the worker took %d MB, want at most %d", peak>>20, boundMemory>>20)
	r.fault(slow > 0, "the broker cut a slow consumer off %d times", slow)
	r.fault(int(answered.Load()) < len(messages), "%d of %d users were done", answered.Load(), len(messages))
	s.table.add(r)
	return nil
}

// pngHeader is the beginning of a picture of one point, up to what it takes to know its size.
const pngHeader = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00\x3a\x7e\x9b\x55"

// bodies has clients without a credential hold the HTTP API with requests that never end.
func bodies(ctx context.Context, s *stage) error {
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	commands := byHTTP(s.world, client)
	last := s.length(sceneLength, 10*time.Second)
	calm, err := measure(ctx, commands, lasting(s.length(20*time.Second, 5*time.Second)))
	if err != nil {
		return err
	}
	s.table.quiet(byCommand, calm)
	noise := slowBodies(s.workers[0].http, 256)
	var stored sample
	answered, err := measure(ctx, commands, func(ctx context.Context) error {
		var err error
		stored, err = s.while(ctx, func(ctx context.Context) error { return beside(ctx, lasting(last), noise) })
		return err
	})
	if err != nil {
		return err
	}
	s.table.add(row{name: "5 256 slow bodies without a credential", sample: answered, door: byCommand, note: "commands by HTTP"})
	s.table.add(row{name: "5 the same", sample: stored, door: byStream})
	return nil
}

// linkHalfOpen has the link from one of two workers to the broker swallow what both sides send.
func linkHalfOpen(ctx context.Context, s *stage) error {
	var began, back time.Time
	var found bool
	k := s.workers[1].broker
	got, err := s.while(ctx, func(ctx context.Context) error {
		pause(ctx, 2*time.Second)
		began = time.Now()
		n := k.swallow()
		s.await(ctx, 3*time.Minute, func() bool {
			back, found = k.dialed(n, began)
			return found
		})
		pause(ctx, s.length(30*time.Second, 10*time.Second))
		return nil
	})
	if err != nil {
		return err
	}
	r := row{name: "9 a worker's link to the broker is half open", sample: got, door: byStream, free: true, note: "not noticed"}
	took := back.Sub(began).Round(100 * time.Millisecond)
	if found {
		r.note = fmt.Sprintf("reconnected after %v", took)
	}
	r.fault(!found, "the worker did not reconnect")
	r.fault(found && took > boundReconnect, "the worker reconnected after %v, want at most %v", took, boundReconnect)
	s.table.add(r)
	return nil
}

// databaseCut has the link from one of two workers to the database stand still.
func databaseCut(ctx context.Context, s *stage) error {
	got, err := s.while(ctx, func(ctx context.Context) error {
		pause(ctx, 2*time.Second)
		s.workers[1].database.hold(ctx, s.length(75*time.Second, 60*time.Second))
		return nil
	})
	if err != nil {
		return err
	}
	r := row{name: "10 a worker is cut off from its database", sample: got, door: byStream, free: true}
	r.fault(got.worst() > boundHandover, "a login waited %v, want that it is handed over within %v", got.worst().Round(100*time.Millisecond), boundHandover)
	s.table.add(r)
	return nil
}

// publishAll publishes messages, some of them at a time, and returns how many of them the broker refused.
func (s *stage) publishAll(ctx context.Context, messages []*nats.Msg, inFlight int) (refused int, err error) {
	js, err := s.nc.JetStream(nats.PublishAsyncMaxPending(inFlight))
	if err != nil {
		return 0, err
	}
	futures := make([]nats.PubAckFuture, 0, len(messages))
	for _, m := range messages {
		f, err := js.PublishMsgAsync(m, nats.StallWait(time.Minute))
		if err != nil {
			return 0, err
		}
		futures = append(futures, f)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for _, f := range futures {
		select {
		case <-f.Err():
			refused++
		default:
		}
	}
	return refused, nil
}

// await waits until something is so, or for as long as it may take.
func (s *stage) await(ctx context.Context, patience time.Duration, so func() bool) {
	for end := time.Now().Add(patience); !so() && time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, 50*time.Millisecond)
	}
}

// parallel does something for each number below n on all processors.
func parallel(n int, do func(n int) error) error {
	var running sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	for c := range errs {
		running.Go(func() {
			for i := c; i < n && errs[c] == nil; i += len(errs) {
				errs[c] = do(i)
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// peakMemory is the most memory that the worker's process has held, in bytes; 0 where the system does not say.
func (s *slot) peakMemory() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cur.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	text, _, _ := strings.Cut(rest, " kB")
	kilobytes, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64) // 0 when it says something else
	return kilobytes << 10
}

// errorLines counts what the workers called errors.
func (s *stage) errorLines() int {
	n := 0
	for i := range s.workers {
		n += s.logLines(fmt.Sprintf("worker-%d.log", i), "level=ERROR")
	}
	return n
}

// logLines counts the lines of a log that say something.
func (s *stage) logLines(name, what string) int {
	b, err := os.ReadFile(filepath.Join(s.folder, name))
	if err != nil {
		return 0
	}
	return strings.Count(string(b), what)
}
