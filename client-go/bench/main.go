// Command bench compares the library with plain stubs, by turns in one run, so that what else the
// machine does falls on both.
//
//	lessor serve --store sqlite::memory: &
//	go run ./bench
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	batch       = 250
	payloadSize = 200
)

type bench struct {
	target      string
	jobs        int
	concurrency int
	client      *lessor.Client
	stubs       lessorpb.JobBrokerClient
}

// way is one of the two, at one kind of work. It answers how long it took.
type way func(ctx context.Context, queue string) (time.Duration, error)

func main() {
	target := flag.String("target", "127.0.0.1:7077", "host and port of the broker")
	jobs := flag.Int("jobs", 20_000, "jobs per round")
	rounds := flag.Int("rounds", 5, "rounds, of which the median counts")
	concurrency := flag.Int("concurrency", 100, "handlers, and producers, at once")
	flag.Parse()
	if err := run(*target, *jobs, *rounds, *concurrency); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(target string, jobs, rounds, concurrency int) error {
	ctx := context.Background()
	client, err := lessor.NewClient(lessor.ClientOptions{
		Address: target, Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	b := &bench{target, jobs, concurrency, client, lessorpb.NewJobBrokerClient(conn)}
	fmt.Printf("%d jobs of %d bytes, %d at once, median of %d rounds\n\n", jobs, payloadSize, concurrency, rounds)
	fmt.Println("| work | plain stubs, jobs/s | library, jobs/s | ratio |")
	fmt.Println("|---|---|---|---|")
	for _, kind := range []struct {
		name           string
		stubs, library way
	}{
		{"enqueue one by one", b.enqueueByStubs, b.enqueueByLibrary},
		{"enqueue in batches of 250", b.batchByStubs, b.batchByLibrary},
		{"work", b.workByStubs, b.workByLibrary},
	} {
		var stubs, library []float64
		for round := range rounds {
			for _, one := range []struct {
				way  way
				into *[]float64
			}{{kind.stubs, &stubs}, {kind.library, &library}} {
				took, err := one.way(ctx, fmt.Sprintf("bench-%d-%s", round, uuid.NewString()))
				if err != nil {
					return fmt.Errorf("%s: %w", kind.name, err)
				}
				*one.into = append(*one.into, float64(jobs)/took.Seconds())
			}
		}
		plain, made := median(stubs), median(library)
		fmt.Printf("| %s | %.0f | %.0f | %.2f |\n", kind.name, plain, made, made/plain)
	}
	return nil
}

func median(rates []float64) float64 {
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// atOnce does the jobs by so many producers.
func (b *bench) atOnce(do func() error) (time.Duration, error) {
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.jobs))
	faults := make(chan error, b.concurrency)
	begun := time.Now()
	for range b.concurrency {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	close(faults)
	return took, <-faults
}

func (b *bench) enqueueByStubs(ctx context.Context, queue string) (time.Duration, error) {
	payload := make([]byte, payloadSize)
	return b.atOnce(func() error {
		_, err := b.stubs.Enqueue(ctx, request(queue, payload, uuid.NewString()))
		return err
	})
}

func (b *bench) enqueueByLibrary(ctx context.Context, queue string) (time.Duration, error) {
	payload := make([]byte, payloadSize)
	return b.atOnce(func() error {
		_, err := b.client.Enqueue(ctx, lessor.NewJob{Queue: queue, Type: "bench", Data: payload})
		return err
	})
}

func request(queue string, payload []byte, id string) *lessorpb.EnqueueRequest {
	return &lessorpb.EnqueueRequest{
		Queue: queue, Type: "bench", RequestId: id,
		Payload: &lessorpb.Payload{Body: &lessorpb.Payload_Data{Data: payload}},
	}
}

func (b *bench) batchByStubs(ctx context.Context, queue string) (time.Duration, error) {
	payload := make([]byte, payloadSize)
	begun := time.Now()
	for range b.jobs / batch {
		requests := make([]*lessorpb.EnqueueRequest, batch)
		for i := range requests {
			requests[i] = request(queue, payload, "")
		}
		_, err := b.stubs.BatchEnqueue(ctx, &lessorpb.BatchEnqueueRequest{
			Requests: requests, RequestId: uuid.NewString(),
		})
		if err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

func (b *bench) batchByLibrary(ctx context.Context, queue string) (time.Duration, error) {
	payload := make([]byte, payloadSize)
	begun := time.Now()
	for range b.jobs / batch {
		jobs := make([]lessor.NewJob, batch)
		for i := range jobs {
			jobs[i] = lessor.NewJob{Queue: queue, Type: "bench", Data: payload}
		}
		if _, err := b.client.EnqueueBatch(ctx, jobs); err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
}

// workByStubs is the least that works: a stream with credit, a goroutine per job, an ack for each.
func (b *bench) workByStubs(ctx context.Context, queue string) (time.Duration, error) {
	if _, err := b.batchByStubs(ctx, queue); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	stream, err := b.stubs.Work(ctx)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var received, done uint64
	send := func(frame *lessorpb.WorkRequest) error {
		mu.Lock()
		defer mu.Unlock()
		frame.ReceivedThrough = received
		return stream.Send(frame)
	}
	allow := func() error {
		mu.Lock()
		most := done + uint64(b.concurrency)
		mu.Unlock()
		credit := &lessorpb.WorkRequest_Credit{MaxDeliverySeq: most}
		return send(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Credit_{Credit: credit}})
	}
	hello := &lessorpb.WorkRequest_Hello{
		Worker: &lessorpb.Worker{WorkerId: uuid.NewString()}, Queues: []string{queue}, AutoExtend: true,
	}
	if err := send(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Hello_{Hello: hello}}); err != nil {
		return 0, err
	}
	if err := allow(); err != nil {
		return 0, err
	}
	acked := 0
	for acked < b.jobs {
		reply, err := stream.Recv()
		if err != nil {
			return 0, err
		}
		switch frame := reply.GetFrame().(type) {
		case *lessorpb.WorkResponse_Ack:
			acked++
		case *lessorpb.WorkResponse_Error:
			return 0, errors.New(frame.Error.GetMessage())
		case *lessorpb.WorkResponse_Delivery_:
			mu.Lock()
			received = frame.Delivery.GetDeliverySeq()
			mu.Unlock()
			go func() {
				ack := &lessorpb.AckRequest{LeaseToken: frame.Delivery.GetLeased().GetLeaseToken()}
				seq := frame.Delivery.GetDeliverySeq()
				_ = send(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Ack{Ack: ack}, RequestSeq: seq})
				mu.Lock()
				done++
				due := done%uint64(max(b.concurrency/2, 1)) == 0
				mu.Unlock()
				if due {
					_ = allow()
				}
			}()
		}
	}
	took := time.Since(begun)
	return took, nil
}

func (b *bench) workByLibrary(ctx context.Context, queue string) (time.Duration, error) {
	if _, err := b.batchByStubs(ctx, queue); err != nil {
		return 0, err
	}
	worker, err := lessor.NewWorker(b.client, lessor.WorkerOptions{
		Queues: []string{queue}, Concurrency: b.concurrency,
	})
	if err != nil {
		return 0, err
	}
	var left atomic.Int64
	left.Store(int64(b.jobs))
	worker.Handle("bench", func(context.Context, *lessor.Job) (any, error) {
		if left.Add(-1) == 0 {
			worker.Drain()
		}
		return nil, nil
	})
	begun := time.Now()
	// Returns when the last ack was answered.
	err = worker.Run(ctx)
	return time.Since(begun), err
}
