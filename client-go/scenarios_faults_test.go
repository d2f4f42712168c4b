package lessor_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/internal/brokertest"
	"github.com/lessor/lessor/client-go/lessorpb"
)

// byFirstAttempt waits for the end of a job that was leased once.
func byFirstAttempt(t *testing.T, client *lessor.Client, name string) {
	t.Helper()
	job := finished(t, client, name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 1)
	equal(t, job.DeliveryCount, 1)
}

// short is a worker with the shortest leases.
func short(queue string) lessor.WorkerOptions {
	return lessor.WorkerOptions{Queues: []string{queue}, LeaseDuration: lease}
}

// ownBroker is one that a test may end.
func ownBroker(t *testing.T) *brokertest.Broker {
	t.Helper()
	return brokertest.Start(t, "--store", "sqlite:"+filepath.Join(t.TempDir(), "jobs.db"))
}

func TestScenario_process_killed(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	victim := start(t, "hold", queue)
	victim.says("holding")
	victim.send(syscall.SIGKILL)
	victim.ends()
	work(t, client, on(queue), anyType(echo))
	job := finished(t, client, name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 2)
}

func TestScenario_process_frozen(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	frozen := start(t, "pause", queue)
	frozen.says("holding")
	frozen.send(syscall.SIGSTOP)
	work(t, client, on(queue), anyType(func(context.Context, *lessor.Job) (any, error) {
		return "the rescuer", nil
	}))
	var result string
	must(t, client.Result(deadline(t), name, &result))
	frozen.send(syscall.SIGCONT)
	frozen.says("told true")
	frozen.send(syscall.SIGTERM)
	equal(t, frozen.ends(), "exit status 0")
	must(t, client.Result(deadline(t), name, &result))
	equal(t, result, "the rescuer")
}

func TestScenario_poison_job(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	name := enqueue(t, client, lessor.NewJob{Queue: queue, Retry: &lessor.RetryPolicy{MaxAttempts: 9}}).Name
	for range 3 {
		equal(t, start(t, "poison", queue).ends(), "signal: killed")
	}
	job := finished(t, client, name)
	equal(t, job.State, lessor.StateDead)
	equal(t, job.Attempt, 3)
	equal(t, job.LastFailure.Code, "CRASH_LOOP")
}

func TestScenario_connection_lost_mid_job(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	held := newHolding()
	work(t, newClient(t, lessor.ClientOptions{Address: proxy.URL()}), short(queue), anyType(held.handle))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, held.began)
	proxy.Cut()
	eventually(t, "connected again", func() bool { return proxy.Opened() == 2 })
	close(held.goOn)
	byFirstAttempt(t, client, name)
}

func TestScenario_reconnect_keeps_leases(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	held := newHolding()
	work(t, newClient(t, lessor.ClientOptions{Address: proxy.URL()}), short(queue), anyType(held.handle))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, held.began)
	begun := time.Now()
	proxy.Cut()
	eventually(t, "leases go on", func() bool {
		job, err := client.Get(deadline(t), name)
		must(t, err)
		equal(t, job.DeliveryCount, 1)
		return proxy.Opened() == 2 && time.Since(begun) > 3*lease
	})
	close(held.goOn)
	byFirstAttempt(t, client, name)
}

func TestScenario_ack_answer_lost(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	held := newHolding()
	worker := work(t, newClient(t, lessor.ClientOptions{Address: proxy.URL()}), short(queue), anyType(held.handle))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, held.began)
	proxy.LoseAnswers()
	close(held.goOn)
	until(t, client, name, lessor.EventJobSucceeded)
	proxy.Cut()
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	byFirstAttempt(t, client, name)
	eventually(t, "idle", func() bool { return worker.Busy() == 0 })
	worker.end()
}

func TestScenario_broker_restart_mid_job(t *testing.T) {
	t.Parallel()
	broker := ownBroker(t)
	client, queue := newClient(t, lessor.ClientOptions{Address: broker.URL()}), newQueue()
	held := newHolding()
	options := on(queue)
	options.LeaseDuration = 20 * time.Second
	work(t, client, options, anyType(held.handle))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, held.began)
	broker.Kill()
	broker.Resume()
	close(held.goOn)
	byFirstAttempt(t, client, name)
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
}

// As long as it takes until the lease has been ended, not 30 s: what is promised is the same.
func TestScenario_broker_gone_30_s(t *testing.T) {
	t.Parallel()
	broker := ownBroker(t)
	client, queue := newClient(t, lessor.ClientOptions{Address: broker.URL()}), newQueue()
	told, began := make(chan error, 1), make(chan struct{})
	worker := work(t, client, short(queue), anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		if job.DeliveryCount > 1 || job.Type == "after" {
			return nil, nil
		}
		if err := job.Checkpoint(ctx, "held"); err != nil {
			return nil, err
		}
		close(began)
		return "too late", stopped(ctx, told)
	}))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	receive(t, began)
	broker.Kill()
	eventually(t, "not connected", func() bool { return !worker.IsConnected() })
	// A broker may keep an overdue lease that nobody has ended yet for the worker that shows it.
	elsewhere := broker.Beside()
	beside := newClient(t, lessor.ClientOptions{Address: elsewhere.URL()})
	_, err := beside.Wait(deadline(t), name, lessor.StateRetrying, lessor.StateReady)
	must(t, err)
	elsewhere.Stop()
	broker.Resume()
	job := finished(t, client, name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.DeliveryCount, 2)
	equal(t, errors.Is(receive(t, told), lessor.ErrLeaseLost), true)
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue, Type: "after"}).Name)
}

