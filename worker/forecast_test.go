package worker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/idpsync/idpsync/providers"
	"github.com/idpsync/idpsync/worker"
	"github.com/idpsync/idpsync/worker/workertest"
)

func TestForecastOfFaultyFieldsSaysThatRolesWereNotReached(t *testing.T) {
	t.Parallel()
	d := workertest.New(t, workertest.Options{})
	p := d.Start()
	forecasts, err := p.Forecast(d.Ctx, []worker.Preview{{
		Subject: okta, Data: d.Login(d.Person("ada").With(workertest.Claims{"email": "nobody"})), StoredAt: time.Now(), EventID: "x", Explain: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(forecasts[0].Checks, func(c providers.Check) bool { return c.Step == "roles" })
	if at < 0 || forecasts[0].Checks[at].OK {
		t.Errorf("checks: got %+v, want a step roles that failed", forecasts[0].Checks)
	}
}
