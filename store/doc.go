// Package store keeps what idpsync knows, in PostgreSQL or in SQLite, behind one set of methods.
package store
