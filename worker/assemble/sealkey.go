package assemble

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
)

// openSealKey reads the key that seals and signs dead letters and opens sealed passwords. The first worker of a database
// makes it, and all that come later must hold it: what one of them puts among the dead letters, any other must be able to
// replay. A key file that begins with a new key and keeps the old one changes it.
func openSealKey(ctx context.Context, st *store.Store, o Options) (*seal.Key, error) {
	shared, err := st.SealKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("the deployment's seal key: %w", err)
	}
	key, err := ReadSealKey(o, o.SealKey == "" && shared == "") // else other workers have it already
	if err != nil {
		return nil, err
	}
	if shared != key.KeyID() && (shared == "" || key.Holds(shared)) {
		if shared, err = st.SetSealKey(ctx, shared, key.KeyID()); err != nil {
			return nil, fmt.Errorf("the deployment's seal key: %w", err)
		}
	}
	if !key.Holds(shared) {
		return nil, stop(StepShareSealKey, "%s does not hold the seal key %s of this deployment", o.SealKeyPath(), shared)
	}
	return key, nil
}

// SealKeyPath is where the deployment's seal key lies.
func (o Options) SealKeyPath() string {
	if o.SealKey != "" {
		return o.SealKey
	}
	return filepath.Join(o.DataDir, SealKeyFile)
}

// ReadSealKey reads the key file alone. With mayMake it makes one that is not there.
func ReadSealKey(o Options, mayMake bool) (*seal.Key, error) {
	name := o.SealKeyPath()
	if !mayMake {
		key, err := seal.ReadFile(name)
		if err != nil {
			return nil, stop(StepReadSealKey, "%w", err)
		}
		warnOfOpenKey(name, o.Worker.Log)
		return key, nil
	}
	if err := makeDataDir(o.DataDir); err != nil {
		return nil, err
	}
	key, made, err := seal.EnsureFile(name, o.Worker.Rand)
	if err != nil {
		return nil, stop(StepMakeSealKey, "%w", err)
	}
	if made {
		o.Worker.Log.Warn("a new seal key was made; keep a copy in a safe place, and give the same one to all workers of the deployment", "file", name, "public_key", key.KeyID())
	}
	warnOfOpenKey(name, o.Worker.Log)
	return key, nil
}

// warnOfOpenKey warns when others than its owner may read or write the seal key, which opens every dead letter. A file with
// mode 0440 is how orchestrators mount a secret for a process that is not its owner.
func warnOfOpenKey(name string, log *slog.Logger) {
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 || info.Mode().Perm() == 0o440 {
		return
	}
	log.Warn("the seal key can be read or written by others than its owner; run: chmod 600 on it, or mount it with mode 0400", "file", name, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
}
