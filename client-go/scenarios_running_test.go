package lessor_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/lessorpb"
)

// lease is the shortest that the protocol allows.
const lease = time.Second

// until waits for an event of a job.
func until(t *testing.T, client *lessor.Client, name string, what lessor.EventType) *lessor.Event {
	t.Helper()
	options := lessor.WatchOptions{Queues: []string{strings.Split(name, "/")[1]}, Oldest: true}
	for event, err := range client.Watch(deadline(t), options) {
		must(t, err)
		if event.Job == name && event.Type == what {
			return event
		}
	}
	t.Fatal("the watch has ended")
	return nil
}

// stopped waits for the end of a context, and tells why it ended.
func stopped(ctx context.Context, why chan<- error) error {
	<-ctx.Done()
	why <- context.Cause(ctx)
	return context.Cause(ctx)
}

func TestScenario_concurrency_is_bounded(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	jobs := make([]lessor.NewJob, 20)
	for i := range jobs {
		jobs[i].Queue = queue
	}
	made, err := client.EnqueueBatch(deadline(t), jobs)
	must(t, err)
	var running, most atomic.Int64
	full := make(chan struct{})
	options := on(queue)
	options.Concurrency = 3
	work(t, client, options, anyType(func(ctx context.Context, _ *lessor.Job) (any, error) {
		now := running.Add(1)
		defer running.Add(-1)
		if now > most.Load() {
			most.Store(now)
			if now == 3 {
				close(full)
			}
		}
		select {
		case <-full:
		case <-ctx.Done():
		}
		return nil, nil
	}))
	for _, one := range made {
		finished(t, client, one.Name)
	}
	equal(t, most.Load(), 3)
}

func TestScenario_several_queues(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	worker := work(t, client, lessor.WorkerOptions{Queues: []string{queue + "-a", queue + "-p*"}}, anyType(echo))
	eventually(t, "connected", worker.IsConnected)
	for _, name := range []string{queue + "-a", queue + "-p1", queue + "-p2"} {
		equal(t, finished(t, client, enqueue(t, client, lessor.NewJob{Queue: name}).Name).State, lessor.StateSucceeded)
	}
}

func TestScenario_handler_throws(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		switch job.Attempt {
		case 1:
			return nil, errors.New("no such user")
		case 2:
			panic("a bug")
		default:
			return "third time", nil
		}
	}))
	job := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Retry: &lessor.RetryPolicy{InitialBackoff: lessor.None},
	}).Name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 3)
	panicked, failed := job.Attempts[1].Failure, job.Attempts[2].Failure
	equal(t, failed.Code, "ERROR")
	equal(t, failed.Message, "no such user")
	equal(t, strings.Contains(failed.Stack, "*errors.errorString"), true)
	equal(t, panicked.Code, "PANIC")
	equal(t, panicked.Message, "a bug")
	equal(t, strings.Contains(panicked.Stack, "scenarios_running_test.go"), true)
	equal(t, finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Retry: &lessor.RetryPolicy{InitialBackoff: lessor.None},
	}).Name).State, lessor.StateSucceeded)
}

func TestScenario_retry_delay_of_handler(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		if job.Attempt == 1 {
			return nil, lessor.Retry(lessor.WithCode(errors.New("busy"), "HTTP_429"), 200*time.Millisecond)
		}
		return nil, nil
	}))
	job := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Retry: &lessor.RetryPolicy{InitialBackoff: time.Hour},
	}).Name)
	equal(t, job.Attempt, 2)
	equal(t, job.LastFailure.Code, "HTTP_429")
	first, second := job.Attempts[1], job.Attempts[0]
	if waited := second.StartTime.Sub(first.EndTime); waited < 200*time.Millisecond {
		t.Fatalf("tried again after %v", waited)
	}
}

func TestScenario_fatal_code(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(context.Context, *lessor.Job) (any, error) {
		return nil, lessor.WithCode(errors.New("nonsense"), "BAD_INPUT")
	}))
	job := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Retry: &lessor.RetryPolicy{MaxAttempts: 9, FatalCodes: []string{"BAD_INPUT"}},
	}).Name)
	equal(t, job.State, lessor.StateDead)
	equal(t, job.Attempt, 1)
}

