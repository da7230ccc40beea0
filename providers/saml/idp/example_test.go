package idp_test

import (
	"fmt"
	"time"

	"github.com/idpsync/idpsync/providers/saml/idp"
)

// The samples of a demonstration: honest ones in each mode, and forged ones.
func Example() {
	provider, err := idp.New(idp.Options{EntityID: "https://idp.example/metadata"})
	if err != nil {
		fmt.Println(err)
		return
	}
	login := idp.Request{
		EntityID: "https://sp.example/saml", ACSURL: "https://sp.example/saml/acs", InResponseTo: "_request-1",
		NameID: "ada-1815", Mode: idp.SignAssertion,
		Attributes: []idp.Attribute{{Name: "mail", Values: []string{"ada@acme.example"}}},
	}
	honest, err := provider.Respond(login)
	if err != nil {
		fmt.Println(err)
		return
	}
	tampered, err := idp.Tamper(honest, "ada-1815", "mallory")
	if err != nil {
		fmt.Println(err)
		return
	}
	wrapped, err := idp.Wrap(honest, idp.WrapAssertionBefore, "mallory")
	if err != nil {
		fmt.Println(err)
		return
	}
	login.At = time.Now().Add(-time.Hour)
	expired, err := provider.Respond(login)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(honest) > 0, len(tampered) > 0, len(wrapped) > len(honest), len(expired) > 0)
	// Output: true true true true
}
