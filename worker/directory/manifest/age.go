package manifest

import (
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/store"
)

// LongestEventAge returns the greatest age that an event of any source of the directory may have at first processing, and
// one of the sources that say so; "" when none says anything.
func LongestEventAge(kinds providers.Kinds, d store.Directory) (age time.Duration, source string, err error) {
	age = providers.DefaultMaxEventAge
	all, err := sourcesOf(kinds, d)
	for _, s := range all {
		if s.MaxEventAge > age {
			age, source = s.MaxEventAge, s.Name
		}
	}
	return age, source, err
}
