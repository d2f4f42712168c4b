package lessor_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/internal/brokertest"
)

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// shared is a broker for tests that leave it as it was.
var shared *brokertest.Broker

func TestMain(m *testing.M) {
	if program := os.Getenv("LESSOR_TEST_PROGRAM"); program != "" {
		os.Exit(runProgram(program))
	}
	os.Exit(withShared(m))
}

func withShared(m *testing.M) int {
	host := &hostTB{}
	defer host.end()
	shared = brokertest.Start(host)
	// The examples reach it as users reach theirs.
	if err := os.Setenv("LESSOR_SERVER", shared.URL()); err != nil {
		panic(err)
	}
	return m.Run()
}

// hostTB is the test of the whole suite.
type hostTB struct {
	testing.TB
	cleanups []func()
}

func (h *hostTB) Helper()           {}
func (h *hostTB) Cleanup(f func())  { h.cleanups = append(h.cleanups, f) }
func (h *hostTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
func (h *hostTB) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

func (h *hostTB) end() {
	for _, cleanup := range h.cleanups {
		cleanup()
	}
}

var queues atomic.Int64

// newQueue is a name that nobody else uses.
func newQueue() string { return fmt.Sprintf("q%d", queues.Add(1)) }

// deadline is the context of one test.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// logs keeps what is logged.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newClient is a client of the shared broker, or of the one that the options name.
func newClient(t *testing.T, options lessor.ClientOptions) *lessor.Client {
	t.Helper()
	if options.Address == "" {
		options.Address = shared.URL()
	}
	if options.Logger == nil {
		kept := &logs{}
		options.Logger = kept.logger()
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(kept.String())
			}
		})
	}
	client, err := lessor.NewClient(options)
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// running is a worker at work.
type running struct {
	*lessor.Worker
	t     *testing.T
	stop  context.CancelFunc
	ended chan error
}

// end stops the worker, and fails if it does not end well.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	r.wait()
}

func (r *running) wait() {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		must(r.t, err)
	case <-time.After(patience):
		r.t.Fatal("the worker does not end")
	}
}

// work runs a worker until the test ends.
func work(t *testing.T, client *lessor.Client, options lessor.WorkerOptions, handlers map[string]lessor.Handler) *running {
	t.Helper()
	worker, err := lessor.NewWorker(client, options)
	must(t, err)
	for name, handler := range handlers {
		worker.Handle(name, handler)
	}
	ctx, stop := context.WithCancel(context.Background())
	one := &running{worker, t, stop, make(chan error, 1)}
	go func() { one.ended <- worker.Run(ctx) }()
	t.Cleanup(one.end)
	return one
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// receive waits for a value.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually waits for what is told by no event.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(end) {
			t.Fatal("not yet: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// enqueue makes a job.
func enqueue(t *testing.T, client *lessor.Client, job lessor.NewJob) *lessor.Enqueued {
	t.Helper()
	enqueued, err := client.Enqueue(deadline(t), job)
	must(t, err)
	return enqueued
}

// finished waits for the end of a job.
func finished(t *testing.T, client *lessor.Client, name string) *lessor.JobInfo {
	t.Helper()
	job, err := client.Wait(deadline(t), name)
	must(t, err)
	return job
}

// reached waits for a state of a job.
func reached(t *testing.T, client *lessor.Client, name string, state lessor.State) *lessor.JobInfo {
	t.Helper()
	job, err := client.Wait(deadline(t), name, state)
	must(t, err)
	equal(t, job.State, state)
	return job
}
