package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestSlowHeadersOfOneAddressLeaveTheOthersTheirConnections needs the whole of 127.0.0.0/8, as Linux has it.
func TestSlowHeadersOfOneAddressLeaveTheOthersTheirConnections(t *testing.T) {
	var lc net.ListenConfig
	socket, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(newBounded(socket, 8)) }()
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(context.WithoutCancel(t.Context()), "tcp", socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var slow []net.Conn
	for range 8 {
		c := dial("127.0.0.1")
		_, _ = io.WriteString(c, "POST /v1/users HTTP/1.1\r\nX-Slow: ") // one that is closed already may say so
		slow = append(slow, c)
	}
	c := dial("127.0.0.2")
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(c); err != nil || len(answer) == 0 {
		t.Errorf("another address is answered by %q with the error %v, want an answer", answer, err)
	}
	for i, c := range slow[4:] {
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection %d of one address, of 8 for all, reads %d bytes with the error %v; want it closed", 5+i, n, err)
		}
	}
	for _, c := range slow { // what is closed leaves room
		_ = c.Close()
	}
}
