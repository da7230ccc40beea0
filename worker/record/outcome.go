package record

// Outcome is what happened to an event.
type Outcome string

// The outcomes.
const (
	OutcomeCreated  Outcome = "created"  // 201: a new user
	OutcomeExists   Outcome = "exists"   // 200: a login of a known user that changed nothing
	OutcomeLinked   Outcome = "linked"   // 200: an identity was added to a user who was there
	OutcomeUpdated  Outcome = "updated"  // 200: a known user was changed
	OutcomeRejected Outcome = "rejected" // 4xx or 5xx: nothing was written
)

// Status returns the HTTP status of an outcome that is no rejection; a rejection has that of its code.
func (o Outcome) Status() int {
	if o == OutcomeCreated {
		return 201
	}
	return 200
}

// Code is the machine-readable code of an error object.
type Code string

// The codes, and the status of each in [Code.Status].
const (
	CodeMalformed            Code = "malformed"
	CodeInvalidInput         Code = "invalid_input"
	CodeUnauthenticated      Code = "unauthenticated"
	CodeTenantMismatch       Code = "tenant_mismatch"
	CodeForbidden            Code = "forbidden"
	CodeUnverifiedEmail      Code = "unverified_email"
	CodeUnknownTenant        Code = "unknown_tenant"
	CodeUnknownSource        Code = "unknown_source"
	CodeUserExists           Code = "user_exists"
	CodeEventIDConflict      Code = "event_id_conflict"
	CodeInvalidRoles         Code = "invalid_roles"
	CodeInvalidOrganizations Code = "invalid_organizations"
	CodeInternal             Code = "internal"
	CodeBusy                 Code = "busy"
	CodeUnavailable          Code = "unavailable"
)

// Status returns the HTTP status of the code.
func (c Code) Status() int {
	switch c {
	case CodeMalformed, CodeInvalidInput:
		return 400
	case CodeUnauthenticated:
		return 401
	case CodeTenantMismatch, CodeForbidden, CodeUnverifiedEmail:
		return 403
	case CodeUnknownTenant, CodeUnknownSource:
		return 404
	case CodeUserExists, CodeEventIDConflict:
		return 409
	case CodeInvalidRoles, CodeInvalidOrganizations:
		return 422
	case CodeBusy:
		return 429
	case CodeUnavailable:
		return 503
	default:
		return 500
	}
}

// Transient reports whether the same event may succeed later without anybody changing anything.
func (c Code) Transient() bool { return c == CodeBusy || c == CodeUnavailable }

// ErrorBody is the error object of the API. Details never hold a token, an assertion, a password or a hash.
type ErrorBody struct {
	Code    Code           `json:"code"`
	Message string         `json:"message"`
	Details map[string]any `json:"details"`
	Notices []string       `json:"notices"`
}

// Codes returns the codes of all error objects, by status.
func Codes() []Code {
	return []Code{
		CodeMalformed, CodeInvalidInput, CodeUnauthenticated, CodeTenantMismatch, CodeForbidden, CodeUnverifiedEmail,
		CodeUnknownTenant, CodeUnknownSource, CodeUserExists, CodeEventIDConflict, CodeInvalidRoles, CodeInvalidOrganizations,
		CodeBusy, CodeInternal, CodeUnavailable,
	}
}
