package record

import (
	"errors"
	"fmt"
	"strings"

	"github.com/idpsync/idpsync/providers"
)

// ErrSubject is the class of every error of [ParseSubject].
var ErrSubject = errors.New("not a subject that idpsync reads")

// An Address is what the subject of an event says about it.
type Address struct {
	Action Action // "" is taken for [ActionCreate] where a subject is made
	Shape  providers.Shape
	Door   providers.Door // stream or rpc
	Tenant string         // lower-case UUID; "" when the token is not a UUID
	Source string         // [providers.AdminSource] for commands; "" when the token is not a source name
}

// ParseSubject reads the subject of an event:
//
//	idpsync.login.<tenant>.<source>
//	idpsync.feed.<tenant>.<source>
//	idpsync.command.<tenant>.v1.users.create, idpsync.command.<tenant>.users.create
//	idpsync.rpc.<tenant>.v1.users.create, idpsync.rpc.<tenant>.users.create
//
// A tenant is a UUID in any case, a source is [a-z0-9-]{1,63}. On an error of class [ErrSubject] the address holds
// what could be read nevertheless, so that a dead letter can still be filed under its tenant.
func ParseSubject(subject string) (Address, error) { return routes.ParseSubject(subject) }

// EventSubject returns the subject on which an event of the given action and shape is published, or requested through the
// rpc door. It returns "" for an address that has no such subject.
func EventSubject(a Address) string { return routes.EventSubject(a) }

// ResultSubject returns idpsync.result.<tenant>.<source>.<outcome>. The tenant is written in lower case, so that one
// filter finds all of them; a token that is not what it should be becomes an underscore.
func ResultSubject(tenant, source string, outcome Outcome) string {
	return BranchResults.Of(TenantToken(tenant), SourceToken(source), wordToken(string(outcome)))
}

// DeadLetterSubject returns idpsync.deadletter.<tenant>.<source>.<code>, with tokens as in [ResultSubject].
func DeadLetterSubject(tenant, source string, code Code) string {
	return BranchDeadLetters.Of(TenantToken(tenant), SourceToken(source), wordToken(string(code)))
}

// ReplaySubject returns idpsync.replay.<tenant>.<operator>, with tokens as in [ResultSubject].
func ReplaySubject(tenant, operator string) string {
	return BranchReplays.Of(TenantToken(tenant), SourceToken(operator))
}

// ParseReplaySubject reads the subject of an order: idpsync.replay.<tenant>.<operator>, or the form without an operator that
// older versions use. The tenant is "" for dead letters of none; an operator is [a-z0-9-]{1,63}.
func ParseReplaySubject(subject string) (tenant, operator string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 || len(tokens) > 4 || !BranchReplays.Holds(subject) {
		return "", "", fmt.Errorf("%w: it is not idpsync.replay.<tenant>.<operator>", ErrSubject)
	}
	tenant, ok := providers.ParseUUID(tokens[2])
	if !ok && tokens[2] != "_" {
		return "", "", fmt.Errorf("%w: its tenant is not a UUID", ErrSubject)
	}
	if len(tokens) == 3 {
		return tenant, "", nil
	}
	if !ValidOperator(tokens[3]) {
		return "", "", fmt.Errorf("%w: its operator is not 1 to 63 of a-z, 0-9 and hyphen", ErrSubject)
	}
	return tenant, tokens[3], nil
}

// ValidOperator reports whether s can be the name of an operator in subjects: [a-z0-9-]{1,63}.
func ValidOperator(s string) bool { return validSource(s) }

// TenantToken is a tenant as a token of a subject: "_" when it is not a UUID.
func TenantToken(s string) string {
	if id, ok := providers.ParseUUID(s); ok {
		return id
	}
	return "_"
}

// SourceToken is a source, or an operator, as a token of a subject: "_" when it is not the name of one.
func SourceToken(s string) string {
	if validSource(s) {
		return s
	}
	return "_"
}

func wordToken(s string) string {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "_"
	}
	return s
}

// validSource reports whether s is [a-z0-9-]{1,63}.
func validSource(s string) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
