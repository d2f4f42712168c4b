package lessor_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	lessor "github.com/lessor/lessor/client-go"
)

// Mail is what the examples send.
type Mail struct {
	To string `json:"to"`
}

func ExampleClient_Enqueue() {
	ctx := context.Background()

	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	job, err := client.Enqueue(ctx, lessor.NewJob{
		Queue: "emails",
		Type:  "send_email",
		Data:  Mail{To: "ada@example.org"},
		Retry: &lessor.RetryPolicy{MaxAttempts: 5, FatalCodes: []string{"NO_SUCH_ADDRESS"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.Queue, job.State, job.Outcome)
	// Output: emails ready created
}

func ExampleWorker() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	worker, err := lessor.NewWorker(client, lessor.WorkerOptions{
		Queues:      []string{"greetings"},
		Concurrency: 20,
	})
	if err != nil {
		log.Fatal(err)
	}
	worker.Handle("greet", func(ctx context.Context, job *lessor.Job) (any, error) {
		var mail Mail
		if err := job.Payload.Decode(&mail); err != nil {
			return nil, lessor.Reject(err)
		}
		return "hello " + mail.To, ctx.Err()
	})

	go func() {
		job, err := client.Enqueue(ctx, lessor.NewJob{Queue: "greetings", Type: "greet", Data: Mail{To: "ada"}})
		if err != nil {
			log.Print(err)
			return
		}
		var greeting string
		if err := client.Result(ctx, job.Name, &greeting); err != nil {
			log.Print(err)
		}
		fmt.Println(greeting)
		worker.Drain()
	}()

	if err := worker.Run(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: hello ada
}

func ExampleTyped() {
	type Receipt struct {
		ID string `json:"id"`
	}
	handler := lessor.Typed(func(ctx context.Context, job *lessor.Job, mail Mail) (Receipt, error) {
		return Receipt{ID: mail.To}, ctx.Err()
	})

	job := &lessor.Job{JobInfo: lessor.JobInfo{Payload: lessor.Payload{Data: []byte(`{"to":"ada"}`)}}}
	fmt.Println(handler(context.Background(), job))
	// Output: {ada} <nil>
}

func ExampleWorker_Handle() {
	send := func(context.Context, string) error { return nil }
	handler := func(ctx context.Context, job *lessor.Job) (any, error) {
		addresses := []string{"ada", "grace"}
		sent := 0
		if !job.LastCheckpoint.IsZero() {
			if err := job.LastCheckpoint.Decode(&sent); err != nil {
				return nil, lessor.Reject(err)
			}
		}
		for ; sent < len(addresses); sent++ {
			if err := send(ctx, addresses[sent]); err != nil {
				return nil, lessor.Retry(lessor.WithCode(err, "HTTP_429"), time.Minute)
			}
			job.Progress(lessor.Progress{Done: int64(sent + 1), Total: int64(len(addresses))})
			if err := job.Checkpoint(ctx, sent+1); err != nil {
				return nil, err
			}
		}
		return lessor.Success{Result: sent, Then: []lessor.NewJob{{Type: "report"}}}, nil
	}

	job := &lessor.Job{JobInfo: lessor.JobInfo{LastCheckpoint: lessor.Payload{Data: []byte("2")}}}
	result, err := handler(context.Background(), job)
	fmt.Println(result.(lessor.Success).Result, err)
	// Output: 2 <nil>
}

func ExampleClient_Watch() {
	ctx := context.Background()
	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	job, err := client.Enqueue(ctx, lessor.NewJob{Queue: "watched"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Cancel(ctx, job.Name, lessor.CancelOptions{Reason: "changed my mind"}); err != nil {
		log.Fatal(err)
	}

	for event, err := range client.Watch(ctx, lessor.WatchOptions{Queues: []string{"watched"}, Oldest: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.To)
		if event.To.IsFinal() {
			break
		}
	}
	// Output:
	// JOB_CREATED ready
	// JOB_READY ready
	// JOB_CANCELLED cancelled
}

func ExampleError() {
	ctx := context.Background()
	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.Enqueue(ctx, lessor.NewJob{Queue: "no spaces here"})
	var fault *lessor.Error
	switch {
	case errors.Is(err, lessor.ErrQueueFull):
		fmt.Println("back off")
	case errors.Is(err, lessor.ErrInvalidArgument) && errors.As(err, &fault):
		fmt.Println(fault.Reason, fault.Violations[0].Field)
	}
	// Output: INVALID_FIELD queue
}

func ExampleClientOptions() {
	token := func(context.Context) (string, error) { return os.Getenv("LESSOR_TOKEN"), nil }
	client, err := lessor.NewClient(lessor.ClientOptions{
		Address:     "https://broker.example.org",
		TokenSource: token,
		TLS:         &tls.Config{MinVersion: tls.VersionTLS13},
	})
	fmt.Println(client != nil, err)
	// Output: true <nil>
}

func ExampleWorker_Health() {
	client, err := lessor.NewClient(lessor.ClientOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	worker, err := lessor.NewWorker(client, lessor.WorkerOptions{Queues: []string{"emails"}})
	if err != nil {
		log.Fatal(err)
	}

	probes := http.NewServeMux()
	probes.Handle("GET /healthz", worker.Health())
	fmt.Println(worker.IsConnected())
	// Output: false
}
