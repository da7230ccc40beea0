package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/idpsync/idpsync/cmd/idpsync/kit"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/assemble"
)

// replaceSealKey gives a deployment whose seal key is lost a new one: that of the configured file, or one made now. What
// was sealed for the lost one stays closed, so it asks first.
func (a *app) replaceSealKey(ctx context.Context, c config, yes bool) (err error) {
	st, err := a.openStore(ctx, c, a.logger(c))
	if err != nil {
		return err
	}
	defer closeStore(st, &err)
	shared, err := st.SealKey(ctx)
	if err != nil {
		return err
	}
	key, err := assemble.ReadSealKey(a.parts(c, a.logger(c)), c.SealKeyFile == "")
	if err != nil {
		return withRemedy(err)
	}
	if key.Holds(shared) {
		fmt.Fprintf(a.stdout, "%s holds the deployment's seal key %s; nothing is to be replaced\n", c.sealKeyPath(), shared)
		return nil
	}
	fmt.Fprintf(a.stderr, `The deployment seals with %s, which %s does not hold.
Dead letters, parked events and passwords that were sealed for it can be opened only with a backup of its key file.
From now on the deployment would seal with %s.
`, shared, c.sealKeyPath(), key.KeyID())
	if err := a.confirm(yes, "Give the lost key up?"); err != nil {
		return err
	}
	now, err := st.SetSealKey(ctx, shared, key.KeyID())
	if err != nil {
		return err
	}
	if now != key.KeyID() {
		return kit.Fail(kit.ExitRefused, "start again to see how it stands", "somebody else replaced the key at the same time, by %s", now)
	}
	detail, err := json.Marshal(map[string]string{"lost": shared, "new": now})
	if err != nil {
		return err
	}
	if err := st.Audit(ctx, store.AuditEntry{At: a.now(), Who: operator(), Action: "sealkey.replace", Object: now, Detail: detail}); err != nil {
		return fmt.Errorf("the key was replaced, but not noted in the audit: %w", err)
	}
	fmt.Fprintf(a.stdout, "the deployment seals with %s now; give %s to all workers and restart them\n", now, c.sealKeyPath())
	return nil
}
