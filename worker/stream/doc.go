// Package stream is the broker: JetStream streams and consumers, the embedded nats-server, the request-reply front door
// and the operators' reads. It is the only package that imports nats.go and nats-server.
//
// # What is guaranteed
//
// A message handed out by a [Consumer] stays stored until Ack, AckSync or Term; whoever vanishes before leaves it to another
// worker after [AckWait]. A nil error of a publisher means that the broker has stored the message, now or earlier under
// the same id. Nothing more is promised: a message may be handed out twice, and a publish that failed may have been
// stored. The ledger, not the broker, makes effects unique.
//
// # Streams
//
// All streams and consumers are one table (topology.go). [Migrate] is the only function that creates or changes them;
// workers call [Compare] and say what differs.
//
// # Decisions
//
//   - The durables have no BackOff: it adds itself to every delayed nak and replaces AckWait.
//   - MaxDeliver is only a backstop. A work-queue message that reaches it is stranded: stored, but never delivered again.
//     [Stranded] finds such messages, for the sweep.
//   - Publishing has its own reply subject and counts acknowledgements per batch, rather than one future per message:
//     nothing outlives a call whose context ended, and a missing permission fails at once instead of timing out.
//   - Requests are answered beside micro's serial dispatch, in a bounded number of goroutines.
package stream
