package demo

import (
	"encoding/json"
	"strings"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/saml/idp"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/worker/record"
)

// Ids of the demo's directory.
const (
	sales   = "0A000000-0000-4000-8000-000000000001"
	support = "0A000000-0000-4000-8000-000000000002"
	viewer  = "6F1C0C5E-0000-4000-8000-000000000001"
)

// localPassword is the password of the demo's local users.
const localPassword = "correct horse battery"

// commandTo is where commands of a shape are sent by a door. HTTP has paths in place of subjects; the address is that of
// request-reply, which the HTTP door uses too.
func commandTo(d providers.Door, shape providers.Shape) record.Address {
	a := record.Address{Shape: shape, Tenant: tenant, Source: providers.AdminSource, Door: providers.DoorRPC}
	if d == providers.DoorStream {
		a.Door = providers.DoorStream
	}
	return a
}

// httpPath is the path of the API for commands of a shape.
func httpPath(shape providers.Shape) string {
	route, _ := record.Routes().Find(record.ActionCreate, shape)
	return route.Path
}

// bearer returns the headers by which a sender of acme proves itself.
func bearer(token providers.Secret) providers.Header {
	return providers.Header{providers.HeaderAuthorization: {"Bearer " + token.Reveal()}, providers.HeaderTenant: {tenant}}
}

// employee is a body of POST /v1/users; changes replace its members, and nil removes one.
func employee(name string, changes map[string]any) map[string]any {
	first, _, _ := strings.Cut(name, " ")
	return changed(map[string]any{
		"email": strings.ToLower(first) + "@acme.example", "name": name, "password": localPassword, "roles": []string{"user"}, "auth_provider": "local",
	}, changes)
}

// member is a body of POST /users.
func member(name string, changes map[string]any) map[string]any {
	first, last, _ := strings.Cut(name, " ")
	return changed(map[string]any{
		"identityName": strings.ToLower(first), "displayName": name, "email": strings.ToLower(first) + "@acme.example", "firstName": first, "lastName": last,
		"organizations": []map[string]string{{"organizationId": sales, "roleId": viewer}, {"organizationId": support, "roleId": viewer}},
	}, changes)
}

func changed(body, changes map[string]any) map[string]any {
	for k, v := range changes {
		body[k] = v
		if v == nil {
			delete(body, k)
		}
	}
	return body
}

func encoded(body map[string]any) func() ([]byte, error) {
	return func() ([]byte, error) { return json.Marshal(body) }
}

// command is a command of the demo's administrator.
func (m *Demo) command(d providers.Door, id, title string, body map[string]any, want string) sample {
	shape := providers.ShapeTenant
	if _, ok := body["identityName"]; ok {
		shape = providers.ShapeOrganization
	}
	s := sample{title: title, id: id, door: d, to: commandTo(d, shape), header: bearer(m.admin), want: want}
	if body != nil {
		s.body = encoded(body)
	}
	return s
}

func (m *Demo) httpScene() scene {
	stranger := m.command(providers.DoorHTTP, "http-3", "The same request without a token", employee("Lena Fischer", nil), "unauthenticated credential_missing")
	stranger.header = providers.Header{providers.HeaderTenant: {tenant}}
	other := m.command(providers.DoorHTTP, "http-4", "acme's token with the X-Tenant-ID of globex", employee("Mona Brandt", nil), "tenant_mismatch")
	other.to.Tenant, other.header = otherTenant, bearer(m.admin)
	other.header[providers.HeaderTenant] = []string{otherTenant}
	broken := m.command(providers.DoorHTTP, "http-6", "Broken JSON", employee("Mona Brandt", nil), "malformed json")
	broken.body = func() ([]byte, error) { return []byte(`{"email": "mona@acme.example", `), nil }
	return scene{"Commands over HTTP: POST /v1/users and POST /users", "An administrator's token, and the body and the answers of the API. Idempotency-Key is the event id.", []sample{
		m.command(providers.DoorHTTP, "http-1", "An administrator creates Lena, with a password", employee("Lena Fischer", nil), "created"),
		m.command(providers.DoorHTTP, "http-2", "The same user again", employee("Lena Fischer", nil), "user_exists"),
		m.command(providers.DoorHTTP, "http-1", "The first request again, under its Idempotency-Key: the first answer, byte for byte", nil, "created"),
		m.command(providers.DoorHTTP, "http-1", "Another body under that Idempotency-Key", employee("Mona Brandt", nil), "event_id_conflict"),
		stranger,
		other,
		m.command(providers.DoorHTTP, "http-5", "A role that the tenant does not have", employee("Mona Brandt", map[string]any{"roles": []string{"user", "nope"}}), "invalid_roles"),
		broken,
		m.command(providers.DoorHTTP, "http-7", "Several fields are wrong: all are named at once", employee("Mona Brandt", map[string]any{"email": "mona", "name": " ", "password": "short"}), "invalid_input"),
		m.command(providers.DoorHTTP, "http-8", "POST /users: Nina, in two organizations", member("Nina Kovac", nil), "created"),
		m.command(providers.DoorHTTP, "http-9", "An organization that the tenant does not have", member("Otto Weber", map[string]any{
			"organizations": []map[string]string{{"organizationId": sales, "roleId": viewer}, {"organizationId": "0A000000-0000-4000-8000-00000000FFFF", "roleId": viewer}},
		}), "invalid_organizations"),
	}}
}

