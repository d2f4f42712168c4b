// Command bench is one side of one workload, through the library or through plain stubs. The interface
// of all drivers is in bench/drivers/README.md of the repository; this one has W1 and W2.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/lessorpb"
)

// jobType is that of all jobs: handlers are chosen by it.
const jobType = "bench"

type load struct {
	address  string
	queue    string
	jobs     int
	inFlight int
	payload  []byte
}

// seen is what a side tells; times count from the start of the program.
type seen struct {
	Role    string  `json:"role"`
	Jobs    int     `json:"jobs"`
	StartNS int64   `json:"start_ns"`
	EndNS   int64   `json:"end_ns"`
	Rate    float64 `json:"rate"`
	CPU     float64 `json:"cpu_s"`
}

// side answers when its work began and ended.
type side func(ctx context.Context, of load) (begun, ended time.Time, err error)

func main() {
	role := flag.String("role", "", "producer (W1) or worker (W2)")
	form := flag.String("form", "library", "library or stubs")
	address := flag.String("address", "http://127.0.0.1:7077", "URL of the broker")
	queue := flag.String("queue", "bench", "the queue")
	jobs := flag.Int("jobs", 20_000, "how many")
	inFlight := flag.Int("in-flight", 32, "calls, or jobs at work, at a time")
	payload := flag.Int("payload", 256, "bytes")
	flag.Parse()
	of := load{*address, *queue, *jobs, *inFlight, make([]byte, *payload)}
	if err := run(*role, *form, of); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(role, form string, of load) error {
	sides := map[[2]string]side{
		{"producer", "stubs"}:   enqueueByStubs,
		{"producer", "library"}: enqueueByLibrary,
		{"worker", "stubs"}:     workByStubs,
		{"worker", "library"}:   workByLibrary,
	}
	work, known := sides[[2]string{role, form}]
	if !known {
		return fmt.Errorf("there is no %s by %s", role, form)
	}
	started, before := time.Now(), cpu()
	begun, ended, err := work(context.Background(), of)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen{
		Role: role, Jobs: of.jobs,
		StartNS: begun.Sub(started).Nanoseconds(), EndNS: ended.Sub(started).Nanoseconds(),
		Rate: float64(of.jobs) / ended.Sub(begun).Seconds(),
		CPU:  (cpu() - before).Seconds(),
	})
}

// cpu is the CPU time that this process has used.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func stubs(address string) (lessorpb.JobBrokerClient, io.Closer, error) {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient(parsed.Host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return lessorpb.NewJobBrokerClient(conn), conn, nil
}

func client(address string) (*lessor.Client, error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))
	return lessor.NewClient(lessor.ClientOptions{Address: address, Logger: quiet})
}

// callers makes the calls, so many at a time.
func callers(of load, call func() error) (begun, ended time.Time, err error) {
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(of.jobs))
	faults := make(chan error, of.inFlight)
	begun = time.Now()
	for range of.inFlight {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	ended = time.Now()
	close(faults)
	return begun, ended, <-faults
}

func enqueueByStubs(ctx context.Context, of load) (begun, ended time.Time, err error) {
	stubs, conn, err := stubs(of.address)
	if err != nil {
		return begun, ended, err
	}
	defer func() { _ = conn.Close() }()
	return callers(of, func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := stubs.Enqueue(ctx, &lessorpb.EnqueueRequest{
			Queue: of.queue, Type: jobType, RequestId: uuid.NewString(),
			Payload: &lessorpb.Payload{Body: &lessorpb.Payload_Data{Data: of.payload}},
		})
		return err
	})
}

func enqueueByLibrary(ctx context.Context, of load) (begun, ended time.Time, err error) {
	client, err := client(of.address)
	if err != nil {
		return begun, ended, err
	}
	defer func() { _ = client.Close() }()
	return callers(of, func() error {
		_, err := client.Enqueue(ctx, lessor.NewJob{Queue: of.queue, Type: jobType, Data: of.payload})
		return err
	})
}

// workByStubs is the least that works: a stream with credit and an ack for each job.
func workByStubs(ctx context.Context, of load) (begun, ended time.Time, err error) {
	stubs, conn, err := stubs(of.address)
	if err != nil {
		return begun, ended, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := stubs.Work(ctx)
	if err != nil {
		return begun, ended, err
	}
	allow := func(most int) error {
		credit := &lessorpb.WorkRequest_Credit{MaxDeliverySeq: uint64(most)}
		return stream.Send(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Credit_{Credit: credit}})
	}
	hello := &lessorpb.WorkRequest_Hello{
		Worker: &lessorpb.Worker{WorkerId: uuid.NewString()}, Queues: []string{of.queue}, AutoExtend: true,
	}
	err = stream.Send(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Hello_{Hello: hello}})
	if err = errors.Join(err, allow(of.inFlight)); err != nil {
		return begun, ended, err
	}
	for acked := 0; acked < of.jobs; {
		reply, err := stream.Recv()
		if err != nil {
			return begun, ended, err
		}
		switch frame := reply.GetFrame().(type) {
		case *lessorpb.WorkResponse_Ack:
			acked++
		case *lessorpb.WorkResponse_Error:
			return begun, ended, errors.New(frame.Error.GetMessage())
		case *lessorpb.WorkResponse_Delivery_:
			if begun.IsZero() {
				begun = time.Now()
			}
			number := int(frame.Delivery.GetDeliverySeq())
			ack := &lessorpb.AckRequest{LeaseToken: frame.Delivery.GetLeased().GetLeaseToken()}
			err := stream.Send(&lessorpb.WorkRequest{
				Frame:      &lessorpb.WorkRequest_Ack{Ack: ack},
				RequestSeq: uint64(number), ReceivedThrough: uint64(number),
			})
			if number%(of.inFlight/2) == 0 {
				err = errors.Join(err, allow(min(number+of.inFlight, of.jobs)))
			}
			if err != nil {
				return begun, ended, err
			}
		}
	}
	return begun, time.Now(), nil
}

func workByLibrary(ctx context.Context, of load) (begun, ended time.Time, err error) {
	client, err := client(of.address)
	if err != nil {
		return begun, ended, err
	}
	defer func() { _ = client.Close() }()
	worker, err := lessor.NewWorker(client, lessor.WorkerOptions{
		Queues: []string{of.queue}, Concurrency: of.inFlight,
	})
	if err != nil {
		return begun, ended, err
	}
	var first sync.Once
	var left atomic.Int64
	left.Store(int64(of.jobs))
	worker.Handle(jobType, func(context.Context, *lessor.Job) (any, error) {
		first.Do(func() { begun = time.Now() })
		if left.Add(-1) == 0 {
			worker.Drain()
		}
		return nil, nil
	})
	// Returns when the last ack was answered.
	err = worker.Run(ctx)
	return begun, time.Now(), err
}
