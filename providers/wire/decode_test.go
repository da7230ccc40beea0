package wire_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/wire"
)

// fault returns the failure of class ErrMalformed in err, or fails the test.
func fault(t testing.TB, err error) *providers.Error {
	t.Helper()
	failure, ok := errors.AsType[*providers.Error](err)
	if !ok || !errors.Is(err, providers.ErrMalformed) || failure.Reason == "" || failure.Message == "" {
		t.Fatalf("error = %#v, want a *providers.Error of class ErrMalformed with reason and message", err)
	}
	return failure
}

func ptr[T any](v T) *T { return &v }

func TestTenantUser(t *testing.T) {
	got, err := wire.DecodeTenantUser([]byte(`{"email":"ada@acme.example","name":"Ada","password":"s3cret","roles":["user","admin"],"auth_provider":"local","avatar":"data:,","password_hash":"$2b$"}`), wire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := wire.TenantUser{
		Email: "ada@acme.example", Name: "Ada", Password: ptr(providers.Secret("s3cret")), PasswordHash: ptr(providers.Secret("$2b$")),
		Roles: &[]string{"user", "admin"}, AuthProvider: ptr("local"), Avatar: ptr("data:,"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var r providers.CreateUser
	got.Fill(&r)
	if r.Email != "ada@acme.example" || r.Name != "Ada" || r.Password.Reveal() != "s3cret" || r.PasswordHash.Reveal() != "$2b$" ||
		!reflect.DeepEqual(r.Roles, providers.Claim[string]{Present: true, Values: []string{"user", "admin"}}) || r.AuthProvider != "local" || r.Avatar != "data:," {
		t.Errorf("the user is filled as %+v, want every field of the body", r)
	}
}

func TestAbsentIsNotEmpty(t *testing.T) {
	absent, err := wire.DecodeTenantUser([]byte(`{}`), wire.Limits{})
	if err != nil || absent.Roles != nil || absent.Password != nil || absent.AuthProvider != nil {
		t.Errorf("an empty object is read as %+v with the error %v, want every field absent", absent, err)
	}
	var r providers.CreateUser
	absent.Fill(&r)
	if r.Roles.Present || r.AuthProvider != wire.LocalAuth {
		t.Errorf("an empty object fills %+v, want no roles and local", r)
	}
	empty, err := wire.DecodeTenantUser([]byte(`{"roles":[]}`), wire.Limits{})
	if err != nil || empty.Roles == nil || len(*empty.Roles) != 0 {
		t.Errorf("an empty list is read as %+v with the error %v, want it there and empty", empty, err)
	}
	r = providers.CreateUser{}
	empty.Fill(&r)
	if !r.Roles.Present || len(r.Roles.Values) != 0 {
		t.Errorf("an empty list fills %+v, want roles that are there and empty", r)
	}
}

func TestOrganizationUser(t *testing.T) {
	const organization, role = "0A000000-0000-4000-8000-000000000001", "6F1C0C5E-0000-4000-8000-000000000001"
	body := `{"identityName":"ada","displayName":"Ada L","organizations":[{"organizationId":"` + organization + `","roleId":"` + role + `"}],"email":"ada@acme.example","firstName":"Ada","lastName":"Lovelace"}`
	got, err := wire.DecodeOrganizationUser([]byte(body), wire.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var r providers.CreateUser
	got.Fill(&r)
	want := providers.CreateUser{
		IdentityName: "ada", DisplayName: "Ada L", Email: "ada@acme.example", FirstName: "Ada", LastName: "Lovelace",
		Organizations: providers.Claim[providers.OrganizationRole]{Present: true, Values: []providers.OrganizationRole{{OrganizationID: organization, RoleID: role}}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("filled %+v, want %+v", r, want)
	}
}

func TestUserShape(t *testing.T) {
	for body, want := range map[string]providers.Shape{
		`{"email":"a","name":"b"}`:         providers.ShapeTenant,
		`{"identityName":"a"}`:             providers.ShapeOrganization,
		`{"organizations":[],"email":"a"}`: providers.ShapeOrganization,
		`{"name":"b","identityName":"a"}`:  providers.ShapeTenant,
		`{}`:                               providers.ShapeTenant,
	} {
		got, err := wire.UserShape([]byte(body), wire.Limits{})
		if err != nil || got != want {
			t.Errorf("%s has the shape %v with the error %v, want %v", body, got, err, want)
		}
	}
	_, err := wire.UserShape([]byte(`{"name":"a","name":"b"}`), wire.Limits{})
	fault(t, err)
}

func TestDecodeIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ body, field, message string }{
		"unknown member":        {`{"email":"a","is_owner":true}`, "is_owner", "not a known member"},
		"upper case":            {`{"EMAIL":"a"}`, "EMAIL", "not a known member"},
		"long s":                {`{"roleſ":[]}`, "role?", "not a known member"},
		"twice":                 {`{"email":"a","email":"b"}`, "email", "appears twice"},
		"twice, escaped":        {`{"email":"a","\u0065mail":"b"}`, "email", "appears twice"},
		"bad UTF-8":             {"{\"email\":\"a\xff\"}", "", "UTF-8"},
		"lone surrogate":        {`{"email":"\ud800"}`, "", "UTF-8"},
		"trailing value":        {`{"email":"a"}{"email":"b"}`, "", "goes on after its end"},
		"trailing text":         {`{"email":"a"} x`, "", "goes on after its end"},
		"null string":           {`{"email":null}`, "email", "is null"},
		"null list":             {`{"roles":null}`, "roles", "is null"},
		"null in list":          {`{"roles":["user",null]}`, "roles[1]", "is null"},
		"null document":         {`null`, "", "is null"},
		"number for string":     {`{"email":5}`, "email", "must not be a number"},
		"string for list":       {`{"roles":"user"}`, "roles", "must not be a string"},
		"number in list":        {`{"roles":["user",5]}`, "roles[1]", "must not be a number"},
		"array":                 {`[]`, "", "must not be an array"},
		"empty":                 {``, "", "not valid JSON"},
		"cut":                   {`{"email":"a`, "", "not valid JSON"},
		"cut after a backslash": {`{"email":"a\`, "", "not valid JSON"},
		"comment":               {`{"email":"a"/**/}`, "", "not valid JSON"},
		"deep":                  {`{"roles":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "", "nested deeper than 32"},
		"deep and cut":          {strings.Repeat("[", 1<<19), "", "nested deeper than 32"},
		"byte order mark":       {"\ufeff{}", "", "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.DecodeTenantUser([]byte(c.body), wire.Limits{})
			failure := fault(t, err)
			if failure.Reason != wire.ReasonJSON || !strings.Contains(failure.Message, c.message) || (c.field != "" && failure.Field != c.field) {
				t.Errorf("failure = %+v; want field %q and message %q", failure, c.field, c.message)
			}
		})
	}
}

func TestNullWithinAStringIsWelcome(t *testing.T) {
	for _, body := range []string{`{"email":"null"}`, `{"email":"\"null"}`, `{"email":"\\","name":"null \\\" null"}`} {
		if _, err := wire.DecodeTenantUser([]byte(body), wire.Limits{}); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestLimits(t *testing.T) {
	body := []byte(`{"roles":["a"]}`)
	if _, err := wire.DecodeTenantUser(body, wire.Limits{Size: len(body), Depth: 2}); err != nil {
		t.Errorf("at the limits: %v", err)
	}
	_, err := wire.DecodeTenantUser(body, wire.Limits{Size: len(body) - 1})
	if f := fault(t, err); !strings.Contains(f.Message, "larger than 14 bytes") {
		t.Errorf("a large body has the fault %+v, want larger than 14 bytes", f)
	}
	_, err = wire.DecodeTenantUser(body, wire.Limits{Depth: 1})
	if f := fault(t, err); !strings.Contains(f.Message, "deeper than 1") {
		t.Errorf("a deep body has the fault %+v, want deeper than 1", f)
	}
}

func TestErrorsQuoteNoValue(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, body := range []string{
		`{"password":"` + secret + `","x":1}`, `{"password":["` + secret + `"]}`, `{"password":"` + secret + `"`, `{"password":{"a":"` + secret + `"}}`,
		`{"password":"` + secret + "\xff\"}", `{"password":"` + secret + `"}` + secret, `{"roles":"` + secret + `"}`, `"` + secret + `"`,
	} {
		_, err := wire.DecodeTenantUser([]byte(body), wire.Limits{})
		if strings.Contains(fault(t, err).Error(), secret) {
			t.Errorf("the error of %s repeats the password: %v", body, err)
		}
	}
}

func TestNamesInErrorsAreBounded(t *testing.T) {
	for _, name := range []string{strings.Repeat("n", 1<<16), "a\\u0000\\u001b[31m", strings.Repeat("ü", 1000)} {
		_, err := wire.DecodeTenantUser([]byte(`{"`+name+`":1}`), wire.Limits{})
		f := fault(t, err)
		if len(f.Field) > 200 || strings.ContainsFunc(f.Field, func(r rune) bool { return r < ' ' }) {
			t.Errorf("the error names the field %q, want at most 200 bytes without control characters", f.Field)
		}
	}
}

func TestDecodeOpen(t *testing.T) {
	var v struct {
		Issuer string `json:"issuer"`
	}
	if err := wire.DecodeOpen([]byte(`{"issuer":"a","Issuer":"b","more":[null]}`), &v, wire.Limits{}); err != nil || v.Issuer != "a" {
		t.Errorf("an open document is read as %+v with the error %v, want the issuer a", v, err)
	}
	fault(t, wire.DecodeOpen([]byte(`{"issuer":"a","issuer":"b"}`), &v, wire.Limits{}))
}

func TestLogins(t *testing.T) {
	o, err := wire.DecodeOIDCLogin([]byte(`{"id_token":"a.b.c","nonce":"n"}`), wire.Limits{})
	if err != nil || o.IDToken != "a.b.c" || o.Nonce == nil || *o.Nonce != "n" || o.AccessToken != nil {
		t.Errorf("a login of OpenID Connect is read as %+v with the error %v, want token and nonce", o, err)
	}
	s, err := wire.DecodeSAMLLogin([]byte(`{"saml_response":"PA==","request_id":"id-1","relay_state":"x"}`), wire.Limits{})
	if err != nil || s.SAMLResponse != "PA==" || *s.RequestID != "id-1" || *s.RelayState != "x" {
		t.Errorf("a login of SAML is read as %+v with the error %v, want response, request and relay state", s, err)
	}
	_, err = wire.DecodeOIDCLogin([]byte(`{"nonce":"n"}`), wire.Limits{})
	if f := fault(t, err); f.Field != "id_token" {
		t.Errorf("without id_token the fault is %+v, want one of that field", f)
	}
	_, err = wire.DecodeSAMLLogin([]byte(`{"saml_response":""}`), wire.Limits{})
	if f := fault(t, err); f.Field != "saml_response" {
		t.Errorf("with an empty saml_response the fault is %+v, want one of that field", f)
	}
}
