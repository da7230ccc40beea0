package record

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// A Picture says how the ledger leaves the picture of a user out of an answer that did not change it. The user's own row has
// it, or what was kept of an earlier revision of the user.
type Picture struct {
	At       int   `json:"at"`                // where it stands in the body, in bytes
	Revision int64 `json:"revision"`          // of the user whose picture it is
	Omitted  bool  `json:"omitted,omitempty"` // the published result leaves it out too
}

// The picture as a member of a user's body. A data URI holds nothing that JSON escapes.
const (
	pictureName  = "avatar"
	pictureBegin = `,"` + pictureName + `":"`
	pictureEnd   = `"`
)

// standIn takes the place of a picture while its position is looked for.
const standIn = "-"

// SetUnchanged makes the user the body of an answer to an event that changed nothing. The ledger keeps the body without
// the user's picture. Where the body with the picture is larger than limit, in bytes, the published result leaves it out too.
// The body itself has no picture until [Answer.SetPicture].
func (a *Answer) SetUnchanged(shape providers.Shape, u *store.User, limit int) {
	without := *u
	if u.Avatar != "" {
		without.Avatar = standIn
	}
	a.Body = UserBody(shape, &without, nil)
	begin, end, ok := findPicture(a.Body)
	if !ok {
		return
	}
	a.Picture = &Picture{At: begin, Revision: u.Revision, Omitted: len(a.Body)-len(standIn)+len(u.Avatar) > limit}
	a.Body = slices.Delete(a.Body, begin, end)
	a.kept = a.Body
}

// SetPicture puts the picture that the body leaves out into it. Without a picture, as when it is gone, the body stays as it is.
func (a *Answer) SetPicture(avatar string) {
	if a.Picture == nil || avatar == "" || a.Picture.At > len(a.kept) {
		return
	}
	a.Body = slices.Concat(a.kept[:a.Picture.At], []byte(pictureBegin+avatar+pictureEnd), a.kept[a.Picture.At:])
}

// Kept is the body as the ledger keeps it.
func (a *Answer) Kept() []byte {
	if a.Picture != nil {
		return a.kept
	}
	return a.Body
}

// partial reports whether the body leaves out a picture.
func (a *Answer) partial() bool { return a.Picture != nil && len(a.Body) == len(a.kept) }

// findPicture finds the picture in a user's body. In a text of JSON a quote is escaped, so that no value can look like it.
func findPicture(body []byte) (begin, end int, ok bool) {
	begin = bytes.Index(body, []byte(pictureBegin))
	if begin < 0 {
		return 0, 0, false
	}
	value := begin + len(pictureBegin)
	n := bytes.Index(body[value:], []byte(pictureEnd))
	if n < 0 {
		return 0, 0, false
	}
	return begin, value + n + len(pictureEnd), true
}

// A BodySum compares the body of a result with what the ledger keeps of it, and with the same result published again.
type BodySum struct {
	whole, kept [sha256.Size]byte
}

// Sum returns what compares the body of the result.
func (r *Result) Sum() BodySum {
	s := BodySum{whole: sha256.Sum256(r.Body)}
	s.kept = s.whole
	if begin, end, ok := findPicture(r.Body); ok {
		s.kept = sha256.Sum256(slices.Concat(r.Body[:begin], r.Body[end:]))
	}
	return s
}

// Of reports whether the result is the one of a row of the ledger.
func (s BodySum) Of(row *store.Event) bool {
	sum := sha256.Sum256(row.Result)
	if a, err := ReadAnswer(row); err == nil && a.Picture != nil {
		return s.kept == sum
	}
	return s.whole == sum
}
