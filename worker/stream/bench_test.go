package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/idpsync/idpsync/worker/record"
	"github.com/idpsync/idpsync/worker/stream"
)

func benchEvents(n int, prefix string) []record.Outgoing {
	msgs := make([]record.Outgoing, n)
	body := make([]byte, 1000)
	for i := range msgs {
		msgs[i] = record.Outgoing{Subject: "idpsync.feed." + tenantA + ".hr", ID: fmt.Sprintf("%s-%d", prefix, i), Data: body}
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

// BenchmarkConsume acknowledges all and waits for the last of each batch.
func BenchmarkConsume(b *testing.B) {
	for _, batch := range []int{100, 500, 1000} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			p := startProcess(b)
			c := dial(b, p.credentials().Options())
			migrate(b, c)
			const n = 20000
			l := consume(b, c, record.LaneFeeds, batch)
			var spent time.Duration
			rounds := 0
			for ; b.Loop(); rounds++ {
				b.StopTimer()
				publish(b, c, benchEvents(n, fmt.Sprint(rounds)))
				b.StartTimer()
				start := time.Now()
				for got := 0; got < n; got += batch {
					for i := range batch {
						m, err := l.Next(b.Context())
						if err == nil && i == batch-1 {
							err = m.AckSync(b.Context())
						} else if err == nil {
							err = m.Ack()
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				spent += time.Since(start)
			}
			b.ReportMetric(float64(rounds*n)/spent.Seconds(), "msg/s")
		})
	}
}
