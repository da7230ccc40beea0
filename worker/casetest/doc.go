// Package casetest holds small inputs that real identity providers send, in testdata/cases, and drives each of them
// through a whole deployment. Its README says what each should give.
package casetest
