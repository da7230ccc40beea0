// Package store keeps what idpsync knows, in PostgreSQL or in SQLite, behind one set of methods.
//
// What holds in both databases:
//
//   - A row cannot point across tenants: every foreign key between rows of a tenant carries tenant_id.
//   - Unique are (tenant, e-mail key), (tenant, identity name key), (tenant, issuer, subject), (tenant, source, event id)
//     and (tenant, source, used id); a tenant has at most one owner.
//   - Keys are compared byte for byte. Their canonical form is the caller's work, so that no collation decides.
//   - Times come back in UTC, truncated to microseconds. UUIDs are lower case. Results, payloads and configurations are
//     bytes, and come back as they were given; empty ones come back as nil.
//   - The directory is never deleted, only withdrawn: a role or tenant that is declared again has its id and its grants.
//
// A batch is one transaction, see [Store.Batch]: it finds what is there, decides, and writes. A key that was taken in
// between makes the whole write fail with [ErrRaced], and the batch runs again; so of several writers of one key exactly
// one succeeds and the others see its row.
//
// What differs: PostgreSQL takes a batch as one statement over arrays, SQLite as prepared single rows. SQLite has one
// handle that writes, in immediate transactions, and a pool that reads; other processes may have the same file open.
//
// Errors have a class, see errors.go: [ErrUnavailable] is worth waiting for, [ErrRaced] is worth reading again,
// [ErrConstraint] is a fault of a row, and anything else is a fault of the program.
package store
