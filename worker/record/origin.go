package record

import (
	"strconv"
	"strings"
	"time"
)

// An Origin is where and when our own stream stored an event.
//
// The stored time is a part of it, as a broker that lost its tail, by a power cut or as its files were restored, gives
// sequences out again. Records from before it was one lack it: see [Origin.Former].
type Origin struct {
	Stream   string
	Created  time.Time // of the stream
	Sequence uint64
	At       time.Time // when the broker stored the message; zero in records of earlier versions
}

// Stored reports whether the event was stored by the broker at all. One that came by a front door was not.
func (o Origin) Stored() bool { return o.Sequence > 0 }

// String identifies the stored message: stream, Unix time of the stream's creation, sequence, and the nanoseconds of the Unix
// time at which it was stored. [ParseOrigin] reads it.
func (o Origin) String() string {
	text := o.Stream + "/" + strconv.FormatInt(o.Created.Unix(), 10) + "/" + strconv.FormatUint(o.Sequence, 10)
	if !o.At.IsZero() {
		text += "/" + strconv.FormatInt(o.At.UnixNano(), 10)
	}
	return text
}

// Former is the origin as earlier versions wrote it, without the stored time. It may be that of another message, too.
func (o Origin) Former() Origin {
	o.At = time.Time{}
	return o
}

// ParseOrigin reads what String wrote, in this version or an earlier one. A text of another form becomes the name of a stream,
// with nothing stored in it.
func ParseOrigin(text string) Origin {
	parts := strings.Split(text, "/")
	if len(parts) != 3 && len(parts) != 4 {
		return Origin{Stream: text}
	}
	created, _ := strconv.ParseInt(parts[1], 10, 64)
	sequence, _ := strconv.ParseUint(parts[2], 10, 64)
	o := Origin{Stream: parts[0], Created: time.Unix(created, 0).UTC(), Sequence: sequence}
	if len(parts) == 4 {
		at, err := strconv.ParseInt(parts[3], 10, 64)
		if err != nil {
			return Origin{Stream: text}
		}
		o.At = time.Unix(0, at).UTC()
	}
	return o
}

// EventID is the id of an event whose sender gave it none.
func (o Origin) EventID() string {
	id := strconv.FormatInt(o.Created.Unix(), 10) + "-" + strconv.FormatUint(o.Sequence, 10)
	if !o.At.IsZero() {
		id += "-" + strconv.FormatInt(o.At.UnixNano(), 10)
	}
	return id
}

// In reports whether the message was stored in the stream of that name that was created then.
func (o Origin) In(stream string, created time.Time) bool {
	return o.Stored() && o.Stream == stream && o.Created.Unix() == created.Unix()
}
