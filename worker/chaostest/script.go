package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/record"
)

// What is expected of an event.
type expectation int

const (
	effect   expectation = iota // it has its effect
	taken                       // it has its effect, or somebody was earlier: an ordinary rejection
	rejected                    // a dead letter
	poisoned                    // the dead letter of one that ends workers
	replayed                    // it has its effect, perhaps after a dead letter that was replayed
)

// poisonID is the event that ends workers.
const poisonID = "poison"

// A person is somebody whom events are about. All logins of a person come from one source.
type person struct {
	tenant, source, email string
	issuer                *issuer.Issuer
	login                 bool // there are logins
}

// An event is what is published under one id with one content, once or several times.
type event struct {
	tenant, source, id string
	subject            string // "" goes by HTTP
	request            bool   // it is a request, and not stored
	person             *person
	want               expectation
	code               string // of a rejection
	header             providers.Header
	make               func() ([]byte, error)

	once sync.Once
	body []byte
	err  error

	mu    sync.Mutex
	hash  [sha256.Size]byte
	acked int      // sends that were acknowledged
	seqs  []uint64 // under which the broker stored them
	left  int      // sends to come
}

func (e *event) key() string { return trailOf(e.tenant, e.source, e.id) }

// subject is where events of a shape are published.
func subject(shape providers.Shape, tenant, source string) string {
	return record.EventSubject(record.Address{Shape: shape, Door: providers.DoorStream, Tenant: tenant, Source: source})
}

// payload is the event's content, which is the same at each sending.
func (e *event) payload() ([]byte, error) {
	e.once.Do(func() {
		e.body, e.err = e.make()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.hash = sha256.Sum256(e.body)
	})
	return e.body, e.err
}

// sent notes that the broker has the event. The content is needed no more after the last time.
func (e *event) sent(seq uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.acked++
	if seq > 0 {
		e.seqs = append(e.seqs, seq)
	}
	if e.left--; e.left == 0 {
		e.body = nil
	}
}

// A script is all events of a run in the order in which they are sent.
type script struct {
	w      *world
	rng    *rand.Rand
	sends  []*event
	events []*event
	people []*person
	known  []*person // who may log in again
	hired  []*person // who came by a feed first
	serial int
	mu     sync.Mutex
	floods []*event // bad logins that are sent all at once, some at a time
	later  map[int][]*event
}

func newScript(o options, w *world) *script {
	s := &script{w: w, rng: rand.New(rand.NewPCG(o.seed, 1)), later: map[int][]*event{}}
	poison := -1
	if o.poison {
		poison = o.events / 2
	}
	for len(s.sends) < o.events {
		at := len(s.sends)
		if due := s.later[at]; len(due) > 0 {
			s.later[at] = due[1:]
			s.send(due[0])
			if len(due) > 1 {
				s.later[at+1] = append(due[1:], s.later[at+1]...)
			}
			continue
		}
		if at == poison {
			e := s.login(s.newcomer(nil), nil, effect, "")
			e.id, e.want, e.code = poisonID, poisoned, "internal"
			e.header["ce-id"] = []string{poisonID}
			s.send(e)
			continue
		}
		s.next(at)
	}
	for range o.events / 20 {
		e := s.bad(s.newcomerOf(acme, "okta", s.w.steady))
		e.left++
		s.floods = append(s.floods, e)
	}
	return s
}

// bad is a login whose signature does not hold.
func (s *script) bad(p *person) *event {
	return s.login(p, func(p *person, c map[string]any) (string, error) { return p.issuer.SignedByAnotherKey(c) }, rejected, "unauthenticated")
}

func (s *script) send(e *event) {
	e.left++
	s.sends = append(s.sends, e)
}

// again sends an event once more, some time later.
func (s *script) again(e *event, from int) {
	at := from + 1 + s.rng.IntN(1+s.rng.IntN(3000))
	s.later[at] = append(s.later[at], e)
}