func TestScenario_reject_to_dead(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), map[string]lessor.Handler{
		"gone": func(context.Context, *lessor.Job) (any, error) {
			return nil, lessor.Reject(&lessor.FailureError{
				Code: "USER_GONE", Details: map[string]any{"user": 7.0}, Err: errors.New("this user is gone"),
			})
		},
		"typed": lessor.Typed(func(context.Context, *lessor.Job, int) (any, error) { return nil, nil }),
	})
	job := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "gone", Retry: &lessor.RetryPolicy{MaxAttempts: 9},
	}).Name)
	equal(t, job.State, lessor.StateDead)
	equal(t, job.Attempt, 1)
	equal(t, job.LastFailure.Code, "USER_GONE")
	equal(t, job.LastFailure.Message, "this user is gone")
	equal(t, job.LastFailure.Details["user"], any(7.0))
	bad := finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue, Type: "typed", Data: "text"}).Name)
	equal(t, bad.LastFailure.Code, "BAD_PAYLOAD")
}

func TestScenario_snooze(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		if job.DeliveryCount < 3 {
			return nil, lessor.Snooze(100 * time.Millisecond)
		}
		return nil, nil
	}))
	job := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Retry: &lessor.RetryPolicy{MaxAttempts: 1},
	}).Name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 1)
	equal(t, job.DeliveryCount, 3)
}

func TestScenario_no_handler(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	ignorant := work(t, client, on(queue), map[string]lessor.Handler{"other": echo})
	name := enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "known",
		Retry: &lessor.RetryPolicy{MaxAttempts: 1, InitialBackoff: 200 * time.Millisecond},
	}).Name
	until(t, client, name, lessor.EventJobReleased)
	job, err := client.Get(deadline(t), name)
	must(t, err)
	equal(t, job.LastFailure.Code, "NO_HANDLER")
	ignorant.end()
	work(t, client, on(queue), map[string]lessor.Handler{"known": echo})
	job = finished(t, client, name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 1)
}

func TestScenario_handler_hangs(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	told, release := make(chan error, 1), make(chan struct{})
	options := on(queue)
	options.Concurrency, options.StopGrace = 1, 100*time.Millisecond
	work(t, client, options, map[string]lessor.Handler{
		"hang": func(ctx context.Context, _ *lessor.Job) (any, error) {
			err := stopped(ctx, told)
			<-release
			return nil, err
		},
		"after": echo,
	})
	hung := enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "hang", AttemptTimeout: time.Second,
		Retry: &lessor.RetryPolicy{MaxAttempts: 2, InitialBackoff: time.Hour},
	}).Name
	after := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "after"}).Name
	equal(t, finished(t, client, after).State, lessor.StateSucceeded)
	equal(t, errors.Is(receive(t, told), lessor.ErrAttemptTimeout), true)
	equal(t, reached(t, client, hung, lessor.StateRetrying).LastFailure.Code, "ATTEMPT_TIMEOUT")
	close(release)
}

func TestScenario_long_job_is_extended(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	options := on(queue)
	options.LeaseDuration = lease
	work(t, client, options, anyType(func(ctx context.Context, _ *lessor.Job) (any, error) {
		select {
		case <-time.After(5 * lease / 2):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}))
	job := finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.DeliveryCount, 1)
}

func TestScenario_event_loop_blocked(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	options := on(queue)
	options.LeaseDuration = lease
	over := make(chan struct{})
	work(t, client, options, map[string]lessor.Handler{
		// A system call that holds its thread.
		"block": func(context.Context, *lessor.Job) (any, error) {
			defer close(over)
			span := syscall.NsecToTimespec(int64(5 * lease / 2))
			for errors.Is(syscall.Nanosleep(&span, &span), syscall.EINTR) {
				continue
			}
			return nil, nil
		},
		"wait": func(ctx context.Context, _ *lessor.Job) (any, error) {
			<-over
			return nil, context.Cause(ctx)
		},
	})
	waiting := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "wait"}).Name
	blocking := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "block"}).Name
	for _, name := range []string{blocking, waiting} {
		job := finished(t, client, name)
		equal(t, job.State, lessor.StateSucceeded)
		equal(t, job.DeliveryCount, 1)
	}
}

