// Package command verifies the commands of administrators: the bodies of the API's two create operations, with the
// headers that prove who sends them.
//
// Tenant shape (POST /v1/users): X-Tenant-ID is required, auth_provider defaults to local.
//
// Organization shape (POST /users): X-Tenant-ID is optional, as the subject names the tenant. The shape has no
// auth_provider: its user is local and has no password, so nobody can log in as it until the first login of any source
// of the tenant, OIDC or SAML, whose verified address is exactly the user's, takes it. A local user of the tenant shape
// always has a password, so the two cannot be confused.
package command
