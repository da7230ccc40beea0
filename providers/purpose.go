package providers

import "strings"

// A Purpose is what a credential was made for. One credential serves one purpose, so that a token which leaks from an HR
// system creates no administrators.
type Purpose string

// The purposes. Those of feeds and logins name their source.
const (
	PurposeAny      Purpose = ""         // of a credential that was made before credentials had a purpose
	PurposeCommands Purpose = "commands" // the commands of a tenant, by every door

	feedPurpose  = "feed:"
	loginPurpose = "login:"
)

// FeedPurpose is the purpose of sending the events of a feed.
func FeedPurpose(source string) Purpose { return Purpose(feedPurpose + source) }

// LoginPurpose is the purpose of handing in the logins of a source.
func LoginPurpose(source string) Purpose { return Purpose(loginPurpose + source) }

// Source returns the source that the purpose names and the shape that its events have; none for commands.
func (p Purpose) Source() (name string, shape Shape) {
	if name, ok := strings.CutPrefix(string(p), feedPurpose); ok {
		return name, ShapeFeed
	}
	if name, ok := strings.CutPrefix(string(p), loginPurpose); ok {
		return name, ShapeLogin
	}
	return "", ""
}

// serves reports whether a credential made for p may be used for need.
func (p Purpose) serves(need Purpose) bool { return p == PurposeAny || p == need }
