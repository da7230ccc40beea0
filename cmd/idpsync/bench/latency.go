package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

const (
	latencyLogins   = 400                   // in a round
	latencyInterval = 25 * time.Millisecond // between two of them
	hungInterval    = 50 * time.Millisecond // between two logins of the issuer that hangs
	hungClients     = 8                     // anonymous HTTP clients that name it
	clientInterval  = 10 * time.Millisecond // between two requests of one of them
)

// latency measures how long logins of one source take from publishing to their result: first while nothing else happens,
// then while the issuer of another source accepts connections and answers nothing. Logins for that one come all the time,
// and so do anonymous clients of the HTTP API with tokens that only name it.
func (b *benchmark) latency(ctx context.Context, st *store.Store) (err error) {
	hung, err := issuer.New(issuer.Options{Now: b.Now, Rand: b.Rand})
	if err != nil {
		return err
	}
	release := make(chan struct{})
	stop, err := kit.ServeIssuer(hung, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer close(release)
	token, err := unpublished(hung)
	if err != nil {
		return err
	}
	if err := b.declare(ctx, st, fmt.Sprintf(
		`      - {name: hung, kind: oidc, issuer: %q, audiences: [idpsync], domains: [hung.example], grants: [user], commands: true, commands_claim: admin}
`, hung.URL())); err != nil {
		return err
	}
	api, err := unusedAddress(ctx)
	if err != nil {
		return err
	}
	child, _, err := b.startWorker(ctx, api)
	if err != nil {
		return err
	}
	defer child.stop()
	if _, err := b.pace(ctx, "warm"); err != nil {
		return err
	}
	quiet, err := b.pace(ctx, "quiet")
	if err != nil {
		return err
	}
	noisy, end := context.WithCancel(ctx)
	noise := b.noise(noisy, token, api)
	beside, err := b.pace(ctx, "hung")
	end()
	answered, failed := noise()
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	for _, round := range []struct {
		name string
		took []time.Duration
	}{{"quiet", quiet}, {"hung", beside}} {
		fmt.Fprintf(b.Out, "idpsync n=%d mode=%s: p50=%s p99=%s\n", len(round.took), round.name, percentile(round.took, 50), percentile(round.took, 99))
	}
	fmt.Fprintf(b.Out, "beside the issuer that hangs %d requests were answered; p99 there is %.1f times the quiet one\n",
		answered, float64(percentile(beside, 99))/float64(percentile(quiet, 99)))
	return nil
}

// pace publishes logins at a steady rate, whether or not the earlier ones are done, and returns how long each took, the
// shortest first.
func (b *benchmark) pace(ctx context.Context, name string) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	bodies, err := b.sign(ctx, name, latencyLogins)
	if err != nil {
		return nil, err
	}
	before, err := b.results(ctx)
	if err != nil {
		return nil, err
	}
	published := make([]time.Time, len(bodies))
	var sending sync.WaitGroup
	var failed error
	defer sending.Wait()
	defer cancel()
	sending.Go(func() {
		tick := time.NewTicker(latencyInterval)
		defer tick.Stop()
		for i, body := range bodies {
			<-tick.C
			published[i] = time.Now()
			if _, err := stream.PublishEvent(ctx, b.Conn, b.event("okta", fmt.Sprintf("%s-%d", name, i), body)); err != nil {
				failed = err
				cancel()
				return
			}
		}
	})
	done := map[string]time.Time{}
	for m, err := range stream.Tail(ctx, b.Conn, stream.Filter{Tenant: b.tenant, Source: "okta", After: before.LastSeq}) {
		if err != nil {
			return nil, err
		}
		at := time.Now()
		r, err := record.ReadResult(m)
		if err != nil {
			return nil, err
		}
		if r.Outcome != record.OutcomeCreated {
			return nil, kit.Fail(kit.ExitFailure, "see what the worker logged", "a login came out as %s; want created", r.Outcome)
		}
		done[r.Event.EventID] = at
		if len(done) == len(bodies) {
			break
		}
	}
	sending.Wait()
	if failed != nil {
		return nil, failed
	}
	var took []time.Duration
	for i, start := range published {
		end, ok := done[b.eventID(fmt.Sprintf("%s-%d", name, i))]
		if !ok {
			return nil, kit.Fail(kit.ExitFailure, "see what the worker logged", "round %s: %d of %d logins had a result within a minute", name, len(done), len(bodies))
		}
		took = append(took, end.Sub(start))
	}
	slices.Sort(took)
	return took, nil
}

// noise keeps the worker busy with the issuer that hangs until ctx ends. The function that it returns waits for all of it and
// says how many requests were answered.
func (b *benchmark) noise(ctx context.Context, token, api string) func() (answered int, err error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var answered int
	var failed error
	every := func(interval time.Duration, act func(i int) error) {
		all.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				err := act(i)
				mu.Lock()
				if ctx.Err() == nil {
					failed = errors.Join(failed, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	route, _ := record.Routes().Find(record.ActionCreate, providers.ShapeTenant)
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: hungClients}}
	every(hungInterval, func(i int) error {
		body, err := kit.Login(token, nil)
		if err == nil {
			_, err = stream.PublishEvent(ctx, b.Conn, b.event("hung", fmt.Sprintf("noise-%d", i), body))
		}
		return err
	})
	for range hungClients {
		every(clientInterval, func(int) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+api+route.Path, bytes.NewReader([]byte(`{}`)))
			if err != nil {
				return err
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("X-Tenant-ID", b.tenant)
			r.Header.Set("Content-Type", "application/json")
			response, err := client.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, response.Body)
			mu.Lock()
			answered++
			mu.Unlock()
			return errors.Join(err, response.Body.Close())
		})
	}
	return func() (int, error) {
		all.Wait()
		client.CloseIdleConnections()
		return answered, failed
	}
}

func (b *benchmark) eventID(id string) string { return b.tenant + "-" + id }

func (b *benchmark) event(source, id string, body []byte) record.Outgoing {
	return record.Outgoing{
		Subject: record.EventSubject(record.Address{Action: record.ActionCreate, Shape: providers.ShapeLogin, Door: providers.DoorStream, Tenant: b.tenant, Source: source}), Data: body,
		Header: providers.Header{record.HeaderEventID: {b.eventID(id)}},
	}
}

// unpublished returns a token that is signed by a key which its issuer never publishes. Who gets it has to ask the issuer.
func unpublished(i *issuer.Issuer) (string, error) {
	key, err := i.NewKey("RS256")
	if err != nil {
		return "", err
	}
	return i.Sign(i.Claims("x", audience), issuer.WithKey(key))
}

// percentile returns a percentile of durations that are sorted.
func percentile(sorted []time.Duration, p int) time.Duration {
	return sorted[min(len(sorted)*p/100, len(sorted)-1)].Round(10 * time.Microsecond)
}

// unusedAddress returns an address of this machine that nothing listens on.
func unusedAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
