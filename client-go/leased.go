package lessor

import (
	"context"
)

// Job is a job in the hands of its handler. Its lease is extended by the worker.
type Job struct {
	JobInfo

	held *held
}

// Progress tells how far the work has come; watchers and readers of the job see it. It does not wait:
// call it as often as you like. While one report is on its way, only the newest of the others is kept.
func (j *Job) Progress(progress Progress) {
	if j.held != nil {
		j.held.ledger.report(j.held, progress.message(), nil, nil)
	}
}

// Checkpoint keeps state for a next attempt, where it is [JobInfo.LastCheckpoint]. It returns once the
// broker has it, and fails with [ErrLeaseLost] when the job is not held any more. At most 256 KiB; see
// [Payload] for what may be given.
func (j *Job) Checkpoint(ctx context.Context, state any) error {
	payload, err := payloadFrom(state)
	if err != nil {
		return err
	}
	if j.held == nil {
		return ErrLeaseLost
	}
	saved := make(chan error, 1)
	j.held.ledger.report(j.held, nil, payload, saved)
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
