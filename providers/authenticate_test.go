package providers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
)

// A vouching is a Tokens that vouches for every token.
type vouching struct{}

func (vouching) VerifyToken(context.Context, string, string, time.Time, *providers.Trace) (providers.Principal, error) {
	return providers.Principal{Kind: providers.PrincipalSource, ID: "okta"}, nil
}

func TestAJWTIsACredentialOfCommandsAlone(t *testing.T) {
	for purpose, want := range map[providers.Purpose]string{
		providers.PurposeCommands: "", providers.FeedPurpose("workday"): "credential_unknown", providers.LoginPurpose("okta"): "credential_unknown",
	} {
		_, _, credentials := providertest.Environment(t, providertest.NewClock())
		a := providers.Authentication{Credentials: credentials, Tokens: vouching{}, Purpose: purpose}
		e := providertest.Envelope("workday", providers.ShapeFeed, nil, providertest.Epoch)
		e.Header = providers.Header{"Authorization": {"Bearer a.b.c"}}
		_, err := a.Principal(t.Context(), e)
		got := ""
		if failure, ok := errors.AsType[*providers.Error](err); ok {
			got = failure.Reason
		}
		if got != want || (err == nil) != (want == "") {
			t.Errorf("a JWT for the purpose %q: refused for %q, want %q: %v", purpose, got, want, err)
		}
	}
}
