// Package worker is the pipeline that turns events into users.
//
// What it promises: an event that the broker acknowledged to its sender has exactly one effect, or one dead letter; its
// result is published at least once and always under the same id; no user is let in whom a source did not prove, whom the
// directory does not know, or whom a policy forbids. A worker may be killed at any point of it.
//
// # The path of one event
//
//	submit.go ─ consume.go ─┐                ┌ prepare.go    verify (provider), validate and check roles (rules)
//	            retry.go   ─┼─ pipeline.go ──┼ commit.go     write what plan.go decides (rules, policy), in one transaction a batch
//	            orders.go  ─┤                └ deliver.go    dead letters, results, disposition
//	            sweep.go   ─┘
//
// Calls run from left to right and never back: pipeline.go has an event prepared again when the directory has changed before it
// was written. An [event] is a message, which does not change, beside the request that was
// verified from it and the verdict. The verdict is an effect, a repeat, a rejection or a deferral, and nothing else; the
// table from verdict to what the broker is told is in verdict.go.
//
// In a lane tenants take turns (share.Turns): what a consumer delivers, what comes by the front doors, and parked events that are
// due. What a tenant sends beyond its share goes back to the broker for a while (crowd.go), or is parked, so that the events of
// others behind it are delivered; while there are none it stays where it is.
//
// The HTTP door asks for admission first (submit.go), which proves the sender from the headers by the same code, before it reads a
// body.
//
// An event that must wait is parked: it moves into the store with its own time and id and comes back by retry.go, until it
// is decided or its budget is used up. An event whose keys or first time must be read is set aside in memory meanwhile, so that no
// batch waits for an issuer. Events with a password to hash leave their batch to be hashed.
//
// While the database is away the lanes pull nothing (package outage) and what is in hand waits for it; when that takes too long it
// is given back, for workers that reach the database (handOver in pipeline.go).
//
// # The order of durable steps
//
//  1. commit: user, identity, grants, and the ledger row with the finished result, in one transaction
//  2. the verdicts on what was rejected and gets a dead letter, in one transaction with their quotas; then the dead letters; wait
//     for the broker
//  3. results; wait for the broker
//     then, if the deployment has an archive, what had an effect goes there, sealed; wait for the broker
//  4. ack, or term what was rejected; wait for the broker to have the last ack. A message that holds a lasting secret is
//     overwritten first, beside the lanes
//
// What must wait is parked before 2. What a stream refuses in 2 or 3, because it is full or cannot be reached, is owed: owed.go
// stores it in the database under the same id, and publishes it when the stream takes it. Then 4 waits for the database instead. Killed after 1, redelivery finds the ledger row and publishes the same result under the
// same id. Killed within 2 or 3, redelivery finds the verdict and finishes it, whatever the directory and the policies say by then.
// The same ids are published again: the broker stores them once within its duplicate window, and readers compare ids after it.
// What was rejected leaves no ledger row, and a verdict is that on one attempt, so that a replay is free to succeed. Verdicts are
// deleted when the broker holds no event or order as old as they are. An event that came by a front door is not delivered again: its result lies in the outbox from 1 on and is
// published by the sweep of any worker.
//
// # Time
//
// Tokens and assertions are judged at the time at which the broker stored the event, or a front door received it: never at
// the time of processing, and never by a sender's word. Only max_event_age and the policies look at how long the event has waited.
// An event that a stream of another JetStream domain stored first is judged by that time, read there, if the domain is
// trusted (sourced.go); which event it is goes by our own stream.
//
// No decision goes by the clock of one worker's host. Claims, leases and the time that an event may wait go by the database's
// clock, inside the store. All other times are the database's too, told by a [clock.Clock] that compares the host's clock
// with it: when a front door received a request, and so whether its credential or token had run out; when a user, a result or
// an audit entry was written. Ages of what the broker stored go by the broker's clock, and used ids are forgotten when they have
// ended by both. Key histories have the database's time, bounded by the broker's. Durations inside a worker (breakers, caches,
// keep-alive) bear a clock that is set.
//
// # What belongs where
//
// Formats that leave a worker are written and read in record. Rules are pure and live in rules, the only package that turns
// what a source proved (providers) into what is kept (store). What operators declared is held in memory by directory. The
// evidence of crashes is kept by poison. gate stands before a stream that refuses, outage knows that the database is away, share
// divides a lane between tenants, retention deletes what is old. Below this package are the contracts of message.go; stream is the broker, policy is
// Cedar, httpapi is the HTTP front door. assemble puts all of them together; proof and replay are what operators run.
//
// # Glossary
//
//	event        what a sender published or requested, with its id
//	message      one stored or received form of an event
//	delivery     one time that a durable consumer hands a message to a worker; the interface Message is one
//	door         how an event came: stream, rpc (request-reply) or http
//	front door   rpc or http, where a caller waits for the answer
//	lane         a durable consumer with the loops that process what it delivers
//	turn         when events of a tenant go into the next batch of a lane
//	send back    nak with a delay, as a tenant has too much in the lane and others wait
//	verdict      what was decided of an event
//	disposition  what its transport is told of it: ack, term, nak with a delay, overwrite, remove from the parked ones
//	ledger       the table of events that had their effect, with their results
//	outbox       results that are not published yet: of the front doors, and those that their stream refused
//	counted      refused and answered, without a dead letter of its own, as its source has used up the quota of them
//	summary      a dead letter that lists where counted events were stored
//	owed         decided and answered, but the stream of dead letters or results refuses the record of it
//	parked       stored by the worker until what an event needs can be reached; also a dead letter that its stream refused
//	set aside    held in memory until keys were read
//	marker       an in-flight marker: a row that says which run of a worker has an event in hand that was delivered before
//	poison       a message that kills the worker which processes it
//	stranded     stored, and not delivered again by the broker
//	sealer       seals and signs what the broker and the database store of an event
//	origin       stream, its creation time, sequence, and stored time: where our own stream stored an event
//	original     the message of another stream that our stream copied (sourced) an event from
//	first time   when the original was stored
//	arrival      when our own stream stored an event
//	unaccounted  an event of which proof finds no end; duplicated: one with two
package worker