func (m *Demo) rpcScene() scene {
	about := "The same commands as requests on " + record.EventSubject(commandTo(providers.DoorRPC, providers.ShapeTenant)) + "; the broker stores nothing of them."
	return scene{"Commands over NATS request-reply", about, []sample{
		m.command(providers.DoorRPC, "rpc-1", "An administrator creates Otto, with a password", employee("Otto Weber", nil), "created"),
		m.command(providers.DoorRPC, "rpc-2", "The same user again", employee("Otto Weber", nil), "user_exists"),
		m.command(providers.DoorRPC, "rpc-1", "The first request again, under its id: the first answer", nil, "created"),
		m.command(providers.DoorRPC, "rpc-3", "The organization shape, with blank names", member("Paul Meyer", map[string]any{"displayName": " ", "firstName": "", "organizations": []any{}}), "invalid_input"),
		m.command(providers.DoorRPC, "rpc-4", "The organization shape, mended", member("Paul Meyer", nil), "created"),
	}}
}

func (m *Demo) commandScene() scene {
	sealed := m.command(providers.DoorStream, "command-2", "The password sealed: only the workers can open it", employee("Quinn Baker", nil), "created")
	sealed.body = func() ([]byte, error) {
		password, err := seal.Text(m.worker.Key.KeyID(), []byte(localPassword))
		if err != nil {
			return nil, err
		}
		return json.Marshal(employee("Quinn Baker", map[string]any{"password": password}))
	}
	thief := m.command(providers.DoorStream, "command-4", "A token that nobody made", employee("Rosa Lind", nil), "unauthenticated credential_unknown")
	thief.header = bearer("idpsync_stolen")
	return scene{"Durable commands", "The same commands stored by the broker, on " + record.EventSubject(commandTo(providers.DoorStream, providers.ShapeTenant)) + ".", []sample{
		m.command(providers.DoorStream, "command-1", "A password in the clear, which the broker would keep", employee("Quinn Baker", nil), "invalid_input"),
		sealed,
		m.command(providers.DoorStream, "command-3", "The organization shape", member("Rosa Lind", nil), "created"),
		thief,
	}}
}

func (m *Demo) feedScene() scene {
	to := record.Address{Shape: providers.ShapeFeed, Tenant: tenant, Source: "workday", Door: providers.DoorStream}
	feed := func(id, title string, body map[string]any, want string) sample {
		return sample{title: title, id: id, door: providers.DoorStream, to: to, header: bearer(m.feed), body: encoded(body), want: want}
	}
	return scene{"HR feed: source workday", "An HR system publishes people on " + record.EventSubject(to) + ", in either shape of the API.", []sample{
		feed("feed-1", "Sam is hired", employee("Sam Carter", map[string]any{"password": nil, "auth_provider": "oidc"}), "created"),
		feed("feed-2", "Sam is reported once more", employee("Sam Carter", map[string]any{"password": nil, "auth_provider": "oidc"}), "user_exists"),
		feed("feed-3", "A role that the feed may not grant", employee("Tina Moreau", map[string]any{"password": nil, "auth_provider": "oidc", "roles": []string{"admin"}}), "invalid_roles"),
	}}
}

func (m *Demo) provisionedScene() scene {
	verified := func(verified any) map[string]any { return map[string]any{"email_verified": verified} }
	samples := []sample{
		m.command(providers.DoorRPC, "early-1", "An administrator creates Uma, who will log in with OpenID Connect", employee("Uma Patel", map[string]any{"password": nil, "auth_provider": "oidc"}), "created"),
		oidcLogin("early-2", "A login with her address, not verified", m.signed(m.person("uma", "Uma", verified(false))), "unverified_email"),
		oidcLogin("early-3", "Uma's first login takes the user who is there", m.signed(m.person("uma", "Uma Patel", nil)), "linked"),
		oidcLogin("early-4", "Her second login", m.signed(m.person("uma", "Uma Patel", nil)), "exists"),
		oidcLogin("early-5", "Another person's login with her address", m.signed(m.person("eve", "Eve", map[string]any{"email": "uma@acme.example"})), "user_exists different_identity"),
		oidcLogin("early-6", "Sam, whom the HR system reported, logs in for the first time", m.signed(m.person("sam", "Sam Carter", nil)), "linked"),
	}
	return scene{"Created first, logging in later", "Whoever was created by a command or a feed for OIDC or SAML is taken by the first login that proves the address.", samples}
}

func (m *Demo) policyScene() scene {
	const notice = "Contractors are invited by the department that they work for."
	email := map[string]any{"email": "carl@contractor.example"}
	body := employee("Carl Contractor", email)
	sso := employee("Carl Contractor", map[string]any{"email": email["email"], "password": nil, "auth_provider": "oidc"})
	saml := m.assertion("carl", "Carl Contractor", idp.SignBoth)
	saml.Attributes[0].Values = []string{"carl@contractor.example"}
	samples := []sample{
		oidcLogin("policy-1", "Carl logs in with OpenID Connect", m.signed(m.person("carl", "Carl Contractor", email)), "forbidden policy"),
		samlLogin("policy-2", "Carl logs in with SAML", func() ([]byte, error) { return response(m.idp.Respond(saml)) }, "forbidden policy"),
		m.command(providers.DoorStream, "policy-3", "An administrator's durable command for Carl", sso, "forbidden policy"),
		m.command(providers.DoorRPC, "policy-4", "The command as a request", body, "forbidden policy"),
	}
	if m.http != "" {
		samples = append(samples, m.command(providers.DoorHTTP, "policy-5", "The command over HTTP", body, "forbidden policy"))
	}
	for i := range samples {
		samples[i].notice = notice
	}
	return scene{"A policy says no", "One Cedar policy of the operator, " + m.file("policies/contractors.cedar") + ", decides for every source and door alike.", samples}
}
