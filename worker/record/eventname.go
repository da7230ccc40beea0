package record

import (
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/idpsync/idpsync/store"
)

// MaxEventName bounds what results call an event, in bytes: with the scope of its id it becomes a unique key.
const MaxEventName = 1800

// EventName is what the ids of results call an event: tenant/source/event id, with the scope of the event id, if it has one,
// behind the source.
func EventName(k store.EventKey) string {
	source := k.Source
	if k.Scope != "" {
		source += "@" + escapeScope(k.Scope)
	}
	return k.TenantID + "/" + source + "/" + k.EventID
}

// ParseEventName reads what EventName wrote.
func ParseEventName(name string) (store.EventKey, bool) {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) != 3 {
		return store.EventKey{}, false
	}
	source, escaped, scoped := strings.Cut(parts[1], "@")
	scope, err := url.PathUnescape(escaped)
	if err != nil || scoped && scope == "" {
		return store.EventKey{}, false
	}
	return store.EventKey{TenantID: parts[0], Source: source, EventID: parts[2], Scope: scope}, true
}

// escapeScope writes a scope without slashes and without what a header can't carry. Letters of all languages stay, so that
// it grows no longer than a key may be.
func escapeScope(scope string) string {
	var b strings.Builder
	for i := range len(scope) {
		if c := scope[i]; c <= ' ' || c == '%' || c == '/' || c == 0x7f {
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
