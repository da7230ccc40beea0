// Package directory keeps what operators declared in a worker's memory: tenants, roles, organizations and sources, each
// source with its provider, the credentials, and what is known of keys.
//
// A [Directory] is one revision, and does not change. A [Cache] has the newest one and follows the store's, so that a
// change holds in every worker within an interval. Its sub-package manifest reads the file that operators write.
package directory
