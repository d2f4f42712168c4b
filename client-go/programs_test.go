package lessor_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	lessor "github.com/lessor/lessor/client-go"
)

// program is a worker in a process of its own: this test binary, told what to be.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	ended chan struct{}
}

// start runs a program that works on a queue of the shared broker.
func start(t *testing.T, name, queue string) *program {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	one := &program{t, exec.Command(self), make(chan string, 16), make(chan struct{})}
	one.cmd.Env = append(os.Environ(),
		"LESSOR_TEST_PROGRAM="+name, "LESSOR_TEST_QUEUE="+queue, "LESSOR_SERVER="+shared.URL())
	one.cmd.Stderr = os.Stderr
	stdout, err := one.cmd.StdoutPipe()
	must(t, err)
	must(t, one.cmd.Start())
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			one.lines <- lines.Text()
		}
		// How it ended is in its state.
		_ = one.cmd.Wait()
		close(one.ended)
	}()
	t.Cleanup(func() {
		_ = one.cmd.Process.Kill()
		<-one.ended
	})
	return one
}

// says waits for a line.
func (p *program) says(pattern string) {
	p.t.Helper()
	for {
		line := receive(p.t, p.lines)
		if regexp.MustCompile(pattern).MatchString(line) {
			return
		}
	}
}

func (p *program) send(what os.Signal) {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(what))
}

// ends waits for the end, and says how it was.
func (p *program) ends() string {
	p.t.Helper()
	receive(p.t, p.ended)
	return p.cmd.ProcessState.String()
}

// runProgram is another process of a test.
func runProgram(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	worker, err := lessor.NewWorker(client, lessor.WorkerOptions{
		Queues: []string{os.Getenv("LESSOR_TEST_QUEUE")}, LeaseDuration: time.Second,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	worker.Handle(lessor.AnyType, programs(ctx)[name])
	if err := worker.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func programs(stopping context.Context) map[string]lessor.Handler {
	return map[string]lessor.Handler{
		// Ends well once the program is told to stop.
		"linger": func(ctx context.Context, _ *lessor.Job) (any, error) {
			fmt.Println("running")
			<-stopping.Done()
			return "finished", ctx.Err()
		},
		// Never ends.
		"hold": func(ctx context.Context, job *lessor.Job) (any, error) {
			// Once this is answered, the broker counts on us.
			if err := job.Checkpoint(ctx, "held"); err != nil {
				return nil, err
			}
			fmt.Println("holding")
			<-ctx.Done()
			return nil, ctx.Err()
		},
		// Says how it was told to stop, and claims success all the same.
		"pause": func(ctx context.Context, job *lessor.Job) (any, error) {
			if err := job.Checkpoint(ctx, "held"); err != nil {
				return nil, err
			}
			fmt.Println("holding")
			<-ctx.Done()
			fmt.Println("told", errors.Is(context.Cause(ctx), lessor.ErrLeaseLost))
			return "too late", nil
		},
		// Kills its worker.
		"poison": func(ctx context.Context, job *lessor.Job) (any, error) {
			if err := job.Checkpoint(ctx, "held"); err != nil {
				return nil, err
			}
			return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
		},
	}
}

// holding is a handler that waits until it may go on; it answers how often the job was leased.
type holding struct {
	began chan string
	goOn  chan struct{}
}

func newHolding() *holding { return &holding{make(chan string, 64), make(chan struct{})} }

func (h *holding) handle(ctx context.Context, job *lessor.Job) (any, error) {
	// Once this is answered, the broker counts on us.
	if err := job.Checkpoint(ctx, strings.Repeat("x", 8)); err != nil {
		return nil, err
	}
	h.began <- job.Name
	select {
	case <-h.goOn:
		return job.DeliveryCount, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
