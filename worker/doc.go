// Package worker is the pipeline that turns events into users.
//
// What it promises: an event that the broker acknowledged to its sender has exactly one effect, or one dead letter; its
// result is published at least once and always under the same id; nobody is let in whom a source did not prove, the
// directory does not know, or a policy forbids. In plain words: kill it anywhere, and it comes out once.
//
// # The way of one event
//
//	pulled ── openMessage ── prepare ──────────── commit ─────────────── deliver
//	            subject        verify (provider)    find                   dead letters
//	            CloudEvent     validate             identity rules         results
//	            event id       role checks          authorize (policy)     ack, term or nak
//	                                                write, in one
//	                                                transaction a batch
//
// An event leaves the pipeline in one of three states: it has an answer (an effect, or a repeat of one), a rejection
// (permanent), or a wait (transient). A wait moves into the store with the event's own time and id and comes back through
// the relay, until it is decided or its budget is used up. An event whose keys must be read first is set aside in memory
// for the moment that this takes, and prepared again: no batch waits for an issuer.
//
// # The order of durable steps
//
//  1. commit: user, identity, grants, and the ledger row with the finished result, in one transaction
//  2. dead letters of what was rejected; wait for the broker
//  3. results; wait for the broker
//  4. ack, or term what was rejected; wait for the broker to have the last one
//
// Killed after 1, redelivery finds the ledger row and publishes the same result under the same id. Killed after 2 or 3,
// the same ids are published again and stored once. What was rejected leaves no ledger row, so that a replay is free to
// succeed. An event that came by a front door has nobody to deliver it again: its result lies in the outbox from 1 on and
// is published by the sweep of any worker.
//
// # Time
//
// An event is judged at the time at which the broker stored it, or a front door received it: never at the time of
// processing, and never by a header.
//
// # What belongs where
//
// This package sees providers (what a source proved) and store (what is kept), which never meet elsewhere; convert.go is
// the only place where one becomes the other. Its sub-packages implement what message.go and authorize.go ask for: stream
// is the broker, policy is Cedar, httpapi is the HTTP front door, directory reads what operators declare.
package worker
