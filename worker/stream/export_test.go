package stream

// Received is the number of messages that the broker has sent to this connection. It tells what a client holds, which
// the state of a consumer does not: messages count as delivered there before they are written to the connection.
func (c *Conn) Received() uint64 { return c.nc.Stats().InMsgs }

// Breaks is how often the connection was lost.
func (c *Conn) Breaks() uint64 { return c.breaks.Load() }
