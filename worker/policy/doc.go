// Package policy decides requests by Cedar policies. It is the only package that knows the Cedar library.
//
// What it promises:
//
//   - Nothing is allowed unless a permit says so, and a forbid always wins.
//   - The policies in builtin/ are part of every set and cannot be replaced: a principal acts only in its own tenant, grants
//     only the roles that it was given, and makes an owner only by a login with a verified address. Operators narrow this down with forbids of their own.
//   - An error while a policy is evaluated is a denial of the whole request. The library itself skips a policy that errors,
//     so a forbid that reads a missing attribute would otherwise let the request through. A panic in the library, and a
//     request that the schema has no words for, are denials too.
//   - [Compile] refuses what does not parse or does not fit the schema, all faults at once, each with file, line and a
//     hint. A set that compiled does not change and is safe for concurrent use.
//
// One event asks CreateUser on its tenant, then LinkUser if its login gets the account of a user who is there, then
// GrantRole for each role. The same request gets the same [worker.Decision]
// whatever the order in which policies were loaded: ids and notices are sorted.
//
// The schema of principals, actions, resources and context is idpsync.cedarschema; operators find it, explained field by
// field and with examples, in deploy/policies.
package policy
