package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/rules"
)

// UpgradeOptions are what an upgrade needs beside the store.
type UpgradeOptions struct {
	// EntityID reads the entityID of a SAML source's identity provider, where that can be done now.
	EntityID func(providers.Source) (string, error)
	Who      string
	Now      func() time.Time
}

// An Upgraded is one thing that an upgrade could not tell, or that an operator should know of.
type Upgraded struct {
	Tenant string `json:"tenant"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"` // what an operator should do; "" when there is nothing to do
	// Standing is what stays until an operator settles it: each upgrade tells of it, the others once.
	Standing bool `json:"-"`
}

// Upgrade gives rows from before they had it what the identity rules need of them: it pins SAML sources to their
// entityID and identities to the kind of source that made them, decides which addresses are reserved, and computes the
// skeletons of identity names. It may run at any time and any number of times; when there is nothing left to do it costs
// a few look-ups. What it cannot tell it reports, and leaves so that no login takes it.
func Upgrade(ctx context.Context, st *store.Store, o UpgradeOptions) ([]Upgraded, error) {
	u := upgrade{st: st, o: o}
	for _, step := range []func(context.Context) error{u.load, u.pinSources, u.pinIdentities, u.decideReservations, u.decideSkeletons, u.findOwners} {
		if err := step(ctx); err != nil {
			return u.report, fmt.Errorf("bring accounts up to date: %w", err)
		}
	}
	return u.report, nil
}

type upgrade struct {
	st        *store.Store
	o         UpgradeOptions
	declared  []store.Source
	sources   []providers.Source // of declared
	withdrawn []providers.Source
	report    []Upgraded
}

func (u *upgrade) say(tenant, hint, format string, args ...any) {
	u.report = append(u.report, Upgraded{Tenant: tenant, What: fmt.Sprintf(format, args...), Hint: hint})
}

// stands is say for what each upgrade tells of.
func (u *upgrade) stands(tenant, hint, format string, args ...any) {
	u.say(tenant, hint, format, args...)
	u.report[len(u.report)-1].Standing = true
}

func (u *upgrade) load(ctx context.Context) error {
	d, err := u.st.Directory(ctx)
	if err != nil {
		return err
	}
	rows, err := u.st.WithdrawnSources(ctx)
	if err != nil {
		return err
	}
	u.declared = d.Sources
	if u.sources, err = sourcesOf(d); err != nil {
		return err
	}
	u.withdrawn, err = sourcesOf(store.Directory{Sources: rows})
	return err
}

// pinSources writes down the entityID of SAML sources that were applied before that was done.
func (u *upgrade) pinSources(ctx context.Context) error {
	for i := range u.sources {
		s := &u.sources[i]
		if s.Kind != providers.KindSAML || s.Issuer != "" {
			continue
		}
		id, err := u.entityID(ctx, *s)
		if err != nil {
			u.stands(s.Tenant, "apply the directory again while its metadata can be read, or with issuer set; its events wait until then",
				"source %s: the entityID of its identity provider is not known: %v", s.Name, err)
			continue
		}
		pinned := *s
		pinned.Issuer = id
		if other := slices.IndexFunc(u.sources, func(o providers.Source) bool {
			return o.Tenant == s.Tenant && o.Name != s.Name && pinned.Clashes(o)
		}); other >= 0 {
			u.stands(s.Tenant, "find out who runs this identity provider; correct or remove one of the sources and apply. Its events wait until then",
				"source %s: its identity provider calls itself %s, which is the issuer of source %s", s.Name, id, u.sources[other].Name)
			continue
		}
		config, err := json.Marshal(pinned)
		if err != nil {
			return err
		}
		if err := u.st.ReplaceSourceConfig(ctx, u.declared[i], config, u.o.Who, u.o.Now()); err != nil {
			if errors.Is(err, store.ErrStaleDirectory) { // another process did it
				continue
			}
			return err
		}
		*s = pinned
	}
	return nil
}

// entityID finds the entityID in the metadata document; or it is the only issuer under which the source has made
// identities or shown certificates.
func (u *upgrade) entityID(ctx context.Context, s providers.Source) (string, error) {
	if s.Metadata != "" {
		return u.o.EntityID(s)
	}
	known, err := u.st.SourceIssuers(ctx, s.Tenant, s.Name)
	if err != nil {
		return "", err
	}
	if len(known) == 1 {
		return known[0], nil
	}
	return u.o.EntityID(s)
}

