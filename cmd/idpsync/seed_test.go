package main

import (
	"context"
	"testing"
	"time"

	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/store/storetest"
)

// seed puts users and events into the database of the directory of get.transcript.
func seed(t *testing.T) {
	t.Helper()
	const acme, beta = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "9b000000-0000-4000-8000-000000000002"
	at := func(s string) time.Time {
		t.Helper()
		parsed, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	created := at("2026-01-31T12:00:00Z")
	user := func(tenant, id, email, name string) store.User {
		return store.User{
			ID: id, TenantID: tenant, Email: email, EmailKey: email, Name: name, AuthProvider: "oidc", CreatedBy: "okta",
			IdentityName: email, IdentityNameKey: email, DisplayName: name, CreatedAt: created, UpdatedAt: created,
		}
	}
	ann := user(acme, "0190a000-0000-7000-8000-000000000001", "ann@acme.example", "Ann\x1b[31m Example")
	ann.EmailVerified, ann.IsOwner, ann.FirstName, ann.LastName = true, true, "Ann", "Example"
	ann.Avatar, ann.PasswordHash = "data:image/png;base64,iVBORw0KGgo=", "$argon2id$hunter2"
	bob := user(acme, "0190a000-0000-7000-8000-000000000002", "bob@acme.example", "Bob")
	bob.CreatedBy, bob.AuthProvider = "admin", "local"
	cat := user(beta, "0190a000-0000-7000-8000-000000000003", "cat@beta.example", "Cat")

	st, err := store.Open(t.Context(), store.Options{Path: "idpsync-data/" + sqliteFile})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := st.Directory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]string{}
	for _, r := range d.Roles {
		roles[r.Name] = r.ID
	}
	event := func(id, outcome, user string, status int, processed string) store.Event {
		return store.Event{
			TenantID: acme, Source: "okta", EventID: id, PayloadHash: make([]byte, 32), Outcome: outcome, Status: status, UserID: user,
			Result: []byte(`{}`), Attempt: 1, Policies: []string{"builtin.create-user"}, Door: "stream", StoredAt: created, At: at(processed),
		}
	}
	err = st.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.Write(ctx, store.Write{
			Users:      []store.User{ann, bob, cat},
			Identities: []store.Identity{{TenantID: acme, Kind: "oidc", Issuer: "https://acme.okta.example", Subject: "00u1", UserID: ann.ID, Source: "okta", CreatedAt: created}},
			RoleGrants: []store.RoleGrant{
				{TenantID: acme, UserID: ann.ID, RoleID: roles["user"], Source: "okta", EventID: "e-1", At: created},
				{TenantID: acme, UserID: ann.ID, RoleID: roles["admin"], Source: "okta", EventID: "e-1", At: created},
			},
			OrganizationGrants: []store.OrganizationGrant{
				{TenantID: acme, UserID: ann.ID, OrganizationID: d.Organizations[0].ID, RoleID: roles["viewer"], Source: "okta", EventID: "e-1", At: created},
			},
			Events: []store.Event{
				event("e-1", "created", ann.ID, 201, "2026-01-31T12:00:01Z"), event("e-2", "exists", ann.ID, 200, "2026-01-31T12:00:02Z"),
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// seedIdentities puts more identities into the database that seed has filled: one of another source of the same issuer,
// one whose subject stands under the issuer that the transcripts move to, and one of an earlier version.
func seedIdentities(t *testing.T) {
	t.Helper()
	const acme, issuer = "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "https://acme.okta.example"
	created := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	o := store.Options{Path: "idpsync-data/" + sqliteFile}
	st, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	}()
	dan := store.User{
		ID: "0190a000-0000-7000-8000-000000000004", TenantID: acme, Email: "dan@acme.example", EmailKey: "dan@acme.example",
		AuthProvider: "oidc", CreatedBy: "okta", CreatedAt: created, UpdatedAt: created,
	}
	identity := func(issuer, subject, source string) store.Identity {
		return store.Identity{TenantID: acme, Kind: "oidc", Issuer: issuer, Subject: subject, UserID: dan.ID, Source: source, CreatedAt: created}
	}
	err = st.Batch(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		return tx.Write(ctx, store.Write{Users: []store.User{dan}, Identities: []store.Identity{
			identity(issuer, "00u2", "portal"), identity(issuer, "00u3\x1b", "okta"), identity("https://moved.example", "00u3\x1b", "okta"),
			identity("https://old.example", "old-1", "gone"),
		}})
	})
	if err != nil {
		t.Fatalf("write the identities: %v", err)
	}
	if _, err := storetest.Database(t, o).ExecContext(t.Context(), `update identities set kind = '' where source = 'gone'`); err != nil {
		t.Fatalf("make an identity as an earlier version has: %v", err)
	}
}
