package store

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxKey bounds the bytes of all texts in one unique key, as PostgreSQL cannot index more.
const maxKey = 2000

// A checker finds what one of the databases would refuse, so that both refuse it and the row is known.
type checker struct{ err error }

func (c *checker) fail(record string, i int, field, reason string) {
	if c.err == nil {
		c.err = &RowError{Record: record, Index: i, Field: field, Reason: reason}
	}
}

func (c *checker) uuid(record string, i int, field, v string) {
	if !isUUID(v) {
		c.fail(record, i, field, "is not a UUID")
	}
}

func (c *checker) text(record string, i int, field string, vs ...string) {
	for _, v := range vs {
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			c.fail(record, i, field, "is not text that a database can keep: bad UTF-8, or a NUL")
		}
	}
}

func (c *checker) key(record string, i int, field string, vs ...string) {
	n := 0
	for _, v := range vs {
		n += len(v)
	}
	if n > maxKey {
		c.fail(record, i, field, "is too long to be a key")
	}
	c.text(record, i, field, vs...)
}

const uuidLength = 36

// isUUID reports whether s has the form 8-4-4-4-12, in either case.
func isUUID(s string) bool {
	if len(s) != uuidLength {
		return false
	}
	for i := range len(s) {
		b := s[i]
		switch i {
		case 8, 13, 18, 23:
			if b != '-' {
				return false
			}
		default:
			if (b < '0' || b > '9') && (b < 'a' || b > 'f') && (b < 'A' || b > 'F') {
				return false
			}
		}
	}
	return true
}

func (w Write) check() error {
	var c checker
	for i := range w.Users {
		u := &w.Users[i]
		c.uuid("Users", i, "ID", u.ID)
		c.uuid("Users", i, "TenantID", u.TenantID)
		c.key("Users", i, "EmailKey", u.EmailKey)
		c.key("Users", i, "IdentityNameKey", u.IdentityNameKey)
		c.key("Users", i, "NameSkeleton", u.NameSkeleton)
		c.text("Users", i, "Email", u.Email)
		c.text("Users", i, "IdentityName", u.IdentityName)
		c.text("Users", i, "Name", u.Name, u.DisplayName, u.FirstName, u.LastName)
		c.text("Users", i, "Avatar", u.Avatar)
		c.text("Users", i, "AuthProvider", u.AuthProvider, u.PasswordHash, u.CreatedBy)
	}
	for i := range w.Identities {
		d := &w.Identities[i]
		c.uuid("Identities", i, "TenantID", d.TenantID)
		c.uuid("Identities", i, "UserID", d.UserID)
		c.key("Identities", i, "Subject", d.Issuer, d.Subject)
		c.text("Identities", i, "Source", d.Source)
		if d.Kind == "" {
			c.fail("Identities", i, "Kind", "is empty: an identity belongs to a kind of source")
		}
	}
	for i := range w.RoleGrants {
		g := &w.RoleGrants[i]
		c.uuid("RoleGrants", i, "TenantID", g.TenantID)
		c.uuid("RoleGrants", i, "UserID", g.UserID)
		c.uuid("RoleGrants", i, "RoleID", g.RoleID)
		c.text("RoleGrants", i, "EventID", g.Source, g.EventID)
	}
	for i := range w.OrganizationGrants {
		g := &w.OrganizationGrants[i]
		c.uuid("OrganizationGrants", i, "TenantID", g.TenantID)
		c.uuid("OrganizationGrants", i, "UserID", g.UserID)
		c.uuid("OrganizationGrants", i, "OrganizationID", g.OrganizationID)
		c.uuid("OrganizationGrants", i, "RoleID", g.RoleID)
		c.text("OrganizationGrants", i, "EventID", g.Source, g.EventID)
	}
	for i := range w.Updates {
		u := &w.Updates[i]
		c.uuid("Updates", i, "TenantID", u.TenantID)
		c.uuid("Updates", i, "UserID", u.UserID)
		for _, p := range []*string{u.Name, u.DisplayName, u.FirstName, u.LastName, u.IdentityName, u.Avatar, u.AuthProvider, u.PasswordHash} {
			if p != nil {
				c.text("Updates", i, "Name", *p)
			}
		}
		if u.IdentityNameKey != nil {
			c.key("Updates", i, "IdentityNameKey", *u.IdentityNameKey)
		}
	}
	for i := range w.Events {
		e := &w.Events[i]
		c.uuid("Events", i, "TenantID", e.TenantID)
		if e.UserID != "" {
			c.uuid("Events", i, "UserID", e.UserID)
		}
		c.key("Events", i, "EventID", e.Source, e.EventID, e.Scope)
		c.text("Events", i, "Outcome", e.Outcome, e.Door, e.Origin, e.Credential)
		c.text("Events", i, "Policies", e.Policies...)
	}
	for i := range w.Repeats {
		r := &w.Repeats[i]
		c.uuid("Repeats", i, "TenantID", r.TenantID)
		c.key("Repeats", i, "Origin", r.Origin)
		c.text("Repeats", i, "EventID", r.Source, r.EventID, r.Scope)
	}
	for i := range w.UsedIDs {
		u := &w.UsedIDs[i]
		c.uuid("UsedIDs", i, "TenantID", u.TenantID)
		c.key("UsedIDs", i, "ID", u.Source, u.ID)
		c.text("UsedIDs", i, "EventID", u.EventID)
	}
	for i := range w.Outbox {
		c.key("Outbox", i, "ID", w.Outbox[i].ID)
		c.text("Outbox", i, "Subject", w.Outbox[i].Subject)
	}
	if c.err != nil {
		return c.err
	}
	return w.checkLinks()
}

// checkLinks sees to it that an identity joins a new user, or one whose revision is guarded: otherwise two identities
// could take one pre-provisioned user at the same time.
func (w Write) checkLinks() error {
	if len(w.Identities) == 0 && len(w.Updates) == 0 {
		return nil
	}
	known := make(map[userRef]bool, len(w.Users)+len(w.Updates))
	for i := range w.Users {
		known[userRef{tenant: w.Users[i].TenantID, id: w.Users[i].ID}] = true
	}
	for i := range w.Updates {
		key := userRef{tenant: w.Updates[i].TenantID, id: w.Updates[i].UserID}
		if known[key] {
			return errors.New("store: a user is created and updated, or updated twice, in one write")
		}
		known[key] = true
	}
	for i := range w.Identities {
		if !known[userRef{tenant: w.Identities[i].TenantID, id: w.Identities[i].UserID}] {
			return fmt.Errorf("store: Identities[%d] is of a user that is neither in Users nor in Updates", i)
		}
	}
	return nil
}

// check finds a lookup that one of the databases would refuse.
func checkLookups(lookups []Lookup) error {
	var c checker
	for i := range lookups {
		l := &lookups[i]
		c.uuid("Lookups", i, "Tenant", l.Tenant)
		c.text("Lookups", i, "EventID", l.Source, l.EventID, l.Scope, l.Origin)
		c.text("Lookups", i, "Subject", l.Issuer, l.Subject)
		c.text("Lookups", i, "EmailKey", l.EmailKey, l.OwnEmailKey, l.WaitingEmailKey)
		c.text("Lookups", i, "IdentityNameKey", l.IdentityNameKey, l.NameSkeleton)
		c.text("Lookups", i, "UsedID", l.UsedID)
	}
	return c.err
}