// pinIdentities finds out the kind of source that identities belong to: that of the source that made them.
func (u *upgrade) pinIdentities(ctx context.Context) error {
	groups, err := u.st.IdentityGroups(ctx, true)
	if err != nil {
		return err
	}
	for _, g := range groups {
		kind := u.kindOf(g)
		if kind == "" {
			u.stands(g.TenantID, "idpsync identities list --unpinned shows them; idpsync identities move gives them to a source",
				"%s of issuer %s, made by source %s: which kind of source they belong to is not known; only logins from that source find them", number(g.Identities, "identity", "identities"), g.Issuer, g.Source)
			continue
		}
		if err := u.st.PinIdentities(ctx, g, string(kind), u.o.Who, u.o.Now()); err != nil {
			return err
		}
		if !slices.ContainsFunc(u.sources, func(s providers.Source) bool {
			return s.Tenant == g.TenantID && s.Kind == kind && s.Issuer == g.Issuer
		}) {
			u.say(g.TenantID, "if that issuer has moved, give them to its source: idpsync identities move",
				"%s of issuer %s, made by source %s: no source is declared with this issuer, so nobody logs in with them", number(g.Identities, "identity", "identities"), g.Issuer, g.Source)
		}
	}
	return nil
}

// kindOf returns the kind of source that a group of identities belongs to, or "". Who made them decides, unless a
// declared source of another kind has their issuer.
func (u *upgrade) kindOf(g store.IdentityGroup) providers.Kind {
	var kind providers.Kind
	for _, s := range slices.Concat(u.sources, u.withdrawn) {
		if s.Tenant == g.TenantID && s.Name == g.Source {
			kind = s.Kind
		}
	}
	for _, s := range u.sources {
		if s.Tenant != g.TenantID || s.Issuer != g.Issuer {
			continue
		}
		if kind != "" && s.Kind != kind {
			return ""
		}
		kind = s.Kind
	}
	if kind != providers.KindOIDC && kind != providers.KindSAML {
		return ""
	}
	return kind
}

// reservations are what is reserved of addresses of users from before reservations, in the given tenants: those of commands,
// and those that their source speaks for.
func (u *upgrade) reservations(tenants []string) []store.Reservation {
	var all []store.Reservation
	for _, t := range tenants {
		all = append(all, store.Reservation{Tenant: t, Source: providers.AdminSource})
	}
	for _, s := range slices.Concat(u.sources, u.withdrawn) {
		if r, ok := reservation(s); ok && slices.Contains(tenants, s.Tenant) {
			all = append(all, r)
		}
	}
	return all
}

// decideReservations decides which addresses of users from before reservations are reserved.
func (u *upgrade) decideReservations(ctx context.Context) error {
	rest, err := u.st.DecideReservations(ctx, u.reservations)
	for _, g := range rest {
		u.say(g.TenantID, "set domains (and for a feed or SAML trust_email: true) on the source if it may speak for them, and apply; then their addresses become reserved",
			"%s made by source %s: their addresses are not reserved, as no source speaks for them; they log in as before, and others may have the same address", number(g.Users, "user", "users"), g.CreatedBy)
	}
	return err
}

func (u *upgrade) decideSkeletons(ctx context.Context) error {
	twins, err := u.st.DecideSkeletons(ctx, rules.NameSkeleton)
	for _, t := range twins {
		u.say(t.TenantID, "compare the two users: idpsync get users "+t.ID, "user %s: the identity name looks like that of another user", t.ID)
	}
	return err
}

// findOwners lists the owners without an external identity: earlier versions let a feed make one.
func (u *upgrade) findOwners(ctx context.Context) error {
	owners, err := u.st.OwnersWithoutLogin(ctx)
	for _, o := range owners {
		u.stands(o.TenantID, "if that is not the owner: idpsync user owner --tenant "+o.TenantID+" --none; then the next login that proves the owner's address makes its user the owner",
			"user %s (%s), made by source %s, is the owner and has no external identity", o.ID, o.Email, o.CreatedBy)
	}
	return err
}

// number renders a number of things.
func number(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
