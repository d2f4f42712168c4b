package lessor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/internal/brokertest"
)

const (
	mib   = 1 << 20
	words = "größer ✓ 漢字 👩‍🚀 \u202eabc \U0001f980"
)

// echo returns the payload.
func echo(_ context.Context, job *lessor.Job) (any, error) { return job.Payload, nil }

func anyType(handler lessor.Handler) map[string]lessor.Handler {
	return map[string]lessor.Handler{lessor.AnyType: handler}
}

func on(queue string) lessor.WorkerOptions { return lessor.WorkerOptions{Queues: []string{queue}} }

// fault is the error of the library that a call ended with.
func fault(t *testing.T, err, kind error) *lessor.Error {
	t.Helper()
	var told *lessor.Error
	if !errors.As(err, &told) || !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	return told
}

func TestScenario_enqueue_and_run(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), map[string]lessor.Handler{
		"sum": lessor.Typed(func(_ context.Context, _ *lessor.Job, in []int) (int, error) {
			return in[0] + in[1], nil
		}),
	})
	job := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "sum", Data: []int{2, 3}})
	equal(t, job.Outcome, lessor.Created)
	var sum int
	must(t, client.Result(deadline(t), job.Name, &sum))
	equal(t, sum, 5)
	ended := finished(t, client, job.Name)
	equal(t, ended.State, lessor.StateSucceeded)
	equal(t, string(ended.Payload.Data), "[2,3]")
}

func TestScenario_enqueue_options_are_kept(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "t", Data: []byte("x"), Priority: -7, Owner: "ada",
		Labels: map[string]string{"a": "1", "b": "2"},
		Retry: &lessor.RetryPolicy{
			MaxAttempts: 7, InitialBackoff: 3 * time.Second, Multiplier: 3, MaxBackoff: time.Minute,
			Jitter: -1, FatalCodes: []string{"NEVER"},
		},
		LeaseDuration: 12 * time.Second, AttemptTimeout: 90 * time.Second, TTL: time.Hour,
		Retention: &lessor.Retention{SucceededTTL: time.Minute, SucceededCount: 5, DeadTTL: lessor.None},
	}).Name
	job, err := client.Get(deadline(t), name)
	must(t, err)
	equal(t, job.Type, "t")
	equal(t, job.Priority, -7)
	equal(t, job.Owner, "ada")
	equal(t, maps.Equal(job.Labels, map[string]string{"a": "1", "b": "2"}), true)
	equal(t, job.Retry.MaxAttempts, 7)
	equal(t, job.Retry.InitialBackoff, 3*time.Second)
	equal(t, job.Retry.Jitter, 0)
	equal(t, slices.Equal(job.Retry.FatalCodes, []string{"NEVER"}), true)
	equal(t, job.LeaseDuration, 12*time.Second)
	equal(t, job.AttemptTimeout, 90*time.Second)
	equal(t, job.ExpireTime.Sub(job.CreateTime), time.Hour)
	equal(t, job.Retention.SucceededTTL, time.Minute)
	equal(t, job.Retention.SucceededCount, 5)
	equal(t, job.Retention.DeadTTL, 0)
}

func TestScenario_unicode_everywhere(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	began := make(chan struct{})
	work(t, client, on(queue), map[string]lessor.Handler{
		words: func(ctx context.Context, job *lessor.Job) (any, error) {
			job.Progress(lessor.Progress{Percent: 50, Message: words})
			if err := job.Checkpoint(ctx, words); err != nil {
				return nil, err
			}
			if job.Attempt == 1 {
				return nil, errors.New(words)
			}
			return job.Payload, nil
		},
		"slow": func(ctx context.Context, _ *lessor.Job) (any, error) {
			close(began)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	})
	name := enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: words, Data: words, Owner: words, Labels: map[string]string{words: words},
		Retry: &lessor.RetryPolicy{InitialBackoff: lessor.None},
	}).Name
	var result, payload string
	must(t, client.Result(deadline(t), name, &result))
	job := finished(t, client, name)
	must(t, job.Payload.Decode(&payload))
	for _, text := range []string{
		result, payload, job.Type, job.Owner, job.Labels[words], job.LastProgress.Message, job.LastFailure.Message,
	} {
		equal(t, text, words)
	}
	held := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "slow"}).Name
	receive(t, began)
	_, err := client.Cancel(deadline(t), held, lessor.CancelOptions{Reason: words})
	must(t, err)
	equal(t, finished(t, client, held).LastFailure.Message, "lessor: the job is cancelled: "+words)
}

