package lessor

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// pauses are the least waits between the tries of a call; each is random up to twice of that.
var pauses = [...]time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1600 * time.Millisecond}

// persist repeats a call that is safe to repeat while its fault is a passing one and there is time.
func persist(ctx context.Context, call func() error) error {
	for _, least := range pauses {
		err := call()
		if !isUnavailable(err) {
			return err
		}
		pause := max(least+rand.N(least), retryAfter(err))
		if !affordable(ctx, pause) {
			return err
		}
		if !sleep(ctx, pause) {
			return errors.Join(err, ctx.Err())
		}
	}
	return call()
}

// affordable says whether the context lasts longer than a pause: else the caller had better hear of
// the fault now.
func affordable(ctx context.Context, pause time.Duration) bool {
	end, ok := ctx.Deadline()
	return !ok || time.Until(end) > pause
}

// sleep waits, and says whether the context was still alive at the end.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

const (
	shortestReopen = 250 * time.Millisecond
	longestReopen  = 20 * time.Second
)

// reopening gives the pauses before a broken stream is opened again: random below a bound that
// grows, so that the clients of a broker that restarts do not all come at once.
type reopening struct{ bound time.Duration }

func (r *reopening) next(fault error) time.Duration {
	r.bound = min(max(2*r.bound, shortestReopen), longestReopen)
	return max(rand.N(r.bound), retryAfter(fault))
}

func (r *reopening) reset() { r.bound = 0 }