// next adds one event of some sort.
func (s *script) next(at int) {
	switch n := s.rng.IntN(100); {
	case n < 4:
		s.maybeAgain(s.assertion(s.newcomerOf(acme, "adfs", nil)), at)
	case n < 6 && at < s.w.o.events/3: // its source is declared later, and its dead letter replayed then
		s.send(s.login(s.newcomerOf(acme, lateSource, s.w.steady), nil, replayed, ""))
	case n < 42:
		p := s.newcomer(nil)
		s.known = append(s.known, p)
		s.maybeAgain(s.login(p, nil, effect, ""), at)
	case n < 57 && len(s.known) > 0:
		s.maybeAgain(s.login(s.known[s.rng.IntN(len(s.known))], nil, effect, ""), at)
	case n < 60 && len(s.hired) > 0:
		p := s.hired[s.rng.IntN(len(s.hired))]
		s.maybeAgain(s.login(p, nil, effect, ""), at)
	case n < 64: // one id, two contents; only one of them has an effect
		a := s.login(s.newcomer(nil), nil, effect, "")
		b := s.login(s.newcomer(a.person), nil, effect, "")
		b.id, b.header = a.id, a.header
		s.send(a)
		s.again(b, at)
	case n < 69:
		s.maybeAgain(s.bad(s.newcomer(nil)), at)
	case n < 73:
		s.maybeAgain(s.login(s.newcomer(nil), func(p *person, c map[string]any) (string, error) {
			now := time.Now()
			c["iat"], c["exp"] = now.Add(-3*time.Hour).Unix(), now.Add(-2*time.Hour).Unix()
			return p.issuer.Sign(c)
		}, rejected, "unauthenticated"), at)
	case n < 76:
		s.maybeAgain(s.login(s.newcomerOf(acme, "okta", s.w.steady), func(p *person, c map[string]any) (string, error) {
			c["groups"] = []string{"user", "ghost"}
			return p.issuer.Sign(c)
		}, rejected, "invalid_roles"), at)
	case n < 78:
		e := s.login(s.newcomer(nil), nil, rejected, "malformed")
		e.make = func() ([]byte, error) { return []byte(`{"id_token": 7, ` + e.id), nil }
		s.maybeAgain(e, at)
	case n < 79:
		e := s.login(s.newcomer(nil), nil, rejected, "")
		e.source = "nobody"
		e.subject = subject(providers.ShapeLogin, e.tenant, e.source)
		s.send(e)
	case n < 81:
		e := s.feed(s.newcomer(nil), rejected, "unauthenticated")
		e.header["Authorization"] = []string{"Bearer idpsync_aaaaaaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
		s.maybeAgain(e, at)
	case n < 91: // hired by a feed, and perhaps logged in later
		p := s.newcomer(nil)
		s.hired = append(s.hired, p)
		s.maybeAgain(s.feed(p, taken, ""), at)
	case n < 93 && len(s.hired) > 0:
		s.send(s.feed(s.hired[s.rng.IntN(len(s.hired))], taken, ""))
	case n < 96:
		p := s.newcomer(nil)
		e := s.command(p)
		e.subject = subject(providers.ShapeTenant, p.tenant, "")
		s.maybeAgain(e, at)
	case n < 98:
		p := s.newcomer(nil)
		e := s.command(p)
		e.request = true
		e.subject = record.EventSubject(record.Address{Shape: providers.ShapeTenant, Door: providers.DoorRPC, Tenant: p.tenant})
		s.send(e)
	default:
		s.send(s.command(s.newcomer(nil)))
	}
}

// maybeAgain sends an event, and some of them twice: a publisher that did not hear the acknowledgement does so.
func (s *script) maybeAgain(e *event, at int) {
	s.send(e)
	if s.rng.IntN(12) == 0 {
		s.again(e, at)
	}
}

// newcomer is a new person; of the same source as another one, if that is given.
func (s *script) newcomer(like *person) *person {
	if like != nil {
		return s.newcomerOf(like.tenant, like.source, like.issuer)
	}
	switch n := s.rng.IntN(10); {
	case n < 5:
		return s.newcomerOf(acme, "okta", s.w.steady)
	case n < 7:
		return s.newcomerOf(acme, "ping", s.w.shaky)
	default:
		return s.newcomerOf(globex, "okta", s.w.steady)
	}
}

func (s *script) newcomerOf(tenant, source string, i *issuer.Issuer) *person {
	p := &person{tenant: tenant, source: source, issuer: i, email: fmt.Sprintf("p%07d@corp.example", len(s.people))}
	s.people = append(s.people, p)
	return p
}

func (s *script) event(p *person, f expectation, code string) *event {
	s.serial++
	e := &event{tenant: p.tenant, person: p, want: f, code: code, id: fmt.Sprintf("%s/%d", []string{"login", "ev", "msg 1"}[s.rng.IntN(3)], s.serial)}
	e.header = providers.Header{"ce-id": {e.id}, "ce-source": {"/chaos"}, "ce-type": {"chaos.event"}, "ce-specversion": {"1.0"}}
	s.events = append(s.events, e)
	return e
}

type signer func(p *person, claims map[string]any) (string, error)

// login makes a login, signed by the person's issuer unless another signer is given.
func (s *script) login(p *person, sign signer, f expectation, code string) *event {
	if sign == nil {
		sign = func(p *person, c map[string]any) (string, error) { return p.issuer.Sign(c) }
	}
	if f == effect || f == replayed {
		p.login = true
	}
	e := s.event(p, f, code)
	e.source, e.subject = p.source, subject(providers.ShapeLogin, p.tenant, p.source)
	e.make = func() ([]byte, error) {
		to := audience
		if p.source == lateSource { // of one issuer, sources are told apart by their audiences
			to = lateSource
		}
		claims := p.issuer.Claims(p.email, to)
		claims["email"], claims["email_verified"], claims["name"] = p.email, true, "Person "+p.email
		token, err := sign(p, claims)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]string{"id_token": token})
	}
	return e
}

func userBody(p *person) ([]byte, error) {
	return json.Marshal(map[string]any{"email": p.email, "name": "Person " + p.email, "auth_provider": "oidc", "roles": []string{"user"}})
}

func (s *script) feed(p *person, f expectation, code string) *event {
	e := s.event(p, f, code)
	e.source = feedOf(p.tenant)
	e.subject = subject(providers.ShapeFeed, p.tenant, e.source)
	e.header["Authorization"] = []string{"Bearer " + s.w.feeds[p.tenant]}
	e.make = func() ([]byte, error) { return userBody(p) }
	return e
}

// command makes a command; by HTTP, unless it gets a subject.
func (s *script) command(p *person) *event {
	e := s.event(p, effect, "")
	e.source = providers.AdminSource
	e.header["Authorization"] = []string{"Bearer " + s.w.tokens[p.tenant]}
	e.header["X-Tenant-ID"] = []string{p.tenant}
	e.make = func() ([]byte, error) { return userBody(p) }
	return e
}
