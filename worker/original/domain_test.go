package original_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/idpsync/idpsync/worker/original"
	"github.com/idpsync/idpsync/worker/record"
)

// A domain that does not answer holds up those who ask for one time-out, and is then asked by one at a time, less and less often.
func TestADomainThatHangsIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		hangs := true
		read := func(ctx context.Context, domain, stream string, sequence uint64) (record.Stored, error) {
			asked.Add(1)
			if hangs {
				<-ctx.Done()
				return record.Stored{}, ctx.Err()
			}
			return record.Stored{Stream: domain + "/" + stream, Sequence: sequence}, nil
		}
		d := original.New([]string{"edge"}, read, time.Now).Domain(record.DomainHash("edge"))
		beside := func(f func(context.Context)) { go f(t.Context()) }
		ask := func(n int) (all []*original.Reading) {
			for i := range n {
				all = append(all, d.Ask(t.Context(), record.Source{Stream: "EDGE", Sequence: uint64(i) + 1}, beside))
			}
			return all
		}
		begun := time.Now()
		for _, r := range ask(100) {
			<-r.Ready
			if r.Err == nil || r.After <= 0 {
				t.Fatalf("a read of a domain that hangs ends with the error %v, to be tried after %v; want an error, and a while", r.Err, r.After)
			}
		}
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("100 reads of a domain that hangs take %v together, want about one time-out", took)
		}
		first := asked.Load()
		if first > 17 {
			t.Errorf("a domain that hangs was asked %d times, want as often as it is asked at a time", first)
		}
		if r := ask(1)[0]; r.Err == nil {
			t.Error("just after it did not answer a domain is asked again, want an error at once")
		} else {
			<-r.Ready
		}
		for range 60 {
			<-time.After(10 * time.Second)
			for _, r := range ask(50) {
				<-r.Ready
			}
		}
		if more := asked.Load() - first; more < 5 || more > 60 {
			t.Errorf("in ten minutes a domain that hangs was asked %d times by 3000 that wait, want once in half a minute or so", more)
		}
		hangs = false
		<-time.After(time.Minute)
		for i, r := range ask(100) {
			<-r.Ready
			if r.Err != nil || r.Stored.Sequence != uint64(i)+1 || r.Stored.Stream != "edge/EDGE" {
				t.Fatalf("read %d of a domain that answers again gives %+v with the error %v, want its message", i, r.Stored, r.Err)
			}
		}
	})
}

// That there is no such message is an answer.
func TestADomainWithoutTheMessageGoesOnBeingAsked(t *testing.T) {
	asked := 0
	read := func(context.Context, string, string, uint64) (record.Stored, error) {
		asked++
		return record.Stored{}, record.ErrNoMessage
	}
	d := original.New([]string{"edge"}, read, time.Now).Domain(record.DomainHash("edge"))
	for range 3 {
		r := d.Ask(t.Context(), record.Source{Stream: "EDGE", Sequence: 1}, nil)
		<-r.Ready
		if !errors.Is(r.Err, record.ErrNoMessage) {
			t.Errorf("the read ends with the error %v, want %v", r.Err, record.ErrNoMessage)
		}
	}
	if asked != 3 {
		t.Errorf("the domain was asked %d times, want 3", asked)
	}
}
