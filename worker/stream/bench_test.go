package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/stream"
)

func benchEvents(n int, prefix string) []worker.Outgoing {
	msgs := make([]worker.Outgoing, n)
	body := make([]byte, 1000)
	for i := range msgs {
		msgs[i] = worker.Outgoing{Subject: "idpsync.feed." + tenantA + ".hr", ID: fmt.Sprintf("%s-%d", prefix, i), Data: body}
	}
	return msgs
}

// One operation is one message of 1 KB. The broker is another process.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 100, 500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			p := startProcess(b)
			c := dial(b, p.credentials().Options())
			migrate(b, c)
			pub := stream.Publisher(c)
			for i := 0; b.Loop(); i += size {
				msgs := benchEvents(size, fmt.Sprint(i))
				if errs := pub.Publish(b.Context(), msgs); errs != nil {
					b.Fatal(errs)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func BenchmarkConsume(b *testing.B) {
	for _, batch := range []int{100, 500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			p := startProcess(b)
			c := dial(b, p.credentials().Options())
			migrate(b, c)
			const n = 60000
			publish(b, c, benchEvents(n, "e"))
			l := consume(b, c, stream.LaneFeeds, batch)
			start := time.Now()
			for got := 0; got < n; {
				var last worker.Message
				for i := 0; i < batch && got < n; i++ {
					m, err := l.Next(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					if last != nil {
						if err := last.Ack(); err != nil {
							b.Fatal(err)
						}
					}
					last = m
					got++
				}
				if err := last.AckSync(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(n/time.Since(start).Seconds(), "msg/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}
