package demo

import (
	"context"
	"errors"
	"fmt"
)

// Folder is where the demo's deployment lies.
func (m *Demo) Folder() string { return m.folder }

// Event makes the event of a sample, without sending it.
func (m *Demo) Event(id string) (subject string, body []byte, err error) {
	s, err := m.find(id)
	if err != nil {
		return "", nil, err
	}
	p := &player{Demo: m, sent: map[string]posted{}}
	out, err := p.prepare(s)
	return out.subject, out.body, err
}

// Send sends a sample by itself and waits for its result.
func (m *Demo) Send(ctx context.Context, id string) (err error) {
	s, err := m.find(id)
	if err != nil {
		return err
	}
	p, stop := m.player(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	out, err := p.prepare(s)
	if err != nil {
		return err
	}
	_, err = p.send(ctx, out)
	return err
}

// find returns the first sample with an event id.
func (m *Demo) find(id string) (sample, error) {
	for _, scene := range m.scenes() {
		for _, s := range scene.samples {
			if s.id == id {
				return s, nil
			}
		}
	}
	return sample{}, fmt.Errorf("the demo has no sample %q", id)
}
