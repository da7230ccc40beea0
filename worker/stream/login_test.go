package stream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/idpsync/idpsync/worker/stream"
)

// Two users of nkeys.
var userKeys = [2]struct{ seed, public string }{
	{"SUALEMP3NMZ4NMVUJ42OO67PHNLBGJVNPIBBVPGCEU4YR75NA2QJ3ES2IM", "UAVYVNVHOI3HI5D25ARO5DZLT5ILPRNOADCMPNEQLKUG6NLOFVNM7CUS"},
	{"SUACKYKFEHYXPYNCG2G47T7F75GHUBOQFICCH444FTAV7T4664BTIJWENU", "UDRNNRELG4M5GPWO5WUFYFAWU6F4RF5BFGYXJUU7JHOXSX33UYIZKA6U"},
}

// A secret that is replaced, first in its file and then at the broker, costs a reconnect and no restart.
func TestRotatedLoginsNeedNoRestart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options func(dir string) stream.Options
		file    string             // in the folder
		content func(i int) string // before and after
		users   func(i int) string // of the broker's configuration
	}{
		"password file": {
			options: func(dir string) stream.Options {
				return stream.Options{User: "w", PasswordFile: filepath.Join(dir, "password")}
			},
			file:    "password",
			content: func(i int) string { return fmt.Sprintf("secret-%d\n", i) },
			users:   func(i int) string { return fmt.Sprintf(`{user: w, password: "secret-%d"}`, i) },
		},
		"nkey": {
			options: func(dir string) stream.Options { return stream.Options{NKey: filepath.Join(dir, "seed")} },
			file:    "seed",
			content: func(i int) string { return userKeys[i].seed },
			users:   func(i int) string { return "{nkey: " + userKeys[i].public + "}" },
		},
		"saved context": {
			options: func(dir string) stream.Options { return stream.Options{Context: "saved", ContextDir: dir} },
			file:    "saved.json",
			content: func(i int) string { return fmt.Sprintf(`{"user":"w%d","password":"secret-%d"}`, i, i) },
			users:   func(i int) string { return fmt.Sprintf(`{user: w%d, password: "secret-%d"}`, i, i) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write := func(file, content string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			config := filepath.Join(dir, "server.conf")
			allow := func(i int) {
				t.Helper()
				write("server.conf", "listen: \"127.0.0.1:-1\"\nauthorization { users: ["+test.users(i)+"] }\n")
			}
			allow(0)
			write(test.file, test.content(0))
			o, err := server.ProcessConfigFile(config)
			if err != nil {
				t.Fatal(err)
			}
			o.NoSigs, o.NoLog = true, true
			srv, err := server.NewServer(o)
			if err != nil {
				t.Fatal(err)
			}
			srv.Start()
			t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
			if !srv.ReadyForConnections(time.Minute) {
				t.Fatal("the broker does not start")
			}
			options := test.options(dir)
			options.URL = srv.ClientURL()
			c := dial(t, options)

			write(test.file, test.content(1))
			allow(1)
			if err := srv.Reload(); err != nil {
				t.Fatal(err)
			}
			ctx := within(t, time.Minute)
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for c.Breaks() == 0 || !c.Connected() {
				select {
				case <-tick.C:
				case <-ctx.Done():
					t.Fatalf("the connection is %s after %d breaks, want it restored with the new secret", c.Status(), c.Breaks())
				}
			}
		})
	}
}