func TestScenario_progress_is_seen(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	seen := make(chan struct{})
	work(t, client, on(queue), anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		job.Progress(lessor.Progress{Message: "half", Done: 5, Total: 10})
		select {
		case <-seen:
		case <-ctx.Done():
		}
		return nil, nil
	}))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	event := until(t, client, name, lessor.EventJobProgress)
	job, err := client.Get(deadline(t), name)
	must(t, err)
	close(seen)
	equal(t, job.State, lessor.StateLeased)
	for _, progress := range []*lessor.Progress{event.Progress, job.LastProgress} {
		equal(t, *progress, lessor.Progress{Percent: 50, Message: "half", Done: 5, Total: 10})
	}
}

func TestScenario_checkpoint_is_handed_on(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		if job.LastCheckpoint.IsZero() {
			if err := job.Checkpoint(ctx, map[string]int{"page": 3}); err != nil {
				return nil, err
			}
			return nil, errors.New("broke off")
		}
		return job.LastCheckpoint, nil
	}))
	name := enqueue(t, client, lessor.NewJob{Queue: queue, Retry: &lessor.RetryPolicy{InitialBackoff: lessor.None}}).Name
	var state map[string]int
	must(t, client.Result(deadline(t), name, &state))
	equal(t, state["page"], 3)
	equal(t, finished(t, client, name).Attempt, 2)
}

func TestScenario_follow_up_jobs(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	enqueue(t, client, lessor.NewJob{Queue: queue, ID: "taken", Delay: time.Hour})
	work(t, client, on(queue), map[string]lessor.Handler{
		"first": lessor.Typed(func(_ context.Context, _ *lessor.Job, id string) (lessor.Success, error) {
			return lessor.Success{Result: "made", Then: []lessor.NewJob{
				{Type: "second", ID: "second"}, {Type: "second", ID: id},
			}}, nil
		}),
		"second": echo,
	})
	once := &lessor.RetryPolicy{MaxAttempts: 1}
	refused := finished(t, client, enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "first", Data: "taken", Retry: once,
	}).Name)
	equal(t, refused.State, lessor.StateDead)
	equal(t, refused.LastFailure.Code, "JOB_EXISTS")
	_, err := client.Get(deadline(t), "queues/"+queue+"/jobs/second")
	fault(t, err, lessor.ErrNotFound)
	made := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "first", Data: "third", Retry: once}).Name
	equal(t, finished(t, client, made).State, lessor.StateSucceeded)
	for _, id := range []string{"second", "third"} {
		equal(t, finished(t, client, "queues/"+queue+"/jobs/"+id).State, lessor.StateSucceeded)
	}
}

func TestScenario_result_too_large(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), map[string]lessor.Handler{
		"large": func(context.Context, *lessor.Job) (any, error) { return make([]byte, 256<<10+1), nil },
		"odd":   func(context.Context, *lessor.Job) (any, error) { return make(chan int), nil },
	})
	twice := &lessor.RetryPolicy{MaxAttempts: 2, InitialBackoff: lessor.None}
	for kind, code := range map[string]string{"large": "PAYLOAD_TOO_LARGE", "odd": "BAD_RESULT"} {
		job := finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue, Type: kind, Retry: twice}).Name)
		equal(t, job.State, lessor.StateDead)
		equal(t, job.Attempt, 2)
		equal(t, job.LastFailure.Code, code)
	}
}

func TestScenario_cancel_while_running(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	told := make(chan error, 1)
	work(t, client, on(queue), anyType(func(ctx context.Context, _ *lessor.Job) (any, error) {
		return nil, stopped(ctx, told)
	}))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	reached(t, client, name, lessor.StateLeased)
	_, err := client.Cancel(deadline(t), name, lessor.CancelOptions{Reason: "changed my mind", Grace: time.Minute})
	must(t, err)
	equal(t, finished(t, client, name).State, lessor.StateCancelled)
	cause := receive(t, told)
	var cancelled *lessor.CancelledError
	equal(t, errors.Is(cause, lessor.ErrJobCancelled), true)
	equal(t, errors.As(cause, &cancelled), true)
	equal(t, cancelled.Reason, "changed my mind")
	equal(t, cancelled.Within > 0, true)
}

