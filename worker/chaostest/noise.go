package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/record"
)

// A hole is an issuer that at some time goes on accepting connections and answers nothing any more.
type hole struct {
	*issuer.Issuer
	black atomic.Bool
}

// ServeHTTP implements http.Handler.
func (h *hole) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.black.Load() {
		<-r.Context().Done() // the client goes, or the site is closed
		return
	}
	h.Issuer.ServeHTTP(w, r)
}

// unknownKey is a token of an issuer under a key that it has not published.
func unknownKey(i *issuer.Issuer, id string) (string, error) {
	key, err := i.NewKey("ES256")
	if err != nil {
		return "", err
	}
	return i.Sign(claims(i, id), issuer.WithKey(key))
}

// signed is the token of somebody who logs in for the first time.
func signed(i *issuer.Issuer, id string) (string, error) { return i.Sign(claims(i, id)) }

// forged is such a token with a signature that does not hold.
func forged(i *issuer.Issuer, id string) (string, error) { return i.SignedByAnotherKey(claims(i, id)) }

func claims(i *issuer.Issuer, id string) map[string]any {
	c := i.Claims(id, audience)
	c["email"], c["email_verified"], c["name"] = id+"@corp.example", true, "Person "+id
	return c
}

// loginMessage is a login as its sender publishes it.
func loginMessage(tenant, source, id, token string) *nats.Msg {
	body, _ := json.Marshal(map[string]string{"id_token": token}) // strings always can be
	m := nats.NewMsg(subject(providers.ShapeLogin, tenant, source))
	m.Header[record.HeaderEventID] = []string{id}
	m.Data = body
	return m
}

// every does something at an even pace until ctx ends; work that is late is left out.
func every(ctx context.Context, interval time.Duration, act func(n int) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := act(n); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// beside runs noise while something lasts, and returns the errors of both.
func beside(ctx context.Context, lasts func(context.Context) error, noise ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(noise))
	var running sync.WaitGroup
	for i, make := range noise {
		running.Go(func() { errs[i] = make(ctx) })
	}
	err := lasts(ctx)
	cancel()
	running.Wait()
	return errors.Join(append(errs, err)...)
}

// lasting is a while in which nothing is done.
func lasting(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		pause(ctx, d)
		return nil
	}
}

// callers are anonymous clients of the HTTP API whose tokens name an issuer that hangs.
func callers(w *world, i *issuer.Issuer, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: n}}
		defer client.CloseIdleConnections()
		errs := make([]error, n)
		var running sync.WaitGroup
		for c := range n {
			running.Go(func() {
				errs[c] = every(ctx, 10*time.Millisecond, func(at int) error {
					token, err := unknownKey(i, fmt.Sprintf("caller-%d-%d", c, at))
					if err != nil {
						return err
					}
					e := &event{id: fmt.Sprintf("caller-%d-%d", c, at), header: providers.Header{"Authorization": {"Bearer " + token}, "X-Tenant-ID": {acme}}}
					_ = w.post(ctx, client, e, []byte(`{}`)) // whatever it is told
					return nil
				})
			})
		}
		running.Wait()
		return errors.Join(errs...)
	}
}

// slowBodies are clients without a credential that announce a body and send it byte by byte. They come from an address of
// their own where the machine has one, and come again when they are shown the door.
func slowBodies(address string, n int) func(context.Context) error {
	return func(ctx context.Context) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
		if c, err := dialer.DialContext(ctx, "tcp", address); err != nil {
			dialer.LocalAddr = nil
		} else {
			_ = c.Close()
		}
		var running sync.WaitGroup
		for range n {
			running.Go(func() {
				for ctx.Err() == nil {
					slowBody(ctx, dialer, address)
					pause(ctx, 100*time.Millisecond)
				}
			})
		}
		running.Wait()
		return nil
	}
}

// slowBody is one such request; it ends when somebody has had enough.
func slowBody(ctx context.Context, dialer net.Dialer, address string) {
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_, err = fmt.Fprintf(c, "POST /v1/users HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nX-Tenant-ID: %s\r\nContent-Length: 500000\r\n\r\n{", address, acme)
	if err != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = c.Read(make([]byte, 1)) // an answer, or the end
	}()
	for {
		select {
		case <-gone:
			return
		case <-time.After(time.Second):
		}
		if _, err := c.Write([]byte(" ")); err != nil {
			_ = c.Close()
			<-gone
			return
		}
	}
}

// answers counts what a tenant's source is told from now on.
func (w *world) answers(tenant, source string) (*atomic.Int64, error) {
	var n atomic.Int64
	_, err := w.nc.Subscribe(record.BranchResults.Of(tenant, source, "*"), func(*nats.Msg) { n.Add(1) })
	if err != nil {
		return nil, err
	}
	return &n, w.nc.Flush()
}
