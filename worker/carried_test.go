package worker_test

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// publishRaw stores an event whose header block is written byte for byte, as a client of another language may do.
func publishRaw(t *testing.T, d *workertest.Deployment, subject, header string, body []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.BrokerURL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	block := "NATS/1.0\r\n" + header + "\r\n"
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB raw 1\r\nHPUB %s raw %d %d\r\n%s%s\r\n", subject, len(block), len(block)+len(body), block, body)
	answer := bufio.NewScanner(conn)
	for answer.Scan() {
		switch line := answer.Text(); {
		case strings.HasPrefix(line, "MSG"):
			if answer.Scan(); strings.Contains(answer.Text(), `"error"`) {
				t.Fatal("the broker did not store the message: " + answer.Text())
			}
			return
		case strings.HasPrefix(line, "-ERR"):
			t.Fatal("the broker did not take the message: " + line)
		}
	}
	t.Fatal("the broker ended the connection")
}

// Whatever headers a sender manages to have stored, its event becomes one dead letter that gives them back.
func TestAnyHeadersFitIntoADeadLetter(t *testing.T) {
	many := strings.Repeat("a:\r\n", 12_000)
	for name, c := range map[string]struct {
		block string
		want  providers.Header
	}{
		"plain":               {"Foo: bar\r\nFoo: again\r\n", providers.Header{"Foo": {"bar", "again"}}},
		"name with brackets":  {"X (old): y\r\n", providers.Header{"X (old)": {"y"}}},
		"name with a space":   {"Foo : y\r\n", providers.Header{"Foo ": {"y"}}},
		"value with an end":   {"Foo: bar \t\r\n", providers.Header{"Foo": {"bar \t"}}},
		"value with a return": {"Foo: a\rb\r\n", providers.Header{"Foo": {"a\rb"}}},
		"not UTF-8":           {"X[: a\xff\r\n", providers.Header{"X[": {"a\xff"}}},
		"traceparent":         {"traceparent: 00-a \r\n", providers.Header{"traceparent": {"00-a "}}},
		"very many":           {many, providers.Header{"a": slices.Repeat([]string{""}, 12_000)}},
		"large credential":    {"Authorization: Bearer " + strings.Repeat("x", 60_000) + "\r\n", providers.Header{"Authorization": {"Bearer " + strings.Repeat("x", 60_000)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := workertest.New(t, workertest.Options{})
			d.Start()
			body := []byte(`{"id_token":"x"}`)
			publishRaw(t, d, okta, c.block, body)
			letters := d.AllLetters()
			if len(letters) != 1 || letters[0].Code != record.CodeMalformed {
				t.Fatalf("the dead letters are %+v, want one, malformed", letters)
			}
			o, err := record.Unseal(d.Key, letters[0].Header, letters[0].Data)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.EqualFunc(o.Header, c.want, slices.Equal) || string(o.Data) != string(body) {
				t.Errorf("gave back %.200q and %s", fmt.Sprint(o.Header), o.Data)
			}
			for _, values := range letters[0].Header {
				if strings.Contains(strings.Join(values, ""), "Bearer") {
					t.Error("a credential stands in the clear")
				}
			}
			d.Replay("again", letters[0].Sequence)
			d.Letters.Await(2, "of the replay", func(workertest.Record) bool { return true })
		})
	}
}
