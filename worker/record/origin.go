package record

import (
	"strconv"
	"strings"
	"time"
)

// An Origin is where an event was stored first.
type Origin struct {
	Stream   string
	Created  time.Time // of the stream
	Sequence uint64
}

// Stored reports whether the event was stored by the broker at all. One that came by a front door was not.
func (o Origin) Stored() bool { return o.Sequence > 0 }

// String identifies the stored message, also across a stream that was created anew: stream, Unix time of the stream's
// creation, sequence. [ParseOrigin] reads it.
func (o Origin) String() string {
	return OriginPrefix(o.Stream, o.Created) + strconv.FormatUint(o.Sequence, 10)
}

// OriginPrefix begins the origins of all messages of a stream.
func OriginPrefix(stream string, created time.Time) string {
	return stream + "/" + strconv.FormatInt(created.Unix(), 10) + "/"
}

// ParseOrigin reads what String wrote. A text of another form becomes the name of a stream, with nothing stored in it.
func ParseOrigin(text string) Origin {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return Origin{Stream: text}
	}
	created, _ := strconv.ParseInt(parts[1], 10, 64)
	sequence, _ := strconv.ParseUint(parts[2], 10, 64)
	return Origin{Stream: parts[0], Created: time.Unix(created, 0).UTC(), Sequence: sequence}
}

// EventID is the id of an event whose sender gave it none.
func (o Origin) EventID() string {
	return strconv.FormatInt(o.Created.Unix(), 10) + "-" + strconv.FormatUint(o.Sequence, 10)
}

// In reports whether the message was stored in the stream of that name that was created then.
func (o Origin) In(stream string, created time.Time) bool {
	return o.Stored() && o.Stream == stream && o.Created.Unix() == created.Unix()
}
