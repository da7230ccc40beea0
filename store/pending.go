package store

import (
	"context"
	"errors"
	"time"
)

var errPending = errors.New("store: not written yet")

type dialect struct{}
type statements struct{}

// MigrationReport says what Migrate did.
type MigrationReport struct {
	Applied []string // file names of the migrations applied by this call, in order
	Version int64    // of the schema now
}

func Open(ctx context.Context, o Options) (*Store, error) { return nil, errPending }
func (s *Store) Close() error                             { return errPending }
func (s *Store) Ping(ctx context.Context) error           { return errPending }
func (s *Store) Kind() string                             { return "" }
func (s *Store) Migrate(ctx context.Context) (MigrationReport, error) {
	return MigrationReport{}, errPending
}
func (s *Store) SchemaVersion(ctx context.Context) (have, want int64, err error) {
	return 0, 0, errPending
}
func IsUnavailable(err error) bool { return errors.Is(err, ErrUnavailable) }

func (s *Store) DirectoryRevision(ctx context.Context) (int64, error)   { return 0, errPending }
func (s *Store) CredentialsRevision(ctx context.Context) (int64, error) { return 0, errPending }
func (s *Store) Directory(ctx context.Context) (Directory, error)       { return Directory{}, errPending }
func (s *Store) ApplyDirectory(ctx context.Context, base int64, d Directory, who string, at time.Time) (int64, error) {
	return 0, errPending
}
func (s *Store) SourceKeys(ctx context.Context, tenant, source, issuer string) ([]SourceKey, error) {
	return nil, errPending
}
func (s *Store) ObserveSourceKeys(ctx context.Context, tenant, source, issuer string, published []SourceKey, at time.Time) error {
	return errPending
}
func (s *Store) CreateCredential(ctx context.Context, c Credential, who string) error {
	return errPending
}
func (s *Store) Credential(ctx context.Context, id string) (Credential, error) {
	return Credential{}, errPending
}
func (s *Store) Credentials(ctx context.Context, tenant string) ([]Credential, error) {
	return nil, errPending
}
func (s *Store) RevokeCredential(ctx context.Context, id, who string, at time.Time) error {
	return errPending
}
func (s *Store) TouchCredentials(ctx context.Context, used map[string]time.Time) error {
	return errPending
}
func (s *Store) Batch(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return errPending
}
func (s *Store) DryRun(ctx context.Context, fn func(context.Context, *Tx) error) error {
	return errPending
}
func (tx *Tx) Find(ctx context.Context, lookups []Lookup) ([]Found, error)   { return nil, errPending }
func (tx *Tx) Write(ctx context.Context, w Write) error                      { return errPending }
func (s *Store) Find(ctx context.Context, lookups []Lookup) ([]Found, error) { return nil, errPending }
func (s *Store) Users(ctx context.Context, f UserFilter) ([]User, error)     { return nil, errPending }
func (s *Store) User(ctx context.Context, tenant, id string) (User, error)   { return User{}, errPending }
func (s *Store) Identities(ctx context.Context, tenant, userID string) ([]Identity, error) {
	return nil, errPending
}
func (s *Store) Event(ctx context.Context, tenant, source, eventID string) (Event, error) {
	return Event{}, errPending
}
func (s *Store) Events(ctx context.Context, f EventFilter) ([]Event, error) { return nil, errPending }
func (s *Store) Counts(ctx context.Context) (Counts, error)                 { return Counts{}, errPending }
func (s *Store) PruneUsedIDs(ctx context.Context, now time.Time) (int64, error) {
	return 0, errPending
}
func (s *Store) Park(ctx context.Context, events []Parked) error { return errPending }
func (s *Store) ClaimParked(ctx context.Context, worker string, limit int, now time.Time, lease time.Duration) ([]Parked, error) {
	return nil, errPending
}
func (s *Store) Repark(ctx context.Context, events []Parked) error       { return errPending }
func (s *Store) DeleteParked(ctx context.Context, ids []int64) error     { return errPending }
func (s *Store) ParkedCounts(ctx context.Context) ([]ParkedCount, error) { return nil, errPending }
func (s *Store) ClaimOutbox(ctx context.Context, worker string, olderThan time.Time, limit int, now time.Time, lease time.Duration) ([]Outbox, error) {
	return nil, errPending
}
func (s *Store) DeleteOutbox(ctx context.Context, ids []string) error { return errPending }
func (s *Store) SetInFlight(ctx context.Context, b InFlight) error    { return errPending }
func (s *Store) ClearInFlight(ctx context.Context, worker, stream string, sequence uint64) error {
	return errPending
}
func (s *Store) InFlight(ctx context.Context, worker string) ([]InFlight, error) {
	return nil, errPending
}
func (s *Store) UpsertDeadLetters(ctx context.Context, rows []DeadLetter) error { return errPending }
func (s *Store) DeadLetter(ctx context.Context, sequence uint64) (DeadLetter, error) {
	return DeadLetter{}, errPending
}
func (s *Store) DeadLetters(ctx context.Context, f DeadLetterFilter) ([]DeadLetter, error) {
	return nil, errPending
}
func (s *Store) Audit(ctx context.Context, e AuditEntry) error { return errPending }
func (s *Store) AuditEntries(ctx context.Context, f AuditFilter) ([]AuditEntry, error) {
	return nil, errPending
}
