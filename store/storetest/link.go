package storetest

import (
	"net/url"
	"testing"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/linktest"
)

// Through returns a link to the PostgreSQL server of o, and o with the link in the server's place.
func Through(t testing.TB, o store.Options) (*linktest.Link, store.Options) {
	t.Helper()
	u, err := url.Parse(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := linktest.New(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the link to the database: %v", err)
		}
	})
	u.Host = l.Addr()
	o.URL = u.String()
	return l, o
}
