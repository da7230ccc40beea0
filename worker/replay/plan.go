package replay

import (
	"context"
	"errors"
	"slices"

	"github.com/idpsync/idpsync/worker/record"
)

// A Forecaster says in a word or two what would become of each of the dead letters if it were replayed now. Nothing is written.
type Forecaster interface {
	Forecast(ctx context.Context, letters []record.Stored) ([]string, error)
}

// A Plan says what would become of dead letters now. Its JSON form is what idpsync dlq replay --plan prints.
type Plan struct {
	Total    int            `json:"total"`
	Words    map[string]int `json:"outcomes"`
	Letters  []Prediction   `json:"letters"`
	Unusable int            `json:"unusable"` // records that no worker of this deployment wrote
}

// A Prediction is what would become of one dead letter now.
type Prediction struct {
	Sequence uint64 `json:"sequence"`
	EventID  string `json:"event_id"`
	Was      string `json:"was"` // what failed
	Now      string `json:"now"`
}

// planChunk bounds what a forecaster is asked at once, and so what one rolled-back transaction holds.
const planChunk = 2000

// Forecast makes a plan for dead letters. Done, which may be nil, is called with how many more it has looked at.
func Forecast(ctx context.Context, f Forecaster, sealer record.Sealer, letters []Letter, done func(n int)) (Plan, error) {
	p := Plan{Total: len(letters), Words: map[string]int{}}
	for chunk := range slices.Chunk(letters, planChunk) {
		var messages []record.Stored
		var of []Letter
		for _, l := range chunk {
			if _, err := record.Unseal(sealer, l.Message.Header, l.Message.Data); err != nil {
				word := "refused: not a record of this deployment"
				if errors.Is(err, record.ErrSummary) {
					word = "nothing: a summary of events that are not kept"
				}
				p.add(l, word)
				p.Unusable++
				continue
			}
			messages, of = append(messages, l.Message), append(of, l)
		}
		words, err := f.Forecast(ctx, messages)
		if err != nil {
			return p, err
		}
		for i, word := range words {
			p.add(of[i], word)
		}
		if done != nil {
			done(len(chunk))
		}
	}
	return p, nil
}

func (p *Plan) add(l Letter, word string) {
	p.Words[word]++
	p.Letters = append(p.Letters, Prediction{l.Sequence(), l.EventID, l.Cause(), word})
}
