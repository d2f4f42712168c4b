package lessor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	defaultConcurrency = 10
	defaultGrace       = 30 * time.Second
	defaultStopGrace   = 10 * time.Second
	// AnyType is the type of a handler that takes the jobs for which there is no other one.
	AnyType = "*"
)

// Order is how a worker chooses between its queues.
type Order int32

// The orders of queues.
const (
	// Fair, the default: they take turns.
	Fair = Order(lessorpb.Order_ORDER_UNSPECIFIED)
	// Strict: a later queue is served when all earlier ones are empty.
	Strict = Order(lessorpb.Order_ORDER_STRICT)
	// Weighted: in proportion to [WorkerOptions.Weights].
	Weighted = Order(lessorpb.Order_ORDER_WEIGHTED)
)

// WorkerOptions say what a worker takes. Queues is required.
type WorkerOptions struct {
	// Queues are names, prefixes such as mail-*, or * for all.
	Queues []string
	// Types: only jobs of these.
	Types []string
	// KnownTypes: only jobs of types that the worker has handlers for, instead of Types.
	KnownTypes bool
	// Concurrency is how many jobs run at once. Default 10.
	Concurrency int
	// ID is unique per start of the process. Default: the host's name and a random UUID.
	ID string
	// DisplayName and Labels are what operators see of the worker.
	DisplayName string
	Labels      map[string]string
	// Order says how to choose between the queues; Weights is for [Weighted].
	Order   Order
	Weights map[string]int
	// LeaseDuration is how long the worker may be silent before its jobs go to others. Default: that
	// of the job.
	LeaseDuration time.Duration
	// Grace is how long a stopping worker lets its handlers finish. Default 30 s; [None] gives none.
	Grace time.Duration
	// StopGrace is how long a handler that was told to stop keeps its place. Default 10 s.
	StopGrace time.Duration
	// WithoutStream leases by calls, also where the broker has work streams.
	WithoutStream bool
}

// Worker runs jobs. Register handlers with Handle, then call Run.
type Worker struct {
	client  *Client
	options WorkerOptions
	drained chan struct{}
	drain   func()

	mu       sync.Mutex
	handlers map[string]Handler
	faults   []error
	shift    atomic.Pointer[shift]
}

// NewWorker makes a worker that reaches the broker as the client does, over connections of its own.
func NewWorker(client *Client, options WorkerOptions) (*Worker, error) {
	if client == nil {
		return nil, errors.New("lessor: a worker needs a client")
	}
	if len(options.Queues) == 0 {
		return nil, errors.New("lessor: WorkerOptions.Queues: at least one is needed")
	}
	if options.Concurrency == 0 {
		options.Concurrency = defaultConcurrency
	}
	if options.Concurrency < 0 {
		return nil, errors.New("lessor: WorkerOptions.Concurrency: it can't be negative")
	}
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}
	if options.StopGrace == 0 {
		options.StopGrace = defaultStopGrace
	}
	if options.ID == "" {
		options.ID = newWorkerID()
	}
	drained := make(chan struct{})
	return &Worker{
		client:   client,
		options:  options,
		drained:  drained,
		drain:    sync.OnceFunc(func() { close(drained) }),
		handlers: make(map[string]Handler),
	}, nil
}

func newWorkerID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host = strings.Map(func(letter rune) rune {
		if letter <= ' ' || letter > '~' {
			return '-'
		}
		return letter
	}, host)
	return host[:min(len(host), 60)] + "-" + uuid.NewString()
}

// Handle makes a function the handler of a type of jobs; [AnyType] takes those that have none. A
// second handler of one type is an error that Run returns.
func (w *Worker) Handle(jobType string, handler Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case handler == nil:
		w.faults = append(w.faults, fmt.Errorf("lessor: the handler of %q is nil", jobType))
	case w.handlers[jobType] != nil:
		w.faults = append(w.faults, fmt.Errorf("lessor: %q has two handlers", jobType))
	default:
		w.handlers[jobType] = handler
	}
}

// Run works until the context ends, [Worker.Drain] is called or an operator drains the worker. Then it
// takes nothing more, lets handlers finish within the grace, gives the rest back, and returns nil. It
// waits for a broker that is away; an error says that the broker refuses the worker for good.
func (w *Worker) Run(ctx context.Context) error {
	w.mu.Lock()
	handlers, faults := maps.Clone(w.handlers), errors.Join(w.faults...)
	w.mu.Unlock()
	if faults != nil {
		return faults
	}
	run := newShift(w, handlers)
	if !w.shift.CompareAndSwap(nil, run) {
		return errors.New("lessor: the worker runs already")
	}
	defer w.shift.Store(nil)
	return run.work(ctx, w.drained)
}

// Drain takes no more jobs, and ends Run when those that run are finished. It does not wait.
func (w *Worker) Drain() { w.drain() }

// ID is the name under which the worker leases.
func (w *Worker) ID() string { return w.options.ID }

// IsConnected says whether the worker hears from a broker.
func (w *Worker) IsConnected() bool {
	run := w.shift.Load()
	return run != nil && run.connected.Load()
}

// Busy is how many jobs run.
func (w *Worker) Busy() int {
	run := w.shift.Load()
	if run == nil {
		return 0
	}
	run.ledger.mu.Lock()
	defer run.ledger.mu.Unlock()
	return run.ledger.busy
}

// Health answers 200 while the worker is connected, else 503: for the probe of its own pod.
func (w *Worker) Health() http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		connected := w.IsConnected()
		answer.Header().Set("Content-Type", "application/json")
		answer.Header().Set("Cache-Control", "no-store")
		if !connected {
			answer.WriteHeader(http.StatusServiceUnavailable)
		}
		// Whoever asked may have gone.
		_, _ = answer.Write([]byte(`{"connected":` + strconv.FormatBool(connected) +
			`,"busy":` + strconv.Itoa(w.Busy()) + "}\n"))
	})
}

// hello is what the worker says of itself.
func (w *Worker) hello(handlers map[string]Handler) (*lessorpb.WorkRequest_Hello, error) {
	concurrency, err := small("WorkerOptions.Concurrency", w.options.Concurrency)
	if err != nil {
		return nil, err
	}
	weights := make(map[string]int32, len(w.options.Weights))
	for queue, weight := range w.options.Weights {
		if weights[queue], err = small("WorkerOptions.Weights", weight); err != nil {
			return nil, err
		}
	}
	types := w.options.Types
	if w.options.KnownTypes {
		known := maps.Clone(handlers)
		delete(known, AnyType)
		types = slices.Sorted(maps.Keys(known))
	}
	hello := &lessorpb.WorkRequest_Hello{
		Worker: &lessorpb.Worker{
			WorkerId:    w.options.ID,
			DisplayName: w.options.DisplayName,
			Labels:      w.options.Labels,
			Sdk:         sdk,
			Concurrency: concurrency,
		},
		Queues:     w.options.Queues,
		Types:      types,
		Order:      lessorpb.Order(w.options.Order),
		Weights:    weights,
		AutoExtend: true,
	}
	if w.options.LeaseDuration > 0 {
		hello.LeaseDuration = durationpb.New(w.options.LeaseDuration)
	}
	return hello, nil
}
