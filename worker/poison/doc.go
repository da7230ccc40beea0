// Package poison finds poison messages: events that kill the worker that processes them.
//
// They are found in two steps. While events are verified, which is where hostile bytes meet parsers, each goroutine keeps
// the origin of the one that it works on in a slot of a file. What the slots of a dead process name are the suspects of
// its crash: a handful. Each suspect is then processed alone, with an in-flight marker in the store, and one that is
// delivered again in spite of that is the poison message. All others go on in batches.
//
// A worker may also die of something else, while an event that is processed alone waits for the database, say. So the slot
// is kept while such an event is decided, too, and a marker whose dead process had another event in its slots, or none, is
// cleared by the worker that finds the file. So is the marker of a first death, since one death may be chance: it stands only
// where the event was a suspect before. Without the file, as when the disk is gone with its host, the marker stands.
package poison