func TestScenario_lease_lost_mid_job(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	told := make(chan error, 1)
	checkpoint, began := make(chan error, 1), make(chan struct{})
	work(t, client, on(queue), anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		if job.DeliveryCount > 1 {
			return "the second", nil
		}
		// Once this is answered, the broker counts on us.
		if err := job.Checkpoint(ctx, "held"); err != nil {
			return nil, err
		}
		close(began)
		_ = stopped(ctx, told)
		checkpoint <- job.Checkpoint(context.WithoutCancel(ctx), "too late")
		return "the first, too late", nil
	}))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, began)
	admin := lessorpb.NewJobBrokerAdminClient(client.Conn())
	_, err := admin.RevokeLease(deadline(t), &lessorpb.JobActionRequest{Name: name})
	must(t, err)
	equal(t, errors.Is(receive(t, told), lessor.ErrLeaseLost), true)
	equal(t, errors.Is(receive(t, checkpoint), lessor.ErrLeaseLost), true)
	var result string
	must(t, client.Result(deadline(t), name, &result))
	equal(t, result, "the second")
	equal(t, finished(t, client, name).DeliveryCount, 2)
}

func TestScenario_drain_with_job_running(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	worker := start(t, "linger", queue)
	worker.says("running")
	worker.send(syscall.SIGTERM)
	equal(t, worker.ends(), "exit status 0")
	job := finished(t, client, name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.DeliveryCount, 1)
	equal(t, enqueue(t, client, lessor.NewJob{Queue: queue}).State, lessor.StateReady)
}

func TestScenario_drain_releases_what_is_left(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	told, never := make(chan error, 1), make(chan struct{})
	t.Cleanup(func() { close(never) })
	options := on(queue)
	options.Grace = 50 * time.Millisecond
	leaving := work(t, client, options, map[string]lessor.Handler{
		"polite": func(ctx context.Context, _ *lessor.Job) (any, error) { return nil, stopped(ctx, told) },
		"deaf":   func(context.Context, *lessor.Job) (any, error) { <-never; return nil, nil },
	})
	names := []string{
		enqueue(t, client, lessor.NewJob{Queue: queue, Type: "polite"}).Name,
		enqueue(t, client, lessor.NewJob{Queue: queue, Type: "deaf"}).Name,
	}
	for _, name := range names {
		reached(t, client, name, lessor.StateLeased)
	}
	leaving.end()
	equal(t, errors.Is(receive(t, told), lessor.ErrShutdown), true)
	work(t, client, on(queue), anyType(echo))
	for _, name := range names {
		job := finished(t, client, name)
		equal(t, job.State, lessor.StateSucceeded)
		equal(t, job.Attempt, 1)
		equal(t, job.LeaseExpiredCount, 0)
	}
}

func TestScenario_drained_by_operator(t *testing.T) {
	t.Parallel()
	said := &logs{}
	client, queue := newClient(t, lessor.ClientOptions{Logger: said.logger()}), newQueue()
	held := newHolding()
	worker := work(t, client, on(queue), anyType(held.handle))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, held.began)
	admin := lessorpb.NewJobBrokerAdminClient(client.Conn())
	eventually(t, "drained", func() bool {
		_, err := admin.DrainWorker(deadline(t), &lessorpb.DrainWorkerRequest{WorkerId: worker.ID()})
		return err == nil
	})
	eventually(t, "told", func() bool { return strings.Contains(said.String(), "an operator drains") })
	close(held.goOn)
	worker.wait()
	equal(t, finished(t, client, name).State, lessor.StateSucceeded)
	left, err := client.Get(deadline(t), enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	must(t, err)
	equal(t, left.DeliveryCount, 0)
}
