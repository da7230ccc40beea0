package worker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/idpsync/idpsync/worker/proof"
	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/workertest"
)

// A broker whose files are those of an earlier time, as after a power cut or when a copy was restored, gives the sequences of
// what it lost to new events. Senders who name no events must not suffer for it.
func TestBrokerThatLostItsTailGivesSequencesToNewEvents(t *testing.T) {
	workertest.Each(t, workertest.Options{Directory: withoutPing}, func(t *testing.T, d *workertest.Deployment) {
		copied := filepath.Join(t.TempDir(), "events")
		d.WhileBrokerIsDown(func(events string) error { return os.CopyFS(copied, os.DirFS(events)) })

		var sequences []uint64
		publish := func(round, source string) {
			person := fmt.Sprintf("%s%d", round, len(sequences))
			body := d.Login(d.Person(person))
			if source == "ping" { // which is not declared yet
				body = d.LoginAt(d.Second, d.PersonAt(d.Second, person))
			}
			sequences = append(sequences, d.PublishWith(workertest.LoginSubject(acme, source), "", body, nil))
		}
		settle := func() {
			p := d.Start()
			d.Settle()
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		for _, source := range []string{"okta", "okta", "okta", "ping", "ping", "ping"} {
			publish("before", source)
		}
		settle()
		d.WhileBrokerIsDown(func(events string) error {
			if err := os.RemoveAll(events); err != nil {
				return err
			}
			return os.CopyFS(events, os.DirFS(copied))
		})
		before := sequences
		sequences = nil
		for _, source := range []string{"okta", "ping", "ping", "okta", "ping", "okta"} {
			publish("after", source)
		}
		if fmt.Sprint(sequences) != fmt.Sprint(before) {
			t.Fatalf("the new events have the sequences %v, want those of the lost ones, %v: the test shows nothing", sequences, before)
		}
		settle()

		created, letters := 0, []uint64{}
		for _, r := range d.AllResults() {
			if r.Status == 201 {
				created++
			} else if r.Code != record.CodeUnknownSource {
				t.Errorf("an event is answered %d %s, want 201 or unknown_source", r.Status, r.Data)
			}
		}
		for _, l := range d.AllLetters() {
			letters = append(letters, l.Sequence)
		}
		if created != 6 || len(letters) != 6 {
			t.Fatalf("%d users were created and %d dead letters stored, want 6 and 6", created, len(letters))
		}

		d.Apply(workertest.Directory)
		p := d.Start()
		d.Replay("after the loss", letters...)
		d.Results.Await(12, "that create a user", func(r workertest.Record) bool { return r.Status == 201 })
		d.Settle()
		if err := p.Stop(); err != nil {
			t.Fatal(err)
		}
		if users := len(d.Users(acme)); users != 12 {
			t.Errorf("there are %d users after the replay, want 12", users)
		}
		account, err := proof.Take(d.Ctx, proof.Options{Broker: proof.Streams(d.Conn), Store: d.Store, Sealer: d.Key})
		if err != nil {
			t.Fatal(err)
		}
		if len(account.Unaccounted) > 0 || len(account.Duplicated) > 0 {
			t.Errorf("the proof finds unaccounted events %v and duplicated ones %v, want none", account.Unaccounted, account.Duplicated)
		}
	})
}
