package record

import (
	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// tenantUser is the response of POST /v1/users.
type tenantUser struct {
	ID           string   `json:"id"`
	TenantID     string   `json:"tenant_id"`
	Email        string   `json:"email"`
	Name         string   `json:"name"`
	Roles        []string `json:"roles"`
	AuthProvider string   `json:"auth_provider"`
	IsOwner      bool     `json:"is_owner"`
	Avatar       string   `json:"avatar,omitempty"`
	CreatedAt    string   `json:"created_at"`
	UpdatedAt    string   `json:"updated_at"`
}

// organizationUser is the response of POST /users.
type organizationUser struct {
	IdentityName  string             `json:"identityName"`
	DisplayName   string             `json:"displayName"`
	Organizations []organizationRole `json:"organizations"`
	Email         string             `json:"email"`
	FirstName     string             `json:"firstName"`
	LastName      string             `json:"lastName"`
}

type organizationRole struct {
	OrganizationID string `json:"organizationId"`
	RoleID         string `json:"roleId"`
}

// UserBody returns the user in the shape in which it was asked for. Asked holds the organizations as the sender wrote
// them; nil means those of the user.
func UserBody(shape providers.Shape, u *store.User, asked []providers.OrganizationRole) []byte {
	if shape == providers.ShapeOrganization {
		b := organizationUser{
			IdentityName: u.IdentityName, DisplayName: u.DisplayName, Organizations: []organizationRole{},
			Email: u.Email, FirstName: u.FirstName, LastName: u.LastName,
		}
		for _, o := range asked {
			b.Organizations = append(b.Organizations, organizationRole(o))
		}
		if asked == nil {
			for _, o := range u.Organizations {
				b.Organizations = append(b.Organizations, organizationRole(o))
			}
		}
		return Marshal(b)
	}
	b := tenantUser{
		ID: u.ID, TenantID: u.TenantID, Email: u.Email, Name: u.Name, Roles: u.Roles, AuthProvider: u.AuthProvider,
		IsOwner: u.IsOwner, Avatar: u.Avatar, CreatedAt: formatTime(u.CreatedAt), UpdatedAt: formatTime(u.UpdatedAt),
	}
	if b.Roles == nil {
		b.Roles = []string{}
	}
	return Marshal(b)
}