func TestScenario_binary_payload(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(echo))
	data := make([]byte, 1024)
	for i := range data {
		data[i] = byte(i)
	}
	sent := lessor.Payload{Data: data, ContentType: "image/x-noise", Encoding: "gzip"}
	job := finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue, Data: sent}).Name)
	for _, got := range []lessor.Payload{job.Payload, job.Result} {
		equal(t, bytes.Equal(got.Data, data), true)
		equal(t, got.ContentType, "image/x-noise")
		equal(t, got.Encoding, "gzip")
	}
}

func TestScenario_empty_payload(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		return len(job.Payload.Data), nil
	}))
	var length int
	must(t, client.Result(deadline(t), enqueue(t, client, lessor.NewJob{Queue: queue}).Name, &length))
	equal(t, length, 0)
}

func TestScenario_payload_1_mib(t *testing.T) {
	t.Parallel()
	gate := brokertest.NewGate(t, shared.Addr(), nil)
	client, queue := newClient(t, lessor.ClientOptions{Address: gate.URL()}), newQueue()
	work(t, client, on(queue), anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		return len(job.Payload.Data), nil
	}))
	var length int
	most := enqueue(t, client, lessor.NewJob{Queue: queue, Data: make([]byte, mib)})
	must(t, client.Result(deadline(t), most.Name, &length))
	equal(t, length, mib)
	calls := gate.Calls("Enqueue")
	_, err := client.Enqueue(deadline(t), lessor.NewJob{Queue: queue, Data: make([]byte, mib+1)})
	equal(t, fault(t, err, lessor.ErrPayloadTooLarge).Metadata["limitBytes"], fmt.Sprint(mib))
	equal(t, gate.Calls("Enqueue"), calls+1)
}

func TestScenario_invalid_field_is_named(t *testing.T) {
	t.Parallel()
	gate := brokertest.NewGate(t, shared.Addr(), nil)
	client := newClient(t, lessor.ClientOptions{Address: gate.URL()})
	_, err := client.Enqueue(deadline(t), lessor.NewJob{Queue: "no spaces here", Priority: 5000})
	told := fault(t, err, lessor.ErrInvalidArgument)
	equal(t, told.Reason, "INVALID_FIELD")
	var fields []string
	for _, one := range told.Violations {
		fields = append(fields, one.Field)
	}
	slices.Sort(fields)
	equal(t, strings.Join(fields, " "), "priority queue")
	equal(t, gate.Calls("Enqueue"), 1)
}

func TestScenario_request_id_makes_one_job(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	job := lessor.NewJob{Queue: queue, Data: 1, RequestID: "4b3c2a10-0000-4000-8000-00000000beef"}
	first, again := enqueue(t, client, job), enqueue(t, client, job)
	equal(t, first.Outcome, lessor.Created)
	equal(t, again.Outcome, lessor.Replayed)
	equal(t, again.Name, first.Name)
}

func TestScenario_enqueue_answer_lost(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	lossy := newClient(t, lessor.ClientOptions{Address: proxy.URL()})
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	created := make(chan *lessor.Event, 8)
	ctx := deadline(t)
	enqueue(t, lossy, lessor.NewJob{Queue: queue, Data: "the connection is open"})
	go watchInto(ctx, client, lessor.WatchOptions{
		Queues: []string{queue}, Oldest: true, Types: []lessor.EventType{lessor.EventJobCreated},
	}, created)
	receive(t, created)
	proxy.LoseAnswers()
	answer := make(chan *lessor.Enqueued, 1)
	go func() {
		enqueued, err := lossy.Enqueue(ctx, lessor.NewJob{Queue: queue, Data: "once"})
		if err != nil {
			t.Error(err)
		}
		answer <- enqueued
	}()
	made := receive(t, created)
	proxy.Cut()
	enqueued := receive(t, answer)
	equal(t, enqueued.Outcome, lessor.Replayed)
	equal(t, enqueued.Name, made.Job)
}