func TestScenario_silent_broker_is_given_up(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	work(t, newClient(t, lessor.ClientOptions{Address: proxy.URL()}), short(queue), anyType(echo))
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	// The connection stays open, but nothing comes back on it.
	proxy.Freeze()
	// It may have been sent on the old one, where it was not received.
	job := finished(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	equal(t, job.State, lessor.StateSucceeded)
	equal(t, job.Attempt, 1)
	equal(t, proxy.Opened() >= 2, true)
}

func TestScenario_broker_absent_at_start(t *testing.T) {
	t.Parallel()
	broker := ownBroker(t)
	broker.Stop()
	client, queue := newClient(t, lessor.ClientOptions{Address: broker.URL()}), newQueue()
	worker := work(t, client, on(queue), anyType(echo))
	equal(t, worker.IsConnected(), false)
	broker.Resume()
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
}

// The broker's times are shifted on their way, which is what a worker sees whose own clock is wrong.
func TestScenario_clock_off_by_an_hour(t *testing.T) {
	t.Parallel()
	var shifts atomic.Int64
	wrong := grpc.WithChainStreamInterceptor(func(
		ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
		streamer grpc.Streamer, opts ...grpc.CallOption,
	) (grpc.ClientStream, error) {
		stream, err := streamer(ctx, desc, conn, method, opts...)
		return &shifted{stream, &shifts}, err
	})
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	worker := newClient(t, lessor.ClientOptions{DialOptions: []grpc.DialOption{wrong}})
	work(t, worker, short(queue), anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		if off := time.Until(job.CreateTime).Abs(); off < 50*time.Minute {
			return nil, fmt.Errorf("off by %v only", off)
		}
		select {
		case <-time.After(5 * lease / 2):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}))
	// One finds the clock behind, the other finds it ahead: in between it has jumped.
	var names []string
	for range 2 {
		job := lessor.NewJob{Queue: queue, AttemptTimeout: 20 * time.Second}
		names = append(names, enqueue(t, client, job).Name)
	}
	for _, name := range names {
		byFirstAttempt(t, client, name)
	}
	equal(t, shifts.Load(), 2)
}

// shifted moves the times of deliveries by an hour, ahead and behind by turns.
type shifted struct {
	grpc.ClientStream
	shifts *atomic.Int64
}

func (s *shifted) RecvMsg(into any) error {
	err := s.ClientStream.RecvMsg(into)
	reply, ok := into.(*lessorpb.WorkResponse)
	if err != nil || !ok || reply.GetDelivery() == nil {
		return err
	}
	off := time.Hour
	if s.shifts.Add(1)%2 == 0 {
		off = -off
	}
	leased := reply.GetDelivery().GetLeased()
	job := leased.GetJob()
	for _, moment := range []*timestamppb.Timestamp{
		leased.GetLeaseExpireTime(), job.GetCreateTime(), job.GetStartTime(), job.GetLeaseExpireTime(),
	} {
		if moment != nil {
			moment.Seconds += int64(off.Seconds())
		}
	}
	return nil
}

func TestScenario_two_workers_same_id(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	var mu sync.Mutex
	var runs []string
	run := anyType(func(ctx context.Context, job *lessor.Job) (any, error) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		runs = append(runs, job.Name)
		return nil, nil
	})
	options := on(queue)
	options.ID, options.Concurrency = queue+"-twin", 2
	jobs := make([]lessor.NewJob, 20)
	for i := range jobs {
		jobs[i].Queue = queue
	}
	first, err := client.EnqueueBatch(deadline(t), jobs)
	must(t, err)
	work(t, client, options, run)
	reached(t, client, first[0].Name, lessor.StateSucceeded)
	work(t, client, options, run)
	second, err := client.EnqueueBatch(deadline(t), jobs)
	must(t, err)
	var names []string
	for _, one := range append(first, second...) {
		job := finished(t, client, one.Name)
		equal(t, job.State, lessor.StateSucceeded)
		equal(t, job.Attempt, 1)
		names = append(names, job.Name)
	}
	mu.Lock()
	defer mu.Unlock()
	// One that was sent to the first worker, and whose receipt the second one cut off, went back: it may
	// have run there, but counts once.
	slices.Sort(names)
	slices.Sort(runs)
	equal(t, slices.Equal(slices.Compact(runs), names), true)
	equal(t, len(runs) < len(names)+2*options.Concurrency, true)
}

