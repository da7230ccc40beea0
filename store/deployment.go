package store

import "context"

// SealKey returns the public key to which the workers of this database seal dead letters, or "" before the first of them
// said so.
func (s *Store) SealKey(ctx context.Context) (string, error) {
	var key string
	err := s.get(ctx, &key, "seal key", `select seal_key from directory where id = 1`)
	return key, err
}

// SetSealKey replaces that key if it is still old, and returns the one that stands then. Of several who set it at once,
// one wins and all get its key.
func (s *Store) SetSealKey(ctx context.Context, old, next string) (string, error) {
	if _, err := s.exec(ctx, `update directory set seal_key = ? where id = 1 and seal_key = ?`, next, old); err != nil {
		return "", err
	}
	return s.SealKey(ctx)
}