// watchInto hands on what a watch tells.
func watchInto(ctx context.Context, client *lessor.Client, options lessor.WatchOptions, into chan<- *lessor.Event) {
	for event, err := range client.Watch(ctx, options) {
		if err != nil {
			return
		}
		select {
		case into <- event:
		case <-ctx.Done():
			return
		}
	}
}

func TestScenario_chosen_job_id(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	job := enqueue(t, client, lessor.NewJob{Queue: queue, ID: "order-17"})
	equal(t, job.Name, "queues/"+queue+"/jobs/order-17")
	equal(t, job.ID, "order-17")
	equal(t, job.Queue, queue)
	_, err := client.Enqueue(deadline(t), lessor.NewJob{Queue: queue, ID: "order-17"})
	told := fault(t, err, lessor.ErrAlreadyExists)
	equal(t, told.Reason, "JOB_EXISTS")
	equal(t, told.Metadata["state"], "READY")
}

func TestScenario_dedup_key(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	same := &lessor.Dedup{Key: "same"}
	first := enqueue(t, client, lessor.NewJob{Queue: queue, Data: 1, Dedup: same})
	again := enqueue(t, client, lessor.NewJob{Queue: queue, Data: 2, Dedup: same})
	equal(t, again.Name, first.Name)
	equal(t, again.Outcome, lessor.Deduplicated)
	_, err := client.Enqueue(deadline(t), lessor.NewJob{
		Queue: queue, Dedup: &lessor.Dedup{Key: "same", OnDuplicate: lessor.Refuse},
	})
	equal(t, fault(t, err, lessor.ErrAlreadyExists).Reason, "DUPLICATE")
}

func TestScenario_delay(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, client, on(queue), anyType(echo))
	later := enqueue(t, client, lessor.NewJob{Queue: queue, Delay: time.Second})
	equal(t, later.State, lessor.StateScheduled)
	finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	job := finished(t, client, later.Name)
	if waited := job.StartTime.Sub(job.CreateTime); waited < time.Second {
		t.Fatalf("it ran after %v", waited)
	}
}

func TestScenario_priority(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	priorities := []int{0, 5, -3, 1000, -1000}
	for _, priority := range priorities {
		enqueue(t, client, lessor.NewJob{Queue: queue, Priority: priority})
	}
	order := make(chan int, len(priorities))
	options := on(queue)
	options.Concurrency = 1
	work(t, client, options, anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		order <- job.Priority
		return nil, nil
	}))
	for _, want := range []int{1000, 5, 0, -3, -1000} {
		equal(t, receive(t, order), want)
	}
}

func TestScenario_concurrent_enqueues_join(t *testing.T) {
	t.Parallel()
	const count = 300
	gate := brokertest.NewGate(t, shared.Addr(), nil)
	client, queue := newClient(t, lessor.ClientOptions{Address: gate.URL()}), newQueue()
	made := make([]*lessor.Enqueued, count)
	var all sync.WaitGroup
	for i := range count {
		all.Go(func() {
			var err error
			if made[i], err = client.Enqueue(t.Context(), lessor.NewJob{Queue: queue, Data: i}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if calls := gate.Calls("Enqueue") + gate.Calls("BatchEnqueue"); calls > count/4 {
		t.Errorf("%d calls for %d jobs", calls, count)
	}
	for _, i := range []int{0, 1, count / 2, count - 1} {
		job, err := client.Get(deadline(t), made[i].Name)
		must(t, err)
		equal(t, string(job.Payload.Data), fmt.Sprint(i))
	}
}

func TestScenario_batch_with_one_bad_item(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	results, err := client.EnqueueEach(deadline(t), []lessor.NewJob{
		{Queue: queue, Data: 1}, {Queue: queue, Priority: 5000}, {Queue: queue + "-other", Data: 3},
	})
	must(t, err)
	equal(t, fault(t, results[1].Err, lessor.ErrInvalidArgument).Violations[0].Field, "priority")
	for _, i := range []int{0, 2} {
		must(t, results[i].Err)
		job, err := client.Get(deadline(t), results[i].Name)
		must(t, err)
		equal(t, string(job.Payload.Data), fmt.Sprint(i+1))
	}
}

func TestScenario_batch_all_or_nothing(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	_, err := client.EnqueueBatch(deadline(t), []lessor.NewJob{{Queue: queue, ID: "one"}, {Queue: queue, Priority: 5000}})
	equal(t, strings.Contains(fault(t, err, lessor.ErrInvalidArgument).Message, "requests[1]"), true)
	_, err = client.Get(deadline(t), "queues/"+queue+"/jobs/one")
	fault(t, err, lessor.ErrNotFound)
	made, err := client.EnqueueBatch(deadline(t), []lessor.NewJob{{Queue: queue, Data: 1}, {Queue: queue, Data: 2}})
	must(t, err)
	equal(t, len(made), 2)
	equal(t, made[1].Outcome, lessor.Created)
}

func TestScenario_wait_for_result(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue, Data: "x"}).Name
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	job, err := client.Wait(short, name)
	equal(t, errors.Is(err, lessor.ErrNotFinished), true)
	equal(t, errors.Is(err, context.DeadlineExceeded), true)
	// A slow answer may be overtaken by the deadline.
	if job != nil {
		equal(t, job.State, lessor.StateReady)
	}
	work(t, client, on(queue), map[string]lessor.Handler{
		"": echo,
		"bad": func(context.Context, *lessor.Job) (any, error) {
			return nil, lessor.Reject(errors.New("no"))
		},
	})
	var result string
	must(t, client.Result(deadline(t), name, &result))
	equal(t, result, "x")
	bad := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "bad"}).Name
	var failed *lessor.JobFailedError
	equal(t, errors.As(client.Result(deadline(t), bad, &result), &failed), true)
	equal(t, failed.State, lessor.StateDead)
	equal(t, failed.Failure.Message, "no")
}