func TestScenario_fallback_to_lease(t *testing.T) {
	t.Parallel()
	gate := brokertest.NewGate(t, shared.Addr(), func(method string, _ metadata.MD) error {
		if method == lessorpb.JobBroker_Work_FullMethodName {
			return status.Error(codes.Unimplemented, "an old broker")
		}
		return nil
	})
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	told := make(chan error, 1)
	worker := work(t, newClient(t, lessor.ClientOptions{Address: gate.URL()}), short(queue), map[string]lessor.Handler{
		"long": func(ctx context.Context, job *lessor.Job) (any, error) {
			job.Progress(lessor.Progress{Percent: 50})
			select {
			case <-time.After(5 * lease / 2):
				return nil, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		"cancelled": func(ctx context.Context, _ *lessor.Job) (any, error) { return nil, stopped(ctx, told) },
		"fails":     func(context.Context, *lessor.Job) (any, error) { return nil, errors.New("no") },
	})
	long := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "long"}).Name
	doomed := enqueue(t, client, lessor.NewJob{Queue: queue, Type: "cancelled"}).Name
	fails := enqueue(t, client, lessor.NewJob{
		Queue: queue, Type: "fails", Retry: &lessor.RetryPolicy{MaxAttempts: 1},
	}).Name
	reached(t, client, doomed, lessor.StateLeased)
	_, err := client.Cancel(deadline(t), doomed, lessor.CancelOptions{Reason: "enough", Grace: time.Minute})
	must(t, err)
	equal(t, finished(t, client, doomed).State, lessor.StateCancelled)
	equal(t, receive(t, told).Error(), "lessor: the job is cancelled: enough")
	equal(t, finished(t, client, fails).State, lessor.StateDead)
	byFirstAttempt(t, client, long)
	equal(t, finished(t, client, long).LastProgress.Percent, 50)
	equal(t, gate.Calls("Work"), 1)
	worker.end()
}

func TestScenario_deadline_is_always_set(t *testing.T) {
	t.Parallel()
	client := newClient(t, lessor.ClientOptions{Address: brokertest.Mute(t), Timeout: 300 * time.Millisecond})
	// No context of a caller's with a deadline of its own.
	ctx := t.Context()
	var all sync.WaitGroup
	for name, call := range map[string]func() error{
		"enqueue": func() error { _, err := client.Enqueue(ctx, lessor.NewJob{Queue: "q"}); return err },
		"batch":   func() error { _, err := client.EnqueueBatch(ctx, []lessor.NewJob{{Queue: "q"}}); return err },
		"get":     func() error { _, err := client.Get(ctx, "queues/q/jobs/j"); return err },
		"cancel": func() error {
			_, err := client.Cancel(ctx, "queues/q/jobs/j", lessor.CancelOptions{})
			return err
		},
		"admin": func() error {
			_, err := lessorpb.NewJobBrokerAdminClient(client.Conn()).GetQueue(ctx, &lessorpb.GetQueueRequest{Name: "q"})
			return err
		},
	} {
		all.Go(func() {
			if err := call(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
}

func TestScenario_unavailable_is_retried(t *testing.T) {
	t.Parallel()
	broker := ownBroker(t)
	client, queue := newClient(t, lessor.ClientOptions{Address: broker.URL()}), newQueue()
	hasty := newClient(t, lessor.ClientOptions{Address: broker.URL(), Timeout: 400 * time.Millisecond})
	broker.Stop()
	_, err := hasty.Enqueue(t.Context(), lessor.NewJob{Queue: queue})
	fault(t, err, lessor.ErrUnavailable)
	answer := make(chan error, 1)
	go func() {
		_, err := client.Enqueue(t.Context(), lessor.NewJob{Queue: queue})
		answer <- err
	}()
	broker.Resume()
	must(t, receive(t, answer))
}

func TestScenario_retry_after_is_honoured(t *testing.T) {
	t.Parallel()
	client, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	admin := lessorpb.NewJobBrokerAdminClient(client.Conn())
	_, err := admin.UpdateQueue(deadline(t), &lessorpb.UpdateQueueRequest{
		Queue:      &lessorpb.Queue{Name: queue, MaxJobs: 1},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"max_jobs"}},
	})
	must(t, err)
	enqueue(t, client, lessor.NewJob{Queue: queue})
	_, err = client.Enqueue(deadline(t), lessor.NewJob{Queue: queue})
	full := fault(t, err, lessor.ErrQueueFull)
	equal(t, errors.Is(err, lessor.ErrResourceExhausted), true)
	equal(t, full.RetryAfter, time.Second)

	const pause = 400 * time.Millisecond
	gate := brokertest.NewGate(t, shared.Addr(), func(string, metadata.MD) error {
		busy, err := status.New(codes.Unavailable, "busy").WithDetails(
			&errdetails.RetryInfo{RetryDelay: durationpb.New(pause)})
		if err != nil {
			return err
		}
		return busy.Err()
	})
	begun := time.Now()
	_, err = newClient(t, lessor.ClientOptions{Address: gate.URL()}).Get(deadline(t), "queues/q/jobs/j")
	equal(t, fault(t, err, lessor.ErrUnavailable).RetryAfter, pause)
	equal(t, gate.Calls("GetJob"), 4)
	if took := time.Since(begun); took < 3*pause {
		t.Fatalf("tried again too soon: %v", took)
	}
}
