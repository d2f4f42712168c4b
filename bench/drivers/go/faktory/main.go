// One side of one workload against Faktory; the interface of all drivers is in ../../README.md.
//
// Faktory's priorities are queues of their own with weights.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/contribsys/faktory/client"
	worker "github.com/contribsys/faktory_worker_go"

	"github.com/lessor/lessor/bench/drivers/go/measure"
)

const jobType = "job"

func main() {
	if err := drive(); err != nil {
		fmt.Fprintln(os.Stderr, "faktory:", err)
		os.Exit(1)
	}
}

func drive() error {
	run, err := measure.Parse()
	if err != nil {
		return err
	}
	server := client.DefaultServer()
	server.Address = run.Address
	if run.Role == "worker" {
		return work(run, server)
	}
	return produce(run, server)
}

// queues gives each priority a queue; with none, there is the one.
func queues(run measure.Run) []string {
	if run.Priorities == 0 {
		return []string{run.Queue}
	}
	names := make([]string, run.Priorities)
	for priority := range names {
		names[priority] = fmt.Sprintf("%s-%d", run.Queue, priority)
	}
	return names
}

func produce(run measure.Run, server *client.Server) error {
	connections := make([]*client.Client, run.InFlight)
	for caller := range connections {
		connection, err := server.Open()
		if err != nil {
			return err
		}
		defer connection.Close()
		connections[caller] = connection
	}
	names := queues(run)
	job := func(index int) *client.Job {
		job := client.NewJob(jobType, run.Body())
		job.Queue = names[index%len(names)]
		if run.Delay > 0 {
			job.At = time.Now().Add(run.Delay).UTC().Format(time.RFC3339Nano)
		}
		return job
	}
	enqueue := func(caller, first, count int) error {
		if count == 1 {
			return connections[caller].Push(job(first))
		}
		jobs := make([]*client.Job, count)
		for offset := range jobs {
			jobs[offset] = job(first + offset)
		}
		refused, err := connections[caller].PushBulk(jobs)
		if err == nil && len(refused) > 0 {
			err = fmt.Errorf("%d jobs were refused", len(refused))
		}
		return err
	}
	tally := measure.Begin(run)
	calls := tally.Call
	if run.Workload == "W4" {
		calls = tally.Pace
	}
	if err := calls(enqueue); err != nil {
		return err
	}
	return tally.Report()
}

func work(run measure.Run, server *client.Server) error {
	pool, err := client.NewPoolWithClientConstructor(run.InFlight+2, server.Open)
	if err != nil {
		return err
	}
	manager := worker.NewManager()
	manager.Pool = pool
	manager.Concurrency = run.InFlight
	weights := make(map[string]int)
	for index, name := range queues(run) {
		weights[name] = index + 1
	}
	manager.ProcessWeightedPriorityQueues(weights)
	tally := measure.Begin(run)
	manager.Register(jobType, func(_ context.Context, arguments ...any) error {
		body, _ := arguments[0].(string)
		if err := tally.Received(body); err != nil {
			return err
		}
		tally.Done()
		return nil
	})
	manager.On(worker.Startup, func(*worker.Manager) error {
		measure.Ready()
		return nil
	})
	failed := make(chan error, 1)
	go func() { failed <- manager.RunWithContext(context.Background()) }()
	select {
	case err := <-failed:
		return fmt.Errorf("the worker ended: %w", err)
	case <-tally.All:
	}
	// The last jobs are acked before the worker ends.
	manager.Terminate(false)
	return tally.Report()
}
