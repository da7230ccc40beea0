package providertest_test

import (
	"context"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/providertest"
)

func TestKeys(t *testing.T) {
	providertest.RunKeys(t, func(*testing.T) providers.Keys { return &providertest.Keys{} })
}

func TestCredentials(t *testing.T) {
	var c providertest.Credentials
	if _, err := c.Credential(context.Background(), "x"); err != providers.ErrNoCredential {
		t.Errorf("an unknown credential gives the error %v, want %v", err, providers.ErrNoCredential)
	}
	c.Add(providers.Credential{ID: "x", Name: "one"})
	c.Add(providers.Credential{ID: "x", Name: "two"})
	if got, err := c.Credential(context.Background(), "x"); err != nil || got.Name != "two" {
		t.Errorf("the credential is %+v with the error %v, want the one added last", got, err)
	}
	c.Used("x", providertest.Epoch)
	if got := c.LastUsed("x"); !got.Equal(providertest.Epoch) {
		t.Errorf("the credential was last used at %v, want %v", got, providertest.Epoch)
	}
}
