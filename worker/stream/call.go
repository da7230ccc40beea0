package stream

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/idpsync/idpsync/providers"
)

// Call sends one command by request-reply and waits for the answer until ctx ends. A subject that no worker serves is an
// error of class [ErrUnreachable].
func Call(ctx context.Context, c *Conn, r Request) (header providers.Header, data []byte, err error) {
	m, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: r.Subject, Header: nats.Header(r.Header), Data: r.Data})
	if err != nil {
		if err == nats.ErrNoResponders { //nolint:errorlint // returned as it is
			return nil, nil, &Error{Op: "call " + r.Subject, Class: ErrUnreachable, Hint: "no worker answers: start idpsync run or idpsync dev on this broker", Err: err}
		}
		return nil, nil, wrap("call "+r.Subject, err)
	}
	return providers.Header(m.Header), m.Data, nil
}
