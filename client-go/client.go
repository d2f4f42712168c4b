package lessor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// oneWait is how long one call waits for a job; the broker allows 60 s.
const oneWait = 30 * time.Second

// lastLook is how long before a deadline the broker no longer waits.
const lastLook = 300 * time.Millisecond

// ClientOptions say how a broker is reached. The zero value reaches the one of this machine.
type ClientOptions struct {
	// Address is http://host:7077, https://host:7077 (TLS), or dns:///host:7077, which shares calls out
	// over all addresses of the name. Default: LESSOR_SERVER, else http://127.0.0.1:7077.
	Address string
	// Token is the bearer token.
	Token string
	// TokenSource is asked for the token of each call, instead of Token.
	TokenSource func(context.Context) (string, error)
	// TLS asks for TLS, with this configuration.
	TLS *tls.Config
	// Timeout is how long a call takes at most, its repeats included, if its context has no deadline.
	// Default 10 s.
	Timeout time.Duration
	// Logger takes what there is to say. Default: [slog.Default].
	Logger *slog.Logger
	// TracerProvider makes the spans. Default: the global one of OpenTelemetry.
	TracerProvider trace.TracerProvider
	// DialOptions are further options of gRPC's.
	DialOptions []grpc.DialOption
}

// Client is a producer's connection to the broker, opened by the first call. It is safe for
// concurrent use, and meant to be shared.
type Client struct {
	options ClientOptions
	link    *link
	conn    *grpc.ClientConn
	caller  *caller
	broker  lessorpb.JobBrokerClient
	joiner  *joiner
	tracing tracing
	closed  atomic.Bool
}

// NewClient makes a client. It fails where the options are wrong, not where the broker is away.
func NewClient(options ClientOptions) (*Client, error) {
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	how, err := newLink(options)
	if err != nil {
		return nil, err
	}
	conn, err := how.dial()
	if err != nil {
		return nil, err
	}
	client := &Client{options: options, link: how, conn: conn, tracing: newTracing(options.TracerProvider)}
	client.caller = client.callerOver(conn)
	client.broker = lessorpb.NewJobBrokerClient(client.caller)
	client.joiner = newJoiner(conn, how.address.written, options.Timeout)
	return client, nil
}

func (c *Client) callerOver(conn *grpc.ClientConn) *caller {
	return &caller{ClientConnInterface: conn, address: c.link.address.written, timeout: c.options.Timeout}
}

// Close ends the connection. Calls that are under way fail.
func (c *Client) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	c.joiner.close()
	return c.conn.Close()
}

// Conn makes calls of the protocol for which there is no method here, with deadlines, repeats and
// errors as usual:
//
//	admin := lessorpb.NewJobBrokerAdminClient(client.Conn())
func (c *Client) Conn() grpc.ClientConnInterface { return c.caller }

// Enqueue hands one job to the broker. Concurrent calls share calls to the broker; a lone one is not
// delayed.
func (c *Client) Enqueue(ctx context.Context, job NewJob) (*Enqueued, error) {
	request, err := job.request()
	if err != nil {
		return nil, err
	}
	ctx, span := c.tracing.send(ctx, &job)
	reply, err := c.enqueue(ctx, request, carried(ctx, job.TraceContext))
	err = c.fault(err)
	span.end(err)
	if err != nil {
		return nil, err
	}
	return enqueuedOf(reply), nil
}

// enqueue lets a job ride with others. A trace context travels with the call, so its job travels
// alone.
func (c *Client) enqueue(
	ctx context.Context, request *lessorpb.EnqueueRequest, carried map[string]string,
) (*lessorpb.EnqueueResponse, error) {
	if len(carried) == 0 {
		ctx, cancel := withTimeout(ctx, c.options.Timeout)
		defer cancel()
		return c.joiner.enqueue(ctx, request)
	}
	if request.GetRequestId() == "" {
		request.RequestId = uuid.NewString()
	}
	return c.broker.Enqueue(withMetadata(ctx, carried), request)
}

// EnqueueBatch hands jobs of one queue to the broker, all of them or none: at most 1000, and 3 MiB.
func (c *Client) EnqueueBatch(ctx context.Context, jobs []NewJob) ([]Enqueued, error) {
	results, err := c.batch(ctx, jobs, false)
	if err != nil {
		return nil, err
	}
	enqueued := make([]Enqueued, 0, len(results))
	for _, result := range results {
		enqueued = append(enqueued, *enqueuedOf(result.GetResponse()))
	}
	return enqueued, nil
}

// EnqueueResult is what became of one job of many: the job, or why it was refused.
type EnqueueResult struct {
	Enqueued
	Err error
}

