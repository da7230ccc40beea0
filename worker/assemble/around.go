package assemble

import (
	"context"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/clock"
	"github.com/idpsync/idpsync/worker/directory"
)

// Store is what a worker, its directory and its credentials need of the store; *store.Store is one.
type Store interface {
	worker.Store
	directory.Store
	directory.CredentialStore
}

// Open opens the consumer of a lane.
type Open func(ctx context.Context, lane string) (worker.Consumer, error)

// Around wraps the parts of a deployment, so that tests can make them fail. A nil field leaves its part as it is, and the
// zero value is what the product runs with.
type Around struct {
	Store     func(Store) Store
	Publisher func(worker.Publisher) worker.Publisher
	Broker    func(worker.Broker) worker.Broker
	Open      func(Open) Open
	Factory   func(providers.Factory) providers.Factory // of every kind of provider
	Clock     func(clock.Ask) clock.Ask                 // of the broker, as ages of events go by it
}

func (a Around) store(st Store) Store {
	if a.Store == nil {
		return st
	}
	return a.Store(st)
}

func (a Around) publisher(p worker.Publisher) worker.Publisher {
	if a.Publisher == nil {
		return p
	}
	return a.Publisher(p)
}

func (a Around) broker(b worker.Broker) worker.Broker {
	if a.Broker == nil {
		return b
	}
	return a.Broker(b)
}

func (a Around) open(o Open) Open {
	if a.Open == nil {
		return o
	}
	return a.Open(o)
}

func (a Around) clock(ask clock.Ask) clock.Ask {
	if a.Clock == nil || ask == nil {
		return ask
	}
	return a.Clock(ask)
}

func (a Around) kinds(all providers.Kinds) providers.Kinds {
	if a.Factory == nil {
		return all
	}
	for i := range all {
		all[i].New = a.Factory(all[i].New)
	}
	return all
}
