// One side of one workload against Asynq; the interface of all drivers is in ../../README.md.
//
// Asynq has no bulk call. Its priorities are queues of their own with weights.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"

	"github.com/lessor/lessor/bench/drivers/go/measure"
)

const task = "job"

// How often an idle worker looks for jobs. The default of a second would be all that W4 shows.
const look = 10 * time.Millisecond

func main() {
	if err := drive(); err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
}

func drive() error {
	run, err := measure.Parse()
	if err != nil {
		return err
	}
	redis, err := asynq.ParseRedisURI(run.Address)
	if err != nil {
		return err
	}
	if run.Role == "worker" {
		return work(run, redis)
	}
	return produce(run, redis)
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

func produce(run measure.Run, redis asynq.RedisConnOpt) error {
	if run.JobsACall() > 1 {
		return fmt.Errorf("there is no bulk call")
	}
	client := asynq.NewClient(redis)
	defer client.Close()
	names := queues(run)
	enqueue := func(_, job, _ int) error {
		options := []asynq.Option{asynq.Queue(names[job%len(names)])}
		if run.Delay > 0 {
			options = append(options, asynq.ProcessIn(run.Delay))
		}
		_, err := client.Enqueue(asynq.NewTask(task, []byte(run.Body())), options...)
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

func work(run measure.Run, redis asynq.RedisConnOpt) error {
	weights := make(map[string]int)
	for index, name := range queues(run) {
		weights[name] = index + 1
	}
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency:       run.InFlight,
		Queues:            weights,
		LogLevel:          asynq.ErrorLevel,
		TaskCheckInterval: look,
	})
	tally := measure.Begin(run)
	handle := func(_ context.Context, job *asynq.Task) error {
		if err := tally.Received(string(job.Payload())); err != nil {
			return err
		}
		tally.Done()
		return nil
	}
	if err := server.Start(asynq.HandlerFunc(handle)); err != nil {
		return err
	}
	measure.Ready()
	<-tally.All
	// The last jobs are told to Redis as finished before the server ends.
	server.Shutdown()
	return tally.Report()
}
