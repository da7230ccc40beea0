package providers

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// A Provider verifies the events of one source.
//
// Verify proves e and returns the one create-user request that it makes. The request is verified, not validated:
// fields may be missing or wrong, and those that could not be mapped are listed in its Faults. Every other failure is
// an *[Error]; nothing in a request that comes with an error may be used.
//
// Time is e.StoredAt throughout; a provider reads its own clock only to decide when to ask an issuer again. Verify is
// called concurrently, and waits for no issuer and no store of keys: an event whose keys must be read first is answered at
// once with an error of class [ErrUnavailable], whose Ready says when to ask again.
type Provider interface {
	Verify(ctx context.Context, e Envelope) (CreateUser, error)
}

// A Reviewer is a [Provider] whose configuration may be right in form and wrong by its dates. Review is asked when it is
// declared; a provider that runs with it refuses what its dates forbid.
type Reviewer interface {
	// Review reports why the configuration must not be declared now, or what will end soon.
	Review(now time.Time) (warnings []string, err error)
}

// An Expirer is a [Provider] whose keys end at a date.
type Expirer interface {
	// TrustExpires returns when the first of what is in use ends; the zero time when nothing does, or nothing is known.
	TrustExpires() time.Time
}

// A Factory makes the provider of one configured source. It compiles what can be compiled and contacts nobody, so
// that an issuer that is down does not keep others from starting. An error means that the source's configuration
// cannot work; the source stays listed with it.
type Factory func(src Source, env Environment) (Provider, error)

// Environment is what a provider may use of the outside world. All fields are set, except where they say otherwise.
type Environment struct {
	Keys        Keys             // key history of issuers
	Credentials Credentials      // credentials of administrators and feeds
	Tokens      Tokens           // bearer tokens of the tenant's own OIDC sources; nil: none are accepted
	Breakers    *Breakers        // before issuers, shared by all sources; nil: each source has its own
	HTTP        *http.Client     // for discovery, key sets and metadata; providers add their own host and size rules
	Now         func() time.Time // clock of this process
	Log         *slog.Logger
}
