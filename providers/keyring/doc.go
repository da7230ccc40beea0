// Package keyring keeps what is known of the keys of one issuer, and decides when that is enough to judge an event.
//
// The history of an issuer's keys (providers.Keys) is evidence, not trust. A key is believed for an event that was stored
// at T when the issuer was seen publishing it at T or later, or no longer before T than the source's key_staleness; when
// it was found missing at or before T it is retired, and no longer believed. Where the history says too little, the issuer
// is asked again first. An issuer that cannot be asked is believed for key_grace beyond key_staleness; then its events
// wait. A banned key is never believed.
//
// The ring neither knows tokens nor assertions: the provider looks at a [History] and says what it makes of an event, in
// words of an [Opinion]; the ring finds out whether that is the last word.
package keyring
