package providers_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/idpsync/idpsync/providers"
)

func TestHeaderNamesHaveNoCase(t *testing.T) {
	h := providers.Header{"X-Tenant-ID": {"a"}, "x-tenant-id": {"c", "d"}, "X-TENANT-ID": {"b"}, "X-Tenant": {"e"}, "lower": {"f"}, "None": nil}
	for name, want := range map[string][]string{
		"X-Tenant-ID": {"a", "b", "c", "d"}, "x-tenant-id": {"c", "d", "b", "a"}, "X-tenant-id": {"b", "a", "c", "d"}, "LOWER": {"f"}, "none": nil, "x": nil,
	} {
		for range 20 {
			if got := h.Values(name); !slices.Equal(got, want) {
				t.Fatalf("the header %s has the values %q, want %q", name, got, want)
			}
		}
	}
	if h.Get("LOWER") != "f" || h.Get("none") != "" {
		t.Error("Get differs from Values")
	}
}

// A gateway that looks at one spelling of a header and a worker that looks at another must not see two senders.
func TestTwoSpellingsOfACredentialAreTwo(t *testing.T) {
	e := providers.Envelope{Tenant: "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", Header: providers.Header{"Authorization": {"Bearer a"}, "authorization": {"Bearer b"}}}
	_, err := providers.Authentication{}.Principal(t.Context(), e)
	if failure, ok := errors.AsType[*providers.Error](err); !ok || failure.Reason != providers.ReasonCredentialAmbiguous {
		t.Errorf("two credentials give the error %v, want the reason %s", err, providers.ReasonCredentialAmbiguous)
	}
}
