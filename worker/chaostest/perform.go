package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

// producers is how many events are being sent at a time.
const producers = 12

// patience bounds how long one event may take to be taken by somebody.
const patience = 3 * time.Minute

// perform publishes the script at an even pace, while the storm blows, and returns when both are over.
func (w *world) perform(ctx context.Context, s *script, storm *storm) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	running.Go(func() {
		if err := storm.blow(ctx); err != nil {
			cancel(err)
		}
		for _, slot := range w.workers {
			slot.disarm()
		}
	})
	watching, stopWatching := context.WithCancel(ctx)
	running.Go(func() { w.proveLive(watching) })
	running.Go(func() { w.replay(watching) })
	queue := make(chan *event)
	var sending sync.WaitGroup
	for range producers {
		sending.Go(func() {
			client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for e := range queue {
				if err := w.send(ctx, client, e); err != nil {
					cancel(fmt.Errorf("send %s: %w", e.key(), err))
					return
				}
			}
		})
	}
	began := time.Now()
	pace := w.o.duration * 9 / 10 / time.Duration(max(len(s.sends), 1))
	for i, e := range s.sends {
		if ahead := pace*time.Duration(i) - time.Since(began); ahead > 5*time.Millisecond {
			pause(ctx, ahead)
		}
		select {
		case queue <- e:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(queue)
	sending.Wait()
	stopWatching()
	running.Wait()
	return context.Cause(ctx)
}

// send sends one event until somebody has taken it, always under its id.
func (w *world) send(ctx context.Context, client *http.Client, e *event) error {
	body, err := e.payload()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		seq := uint64(0)
		switch {
		case e.subject == "":
			err = w.post(ctx, client, e, body)
		case e.request:
			err = w.request(ctx, e, body)
		default:
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			seq, err = stream.PublishEvent(short, w.conn, record.Outgoing{Subject: e.subject, Header: e.header, Data: body})
			cancel()
		}
		if err == nil {
			e.sent(seq)
			return nil
		}
		if errors.Is(err, errAnswer) || ctx.Err() != nil {
			return err
		}
		w.tally.add("sent again by the publisher")
		pause(ctx, 150*time.Millisecond)
	}
}

// errAnswer is an answer that should not be.
var errAnswer = errors.New("unexpected answer")

// post sends a command to one of the workers by HTTP.
func (w *world) post(ctx context.Context, client *http.Client, e *event, body []byte) error {
	at := w.workers[rand.IntN(len(w.workers))].http
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+at+"/v1/users", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, name := range []string{"Authorization", "X-Tenant-ID"} {
		req.Header.Set(name, e.header.Get(name))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", e.id)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusCreated, resp.StatusCode == http.StatusConflict && w.o.sabotage == noLedger:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return fmt.Errorf("status %d", resp.StatusCode)
	default:
		return fmt.Errorf("%w: %d %s", errAnswer, resp.StatusCode, answer)
	}
}

// request sends a command as a request to whichever worker takes it.
func (w *world) request(ctx context.Context, e *event, body []byte) error {
	m := nats.NewMsg(e.subject)
	maps.Copy(m.Header, nats.Header(e.header))
	m.Data = body
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	answer, err := w.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	switch status := answer.Header.Get(record.HeaderStatus); {
	case status == "201", status == "409" && w.o.sabotage == noLedger:
		return nil
	case status == "", status == "429", status >= "500":
		return fmt.Errorf("status %q", status)
	default:
		return fmt.Errorf("%w: %s %s", errAnswer, status, answer.Data)
	}
}

// floodSize is how many bad logins come at once.
const floodSize = 250

// flood sends bad logins of one tenant all at once.
func (w *world) flood(ctx context.Context, s *script) error {
	s.mu.Lock()
	n := min(floodSize, len(s.floods))
	events := s.floods[:n]
	s.floods = s.floods[n:]
	s.mu.Unlock()
	if n == 0 {
		return errMissed
	}
	var sending sync.WaitGroup
	errs := make([]error, n)
	for i, e := range events {
		sending.Go(func() { errs[i] = w.send(ctx, nil, e) })
	}
	sending.Wait()
	return errors.Join(errs...)
}

// prove proves by the library that idpsync prove is made of, on connections of its own. That it finds something is no error.
func (w *world) prove(ctx context.Context, published []store.EventKey) (account *proof.Account, err error) {
	key, err := seal.ReadFile(w.sealKey())
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Options{URL: w.database, Log: w.log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	conn, err := stream.Connect(ctx, stream.Options{URL: w.broker.url(), Name: "chaos-prove", Log: w.log})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return proof.Confirmed(ctx, proof.Options{Store: st, Broker: proof.Streams(conn), Sealer: key, Expected: published})
}

// proveLive runs prove while workers die: it must not take what is under way for lost.
func (w *world) proveLive(ctx context.Context) {
	for {
		pause(ctx, min(w.o.duration/4, 45*time.Second))
		if ctx.Err() != nil {
			return
		}
		account, err := w.prove(ctx, nil)
		switch {
		case err != nil: // the broker or the database was away
			w.log.Info("prove had to give up", "error", err)
		case !account.Holds() && w.o.sabotage == "":
			w.tally.add("prove saw a fault meanwhile")
			w.log.Error("prove saw a fault meanwhile", "unaccounted", account.Unaccounted, "duplicated", account.Duplicated)
		default:
			w.tally.add("prove meanwhile")
		}
	}
}
