// Package poison finds poison messages: events that kill the worker that processes them.
//
// The evidence is one kind of row, an in-flight marker: a run of a worker has an event in hand. A worker marks the events that
// were delivered before and clears their markers before it tells anybody what became of them, so that a marker that is left
// points at an event whose run has stopped on the way: it has died, or it is slow.
//
// Which of the two is told by the run itself. While events are verified, which is where hostile bytes meet parsers, each
// goroutine keeps the origin of the one that it works on in a slot of a file, which the process locks. A worker that finds
// the file of a dead process notes in the store of what it died: a proved death of each event in its slots, a handful; its
// other markers are cleared. Without the file, as when the disk has gone with its host, a run is presumed dead when it has not
// been heard of for [staleAfter], by the clock of the worker that looks.
//
// What the markers of other runs say of an event:
//
//	a proved death                                  it is a suspect, and processed alone
//	a proved death alone, and another proved one    it is poison
//	two presumed deaths alone                       it is poison
//	one presumed death alone                        it is a suspect
//	a marker alone of a run that is not known dead  it waits: the run may live, and will clear the marker
//	markers of two runs, neither alone nor proved   it is a suspect
//
// One death may be chance, so it convicts nobody. An event that is decided, or has to wait for something else, has killed
// nobody: all its markers go.
package poison