// EnqueueEach hands jobs of any queues to the broker, each of which may be refused alone.
func (c *Client) EnqueueEach(ctx context.Context, jobs []NewJob) ([]EnqueueResult, error) {
	results, err := c.batch(ctx, jobs, true)
	if err != nil {
		return nil, err
	}
	each := make([]EnqueueResult, 0, len(results))
	for _, result := range results {
		if told := result.GetStatus(); told != nil {
			each = append(each, EnqueueResult{Err: errorOfStatus(status.FromProto(told))})
			continue
		}
		each = append(each, EnqueueResult{Enqueued: *enqueuedOf(result.GetResponse())})
	}
	return each, nil
}

func (c *Client) batch(
	ctx context.Context, jobs []NewJob, partial bool,
) ([]*lessorpb.BatchEnqueueResponse_Result, error) {
	requests := make([]*lessorpb.EnqueueRequest, 0, len(jobs))
	for i := range jobs {
		request, err := jobs[i].request()
		if err != nil {
			return nil, fmt.Errorf("jobs[%d]: %w", i, err)
		}
		requests = append(requests, request)
	}
	ctx, span := c.tracing.sendMany(ctx, jobs)
	reply, err := c.broker.BatchEnqueue(withMetadata(ctx, carried(ctx, nil)), together(requests, partial))
	if err == nil && len(reply.GetResults()) != len(jobs) {
		err = &Error{Code: codes.Internal, Message: "the broker answered another number of jobs"}
	}
	err = c.fault(err)
	span.end(err)
	return reply.GetResults(), err
}

// Get reads one job, with its payload, result and latest attempts.
func (c *Client) Get(ctx context.Context, name string) (*JobInfo, error) {
	reply, err := c.broker.GetJob(ctx, &lessorpb.GetJobRequest{Name: name})
	if err != nil {
		return nil, c.fault(err)
	}
	info := jobInfoOf(reply)
	return &info, nil
}

// Wait waits until a job has ended, however it ended, or is in one of the given states. When the
// context ends first, the job as it was seen last, if it was, comes with an error that is
// [ErrNotFinished] and that of the context.
func (c *Client) Wait(ctx context.Context, name string, until ...State) (*JobInfo, error) {
	states := make([]lessorpb.Job_State, 0, len(until))
	for _, state := range until {
		states = append(states, lessorpb.Job_State(state))
	}
	var last *JobInfo
	for {
		reply, err := c.waitOnce(ctx, name, states)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) && !affordable(ctx, lastLook) {
				return last, fmt.Errorf("%w: %s: %w", ErrNotFinished, name, err)
			}
			return last, c.fault(err)
		}
		info := jobInfoOf(reply.GetJob())
		last = &info
		if reply.GetReached() || last.State.IsFinal() {
			return last, nil
		}
		// The broker answers before the deadline: what is left is waited out here.
		if !affordable(ctx, lastLook) {
			sleep(ctx, lastLook/10)
		}
	}
}

// waitOnce is one long poll. Its deadline is the wait and the time of a usual call.
func (c *Client) waitOnce(
	ctx context.Context, name string, states []lessorpb.Job_State,
) (*lessorpb.WaitJobResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, oneWait+c.options.Timeout)
	defer cancel()
	return c.broker.WaitJob(ctx, &lessorpb.WaitJobRequest{Name: name, Wait: spanOf(oneWait), Until: states})
}

// Result waits for the result of a job and reads it, as JSON, into what v points to. It fails with a
// [*JobFailedError] when the job ends without one.
func (c *Client) Result(ctx context.Context, name string, v any) error {
	job, err := c.Wait(ctx, name)
	if err != nil {
		return err
	}
	if job.State != StateSucceeded {
		return &JobFailedError{Job: job.Name, State: job.State, Failure: job.LastFailure}
	}
	return job.Result.Decode(v)
}

// CancelOptions say how to cancel a job.
type CancelOptions struct {
	// Reason is why, for the worker and the event.
	Reason string
	// Grace is how long the worker of a leased job has. Default 30 s; [None] gives it none.
	Grace time.Duration
	// ETag: only if the job has not changed since it was read.
	ETag string
}

// Cancel calls a job off: one that waits at once, one that runs through its worker.
func (c *Client) Cancel(ctx context.Context, name string, options CancelOptions) (*JobInfo, error) {
	reply, err := c.broker.CancelJob(ctx, &lessorpb.CancelJobRequest{
		Name: name, Reason: options.Reason, Grace: spanOf(options.Grace), Etag: options.ETag,
	})
	if err != nil {
		return nil, c.fault(err)
	}
	info := jobInfoOf(reply)
	return &info, nil
}

// fault is the error of a call as this client tells it.
func (c *Client) fault(err error) error {
	if err != nil && c.closed.Load() && !errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	return err
}

func enqueuedOf(reply *lessorpb.EnqueueResponse) *Enqueued {
	return &Enqueued{JobInfo: jobInfoOf(reply.GetJob()), Outcome: Outcome(reply.GetOutcome())}
}
