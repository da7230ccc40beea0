package main

import (
	"io"
	"net"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers/oidc/issuer"
	"github.com/idpsync/idpsync/worker/linktest"
)

// No other test compiles what the build tag adds.
func TestProgramWithPointsCompiles(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "vet", "-tags", "chaos", "./cmd/idpsync")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go vet of the program with points failed, want that it compiles: %v\n%s", err, out)
	}
}

func TestUnknownSabotageIsRefused(t *testing.T) {
	for _, name := range append(sabotages(), "") {
		if err := (options{sabotage: name}).check(); err != nil {
			t.Errorf("got error %v for the sabotage %q, want that it is taken", err, name)
		}
	}
	if err := (options{sabotage: "tea"}).check(); err == nil {
		t.Error("the sabotage \"tea\" was taken, want an error that names those that there are")
	}
}

func TestSeedGivesTheSameScriptAndStorm(t *testing.T) {
	made, err := issuer.New(issuer.Options{Algorithms: []string{"ES256"}, URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	play := func(seed uint64) (sends []string, faults string) {
		o := options{seed: seed, events: 5000, duration: 10 * time.Minute, workers: 3, out: io.Discard}
		w := &world{o: o, steady: made, shaky: made, holes: []*hole{{}}, workers: []*slot{{}, {}, {}}, tokens: map[string]string{}}
		s := newScript(o, w)
		for _, e := range s.sends {
			sends = append(sends, e.key()+" "+e.subject)
		}
		return sends, newStorm(o, w, s).String()
	}
	sends, faults := play(7)
	again, sameFaults := play(7)
	others, otherFaults := play(8)
	if !slices.Equal(sends, again) || faults != sameFaults {
		t.Error("one seed gives two runs, want one")
	}
	if slices.Equal(sends, others) || faults == otherFaults {
		t.Error("two seeds give one run, want two")
	}
	if len(sends) != 5000 {
		t.Errorf("the storm has %d events, want 5000", len(sends))
	}
}

func TestLinkCarriesHoldsAndCuts(t *testing.T) {
	k, err := linktest.New(listenEcho(t))
	if err != nil {
		t.Fatal(err)
	}
	c := dialEcho(t, k.Addr())
	c.echo("one")
	k.Delay(time.Millisecond)
	c.echo("two")
	k.Freeze()
	c.send("three")
	k.Thaw()
	c.receive("three")
	k.Sever()
	c.ended()
	dialEcho(t, k.Addr()).echo("four")
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

func TestLinkSwallowsWhatThereIsAndCarriesWhatIsNew(t *testing.T) {
	k, err := linktest.New(listenEcho(t))
	if err != nil {
		t.Fatal(err)
	}
	old := dialEcho(t, k.Addr())
	old.echo("one")
	began := time.Now()
	if n := k.Swallow(); n != 1 {
		t.Errorf("%d connections became half open, want the one that there is", n)
	}
	old.send("two")
	if _, again := (links{k}).dialed(1, began); again {
		t.Error("a connection is said to have been made since, want none")
	}
	dialEcho(t, k.Addr()).echo("three")
	if at, again := (links{k}).dialed(1, began); !again || at.Before(began) {
		t.Errorf("the new connection was made at %v (%t), want that it is found, after %v", at, again, began)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if n, err := old.Read(make([]byte, 9)); err == nil {
		t.Errorf("%d bytes came over a connection that swallows, want none", n)
	}
}

// listenEcho sends back what it gets.
func listenEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

type echo struct {
	t *testing.T
	net.Conn
}

func dialEcho(t *testing.T, address string) echo {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return echo{t, c}
}

func (e echo) send(s string) {
	e.t.Helper()
	if _, err := io.WriteString(e, s); err != nil {
		e.t.Fatal(err)
	}
}

func (e echo) receive(s string) {
	e.t.Helper()
	b := make([]byte, len(s))
	if _, err := io.ReadFull(e, b); err != nil || string(b) != s {
		e.t.Fatalf("%q, %v", b, err)
	}
}

func (e echo) echo(s string) {
	e.t.Helper()
	e.send(s)
	e.receive(s)
}

func (e echo) ended() {
	e.t.Helper()
	if n, err := e.Read(make([]byte, 1)); err == nil {
		e.t.Errorf("%d bytes over a connection that was cut", n)
	}
}
