package providertest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
)

// Envelope returns an event of [Tenant] that came by the stream at the time stored.
func Envelope(source string, shape providers.Shape, payload []byte, stored time.Time) providers.Envelope {
	return providers.Envelope{
		Tenant: Tenant, Source: source, Shape: shape, Door: providers.DoorStream, EventID: "event-1",
		Header: providers.Header{}, Payload: payload, StoredAt: stored,
	}
}

// OIDCLogin returns the event of an OpenID Connect login. Empty strings are left out.
func OIDCLogin(t testing.TB, source, idToken, nonce, accessToken string, stored time.Time) providers.Envelope {
	t.Helper()
	return login(t, source, map[string]string{"id_token": idToken, "nonce": nonce, "access_token": accessToken}, stored)
}

// SAMLLogin returns the event of a SAML login. Empty strings are left out.
func SAMLLogin(t testing.TB, source, response, requestID string, stored time.Time) providers.Envelope {
	t.Helper()
	return login(t, source, map[string]string{"saml_response": response, "request_id": requestID}, stored)
}

func login(t testing.TB, source string, members map[string]string, stored time.Time) providers.Envelope {
	t.Helper()
	for name, value := range members {
		if value == "" {
			delete(members, name)
		}
	}
	payload, err := json.Marshal(members)
	if err != nil {
		t.Fatalf("building a login: %v", err)
	}
	return Envelope(source, providers.ShapeLogin, payload, stored)
}
