package worker

import "time"

// Refuse is the answer to a request that a front door could not hand in, from the error of a provider's check that it
// made itself.
func Refuse(err error, at time.Time) Answer { return *answerOf(rejectionOf(err), at) }

// Codes returns the codes of all error objects, by status.
func Codes() []Code {
	return []Code{
		CodeMalformed, CodeInvalidInput, CodeUnauthenticated, CodeTenantMismatch, CodeForbidden, CodeUnverifiedEmail,
		CodeUnknownTenant, CodeUnknownSource, CodeUserExists, CodeEventIDConflict, CodeInvalidRoles, CodeInvalidOrganizations,
		CodeBusy, CodeInternal, CodeUnavailable,
	}
}
