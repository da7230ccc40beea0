package record

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/idpsync/idpsync/providers"
)

// A Refusal is a rejection with what makes its result, as it is kept until the event is done with. Its Cause is not kept.
type Refusal struct {
	*Rejection
	Scope      string // of the event id
	Credential string // public id of the credential that sent the event, or ""
}

type keptRefusal struct {
	ErrorBody
	Details    map[string]json.RawMessage `json:"details"`
	Reason     string                     `json:"reason,omitempty"`
	Hint       string                     `json:"hint,omitempty"`
	Policies   []string                   `json:"policies,omitempty"`
	Scope      string                     `json:"scope,omitempty"`
	Credential string                     `json:"credential,omitempty"`
}

// Write returns what [ReadRefusal] reads.
func (r Refusal) Write() []byte {
	kept := keptRefusal{
		ErrorBody: r.ErrorBody, Details: map[string]json.RawMessage{}, Reason: r.Reason, Hint: r.Hint, Policies: r.Policies,
		Scope: r.Scope, Credential: r.Credential,
	}
	for name, v := range r.Details {
		kept.Details[name] = Marshal(v)
	}
	return Marshal(kept)
}

// ReadRefusal reads a refusal that has a dead letter. Its details have the types that [Fingerprint] looks at.
func ReadRefusal(data []byte) (Refusal, error) {
	var kept keptRefusal
	if err := json.Unmarshal(data, &kept); err != nil {
		return Refusal{}, fmt.Errorf("kept verdict: %w", err)
	}
	r := &Rejection{ErrorBody: kept.ErrorBody, Reason: kept.Reason, Hint: kept.Hint, Policies: kept.Policies, DeadLetter: true}
	r.Details = map[string]any{}
	for name, raw := range kept.Details {
		v, err := readDetail(name, raw)
		if err != nil {
			return Refusal{}, fmt.Errorf("kept verdict: details.%s: %w", name, err)
		}
		r.Details[name] = v
	}
	return Refusal{Rejection: r, Scope: kept.Scope, Credential: kept.Credential}, nil
}

func readDetail(name string, raw json.RawMessage) (any, error) {
	switch name {
	case "fields":
		return decode[[]providers.Fault](raw)
	case "roles":
		return decode[[]string](raw)
	}
	return decode[any](raw)
}

// decode keeps numbers as they were written.
func decode[T any](raw json.RawMessage) (v T, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
