package assemble_test

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/assemble"
	"github.com/idpsync/idpsync/worker/stream"
)

func options(t *testing.T) assemble.Options {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return assemble.Options{
		DataDir: filepath.Join(t.TempDir(), "data"), HTTP: &http.Client{}, Who: "test", Offline: true,
		Worker: worker.Config{Name: "test", Now: time.Now, Rand: rand.Reader, Log: log},
	}
}

func TestEveryKindOfProviderHasAFactory(t *testing.T) {
	kinds := assemble.Kinds()
	for _, kind := range []providers.Kind{providers.KindOIDC, providers.KindSAML, providers.KindFeed, providers.KindCommand} {
		if k, ok := kinds.Of(kind); !ok || k.New == nil {
			t.Errorf("there is no factory for sources of kind %s, want one for each kind that a directory can declare", kind)
		}
	}
}

func TestOfflineNeedsNoBrokerAndLeavesNoTraceOfACrash(t *testing.T) {
	o := options(t)
	o.Worker.Slots = filepath.Join(o.DataDir, "crumbs")
	d, err := assemble.New(t.Context(), o)
	if err != nil {
		t.Fatalf("got error %v from assembling a worker that only forecasts, want none", err)
	}
	defer d.Close()
	if d.Conn != nil || d.Worker == nil {
		t.Errorf("got a connection: %t, a worker: %t; want a worker without a connection", d.Conn != nil, d.Worker != nil)
	}
	if _, err := os.Stat(o.Worker.Slots); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for the folder of crash evidence, want that it does not exist", err)
	}
	if shared, err := d.Store.SealKey(t.Context()); err != nil || shared != d.Key.KeyID() {
		t.Errorf("the database knows the seal key %q (%v), want that of the key file, %q", shared, err, d.Key.KeyID())
	}
}

func TestErrorsSayAtWhichStepTheyStopped(t *testing.T) {
	for _, test := range []struct {
		want    assemble.Step
		prepare func(t *testing.T, o *assemble.Options)
	}{
		{assemble.StepDataDir, func(t *testing.T, o *assemble.Options) { write(t, o.DataDir) }},
		{assemble.StepOpenStore, func(_ *testing.T, o *assemble.Options) { o.Store = store.Options{URL: "postgres://127.0.0.1:1/none"} }},
		{assemble.StepConnect, func(_ *testing.T, o *assemble.Options) {
			o.Broker = &stream.Options{URL: "nats://127.0.0.1:1", Timeout: 100 * time.Millisecond, Log: o.Worker.Log}
		}},
		{assemble.StepReadSealKey, func(_ *testing.T, o *assemble.Options) { o.SealKey = filepath.Join(o.DataDir, "none.key") }},
		{assemble.StepShareSealKey, func(t *testing.T, o *assemble.Options) {
			d, err := assemble.New(t.Context(), *o) // the first worker makes the key
			if err != nil {
				t.Fatalf("assemble the first worker: %v", err)
			}
			d.Close()
			o.SealKey = filepath.Join(t.TempDir(), "other.key")
			if _, _, err := seal.EnsureFile(o.SealKey, rand.Reader); err != nil {
				t.Fatalf("make another key: %v", err)
			}
		}},
	} {
		t.Run(string(test.want), func(t *testing.T) {
			o := options(t)
			test.prepare(t, &o)
			d, err := assemble.New(t.Context(), o)
			if err == nil {
				d.Close()
			}
			if stopped, ok := errors.AsType[*assemble.Error](err); !ok || stopped.Step != test.want {
				t.Errorf("got error %v of type %T, want one of the step %q", err, err, test.want)
			}
		})
	}
}

func TestWorkerThatRunsNeedsABroker(t *testing.T) {
	o := options(t)
	o.Offline = false
	if d, err := assemble.New(t.Context(), o); err == nil {
		d.Close()
		t.Error("got a worker that runs without a broker, want an error")
	}
}

func write(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
}

func TestASourceSendsEventsOfItsKindAlone(t *testing.T) {
	shapes := []providers.Shape{providers.ShapeLogin, providers.ShapeFeed, providers.ShapeTenant, providers.ShapeOrganization}
	kinds := assemble.Kinds()
	for name, may := range map[providers.Kind][]providers.Shape{
		providers.KindOIDC: {providers.ShapeLogin}, providers.KindSAML: {providers.ShapeLogin}, providers.KindFeed: {providers.ShapeFeed},
		providers.KindCommand: {providers.ShapeTenant, providers.ShapeOrganization},
	} {
		kind, _ := kinds.Of(name)
		for _, shape := range shapes {
			if got, want := kind.Carries(shape), slices.Contains(may, shape); got != want {
				t.Errorf("a %s source sends a %s: got %v, want %v", name, shape, got, want)
			}
		}
	}
}
