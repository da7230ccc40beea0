package wire

import "github.com/idpsync/idpsync/providers"

// An OIDCLogin is the event of a login through OpenID Connect.
type OIDCLogin struct {
	IDToken     string  `json:"id_token"`               // compact JWS
	Nonce       *string `json:"nonce,omitempty"`        // what the login asked for; then the token must carry it
	AccessToken *string `json:"access_token,omitempty"` // then at_hash is checked
}

// A SAMLLogin is the event of a login through SAML.
type SAMLLogin struct {
	SAMLResponse string  `json:"saml_response"`         // base64 of the Response, as the browser posted it
	RequestID    *string `json:"request_id,omitempty"`  // ID of the AuthnRequest; absent for an IdP-initiated login
	RelayState   *string `json:"relay_state,omitempty"` // accepted since login pipelines have it; not used
}

// DecodeOIDCLogin reads a login; the id_token is present, though nothing in it is proved.
func DecodeOIDCLogin(data []byte, limits Limits) (OIDCLogin, error) {
	var l OIDCLogin
	if err := Decode(data, &l, limits); err != nil {
		return OIDCLogin{}, err
	}
	if l.IDToken == "" {
		return OIDCLogin{}, required("id_token")
	}
	return l, nil
}

// DecodeSAMLLogin reads a login; the saml_response is present, though nothing in it is proved.
func DecodeSAMLLogin(data []byte, limits Limits) (SAMLLogin, error) {
	var l SAMLLogin
	if err := Decode(data, &l, limits); err != nil {
		return SAMLLogin{}, err
	}
	if l.SAMLResponse == "" {
		return SAMLLogin{}, required("saml_response")
	}
	return l, nil
}

func required(field string) *providers.Error {
	return malformed(field, "is required")
}