func TestScenario_job_not_found(t *testing.T) {
	t.Parallel()
	client := newClient(t, lessor.ClientOptions{})
	name := "queues/" + newQueue() + "/jobs/nobody"
	_, got := client.Get(deadline(t), name)
	_, waited := client.Wait(deadline(t), name)
	_, cancelled := client.Cancel(deadline(t), name, lessor.CancelOptions{})
	for _, err := range []error{got, waited, cancelled} {
		equal(t, fault(t, err, lessor.ErrNotFound).Reason, "JOB_NOT_FOUND")
	}
}

func TestScenario_cancel_pending(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	job, err := client.Cancel(deadline(t), name, lessor.CancelOptions{Reason: "not needed"})
	must(t, err)
	equal(t, job.State, lessor.StateCancelled)
	work(t, client, on(queue), anyType(echo))
	finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	job, err = client.Get(deadline(t), name)
	must(t, err)
	equal(t, job.DeliveryCount, 0)
}

func TestScenario_watch_one_job(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue, Data: "x"}).Name
	var seen []string
	var result string
	for event, err := range client.Watch(deadline(t), lessor.WatchOptions{Job: name, IncludeResult: true}) {
		must(t, err)
		if len(seen) == 0 {
			equal(t, event.Reason, "PRESENT_STATE")
			equal(t, event.To, lessor.StateReady)
			work(t, client, on(queue), anyType(echo))
		}
		seen = append(seen, event.Type.String())
		if event.Type == lessor.EventJobSucceeded {
			must(t, event.Result.Decode(&result))
		}
	}
	equal(t, strings.Join(seen[1:], " "), "JOB_LEASED JOB_SUCCEEDED")
	equal(t, result, "x")
}

func TestScenario_watch_resumes(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	lossy := newClient(t, lessor.ClientOptions{Address: proxy.URL()})
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	var made, told []string
	for i := range 5 {
		made = append(made, enqueue(t, client, lessor.NewJob{Queue: queue, Data: i}).Name)
	}
	ids := make(map[string]bool)
	count := 0
	for event, err := range lossy.Watch(deadline(t), lessor.WatchOptions{Queues: []string{queue}, Oldest: true}) {
		must(t, err)
		if event.Type == lessor.EventJobCreated {
			told = append(told, event.Job)
		}
		ids[event.ID] = true
		if count++; count == 3 {
			proxy.Cut()
			for i := range 5 {
				made = append(made, enqueue(t, client, lessor.NewJob{Queue: queue, Data: i}).Name)
			}
		}
		if count == 20 {
			break
		}
	}
	equal(t, slices.Equal(told, made), true)
	equal(t, len(ids), 20)
	equal(t, proxy.Opened(), 2)
}
