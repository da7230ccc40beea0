package wire

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/idpsync/idpsync/providers"
)

// A TenantUser is the body of POST /v1/users. Pointers tell an absent member from an empty one; which members are
// required is a rule on the data, and not this package's.
type TenantUser struct {
	Email        string            `json:"email"`
	Name         string            `json:"name"`
	Password     *providers.Secret `json:"password,omitempty"`
	PasswordHash *providers.Secret `json:"password_hash,omitempty"`
	Roles        *[]string         `json:"roles,omitempty"`
	AuthProvider *string           `json:"auth_provider,omitempty"` // absent means local
	Avatar       *string           `json:"avatar,omitempty"`
}

// An OrganizationUser is the body of POST /users.
type OrganizationUser struct {
	IdentityName  string              `json:"identityName"`
	DisplayName   string              `json:"displayName"`
	Organizations *[]OrganizationRole `json:"organizations,omitempty"`
	Email         string              `json:"email"`
	FirstName     string              `json:"firstName"`
	LastName      string              `json:"lastName"`
}

// An OrganizationRole is an entry of an OrganizationUser.
type OrganizationRole struct {
	OrganizationID string `json:"organizationId"`
	RoleID         string `json:"roleId"`
}

// LocalAuth is the auth_provider of a request that names none.
const LocalAuth = "local"

// DecodeTenantUser reads the body of POST /v1/users.
func DecodeTenantUser(data []byte, limits Limits) (TenantUser, error) {
	var u TenantUser
	err := Decode(data, &u, limits)
	return u, err
}

// DecodeOrganizationUser reads the body of POST /users.
func DecodeOrganizationUser(data []byte, limits Limits) (OrganizationUser, error) {
	var u OrganizationUser
	err := Decode(data, &u, limits)
	return u, err
}

// UserShape says which of the two bodies data is, by the members that only one of them has. A document with none of
// them, or with some of both, is taken for the tenant shape, whose decoder then names what is wrong.
func UserShape(data []byte, limits Limits) (providers.Shape, error) {
	var u struct {
		IdentityName  jsontext.Value `json:"identityName"`
		DisplayName   jsontext.Value `json:"displayName"`
		Organizations jsontext.Value `json:"organizations"`
		FirstName     jsontext.Value `json:"firstName"`
		LastName      jsontext.Value `json:"lastName"`
		Name          jsontext.Value `json:"name"`
	}
	if err := DecodeOpen(data, &u, limits); err != nil {
		return "", err
	}
	organization := u.IdentityName != nil || u.DisplayName != nil || u.Organizations != nil || u.FirstName != nil || u.LastName != nil
	if organization && u.Name == nil {
		return providers.ShapeOrganization, nil
	}
	return providers.ShapeTenant, nil
}

// Fill copies u into the request r. It sets nothing that u does not speak of, and neither shape nor principal.
func (u TenantUser) Fill(r *providers.CreateUser) {
	r.Email, r.Name, r.AuthProvider = u.Email, u.Name, LocalAuth
	if u.AuthProvider != nil {
		r.AuthProvider = *u.AuthProvider
	}
	if u.Password != nil {
		r.Password = *u.Password
	}
	if u.PasswordHash != nil {
		r.PasswordHash = *u.PasswordHash
	}
	if u.Roles != nil {
		r.Roles = providers.Claim[string]{Present: true, Values: *u.Roles}
	}
	if u.Avatar != nil {
		r.Avatar = *u.Avatar
	}
}

// Fill copies u into the request r. It sets nothing that u does not speak of, and neither shape nor principal nor
// auth_provider.
func (u OrganizationUser) Fill(r *providers.CreateUser) {
	r.Email, r.IdentityName, r.DisplayName = u.Email, u.IdentityName, u.DisplayName
	r.FirstName, r.LastName = u.FirstName, u.LastName
	if u.Organizations != nil {
		list := make([]providers.OrganizationRole, len(*u.Organizations))
		for i, o := range *u.Organizations {
			list[i] = providers.OrganizationRole(o)
		}
		r.Organizations = providers.Claim[providers.OrganizationRole]{Present: true, Values: list}
	}
}
