package record_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/providers/seal"
	"github.com/idpsync/idpsync/store"
	"github.com/idpsync/idpsync/worker/record"
)

func TestArchivedEventComesBackAsItWas(t *testing.T) {
	key := sealer(t)
	at := time.Date(2026, 11, 1, 1, 2, 3, 4, time.UTC)
	a := record.Archived{
		Event: store.EventKey{TenantID: "2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", Source: "okta", EventID: "a/b ü", Scope: "credential/hr one"}, StoredAt: at, At: at.Add(time.Second),
		Origin: record.Origin{Stream: "IDPSYNC_EVENTS", Created: at.Truncate(time.Second), Sequence: 7, At: at}, Subject: "idpsync.login.x.okta",
		Door: providers.DoorStream, Attempt: 2, Outcome: record.OutcomeCreated, UserID: "u1",
	}
	header := providers.Header{"Authorization": {"Bearer secret"}, "X-Tenant-ID": {"x"}}
	out, err := a.Write(key, header, []byte("the body"))
	if err != nil {
		t.Fatal(err)
	}
	m := record.Stored{Subject: out.Subject, Header: out.Header, Data: out.Data}
	got, original, err := record.UnsealArchived(key, m)
	if err != nil || !reflect.DeepEqual(got, a) || !reflect.DeepEqual(original.Header, header) || string(original.Data) != "the body" {
		t.Errorf("it comes back as %+v with %+v and the error %v, want %+v with its headers and body", got, original, err, a)
	}
	if bytes.Contains(out.Data, []byte("body")) || bytes.Contains([]byte(record.Marshal(out.Header)), []byte("secret")) {
		t.Error("the body or a credential can be read in the record, want both sealed")
	}
	if !record.ArchivedID(out.ID) || out.ID != a.ID() {
		t.Errorf("its message id is %q, want that of its attempt", out.ID)
	}
	if _, err := record.Unseal(key, out.Header, out.Data); !errors.Is(err, record.ErrRecord) {
		t.Errorf("it passes for a dead letter with the error %v, want %v", err, record.ErrRecord)
	}
	for what, spoil := range map[string]func(m *record.Stored){
		"another user": func(m *record.Stored) { m.Header["Idpsync-Dl-User"] = []string{"u2"} },
		"another body": func(m *record.Stored) { m.Data = append([]byte("x"), m.Data...) },
		"a copy on another subject": func(m *record.Stored) {
			m.Subject = record.ArchiveSubject("2489e9ad-2ee2-8e00-8ec9-32d5f69181c0", "ping", record.OutcomeCreated)
		},
	} {
		forged := m
		forged.Header = providers.Header{}
		for name, values := range m.Header {
			forged.Header[name] = values
		}
		spoil(&forged)
		if _, _, err := record.UnsealArchived(key, forged); !errors.Is(err, record.ErrRecord) {
			t.Errorf("a record with %s is opened with the error %v, want %v", what, err, record.ErrRecord)
		}
	}
}

func sealer(t *testing.T) record.Sealer {
	t.Helper()
	key, _, err := seal.EnsureFile(filepath.Join(t.TempDir(), "seal.key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
