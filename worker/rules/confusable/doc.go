// Package confusable tells whether names that differ look alike, and whether a name mixes scripts, as Unicode Technical
// Standard #39 (Unicode Security Mechanisms) describes both.
//
// The tables are data of Unicode's, see Version; generate.go makes them.
package confusable
