// Package directory reads the file that declares tenants, roles, organizations, sources and policies, and says what
// applying it would change.
//
// [Parse] reads the YAML form strictly and reports all faults of a file at once, each with line, column and a hint. What
// it returns is complete: files that the declaration names are read, relative ones beside the declaration, and
// metadata and policies are part of the [Declaration], so that a worker on another machine needs none of them. Only a
// SAML source's private key stays a path, since the store holds no secrets.
//
// The file declares the whole directory: what it leaves out is removed when it is applied. [Diff] shows this before it
// happens.
package manifest
