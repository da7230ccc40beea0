package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
)

// lateSource is declared when half of a run is over. Its earlier logins are dead letters until then, and replayed.
const lateSource = "late"

// lateDirectory declares it.
func lateDirectory() string {
	const before = "      - {name: adfs,"
	return strings.Replace(directory, before, `      - {name: `+lateSource+`, kind: oidc, issuer: STEADY, audiences: [`+lateSource+`], algorithms: [ES256], domains: [corp.example], grants: [user]}
`+before, 1)
}

// replayEvery is the time between two campaigns of replays.
const replayEvery = 10 * time.Second

// replay declares the late source when half of the run is over, and has its dead letters replayed from then on, as an
// operator does who tries again when something is away.
func (w *world) replay(ctx context.Context) {
	if w.o.sabotage != "" {
		return // the checker's business is with what is broken
	}
	pause(ctx, w.o.duration/2)
	for ctx.Err() == nil {
		if err := w.replayOnce(ctx); err != nil {
			w.tally.add("replays interrupted")
			w.log.Info("replays interrupted", "error", err)
		} else {
			w.tally.add("replays")
		}
		pause(ctx, replayEvery)
	}
}

func (w *world) replayOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := w.apply(ctx, lateDirectory()); err != nil {
		return err
	}
	_, err := w.idpsync(ctx, "dlq", "replay", "--nats-url", w.broker.url(), "--tenant", acme, "--source", lateSource, "--why", "declared now", "--yes")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == kit.ExitPending {
		return nil // none is left
	}
	return err
}

// replayLast replays what is left of the late source's dead letters, and waits until all is done.
func (w *world) replayLast(ctx context.Context, patience time.Duration) error {
	if w.o.sabotage != "" {
		return nil
	}
	if err := w.replayOnce(ctx); err != nil {
		return err
	}
	return w.drained(ctx, patience)
}
