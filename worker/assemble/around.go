package assemble

import (
	"context"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker"
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
	Store     func(*store.Store) Store
	Publisher func(worker.Publisher) worker.Publisher
	Broker    func(worker.Broker) worker.Broker
	Open      func(Open) Open
	Factory   func(providers.Factory) providers.Factory // of every kind of provider
}

func (a Around) store(st *store.Store) Store {
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

func (a Around) factories(all map[providers.Kind]providers.Factory) map[providers.Kind]providers.Factory {
	if a.Factory == nil {
		return all
	}
	wrapped := make(map[providers.Kind]providers.Factory, len(all))
	for kind, factory := range all {
		wrapped[kind] = a.Factory(factory)
	}
	return wrapped
}
