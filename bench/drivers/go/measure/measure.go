// Package measure holds what the drivers written in Go share: their arguments, the clock that all
// processes of a run share, and the line that a driver prints.
package measure

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clockDigits is how many bytes of a payload hold the start of its enqueue call.
const clockDigits = 20

// Run is what is asked of a driver.
type Run struct {
	Workload   string
	Role       string
	Address    string
	Queue      string
	Jobs       int
	InFlight   int
	Batch      int
	Payload    int
	Rate       int
	Priorities int
	Delay      time.Duration
}

// Parse reads the arguments of the process.
func Parse() (Run, error) {
	var run Run
	var delay int
	flag.StringVar(&run.Role, "role", "", "producer or worker")
	flag.StringVar(&run.Address, "address", "", "where the broker listens")
	flag.StringVar(&run.Queue, "queue", "bench", "the queue")
	flag.IntVar(&run.Jobs, "jobs", 0, "how many jobs")
	flag.IntVar(&run.InFlight, "in-flight", 32, "calls in flight, or jobs at work")
	flag.IntVar(&run.Batch, "batch", 100, "jobs of a bulk call")
	flag.IntVar(&run.Payload, "payload", 256, "bytes of a payload")
	flag.IntVar(&run.Rate, "rate", 200, "jobs a second of the paced workload")
	flag.IntVar(&run.Priorities, "priorities", 0, "priorities that the jobs are spread over")
	flag.IntVar(&delay, "delay", 0, "seconds that the jobs are delayed by")
	flag.Parse()
	run.Workload = flag.Arg(0)
	run.Delay = time.Duration(delay) * time.Second
	if run.Workload == "" || run.Jobs < 1 || run.InFlight < 1 || run.Payload < clockDigits {
		return run, fmt.Errorf("the workload, --jobs, --in-flight or --payload is missing or too small")
	}
	return run, nil
}

// JobsACall says how many jobs one call enqueues.
func (run Run) JobsACall() int {
	if run.Workload == "W1b" {
		return run.Batch
	}
	return 1
}

// Now is the time in nanoseconds, on the clock that all processes share.
func Now() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // The clock cannot fail on Linux.
	}
	return now.Nano()
}

// Body makes a payload that says that its call begins now.
func (run Run) Body() string {
	return fmt.Sprintf("%0*d", clockDigits, Now()) + strings.Repeat("x", run.Payload-clockDigits)
}

// Ready says that the worker waits for jobs.
func Ready() {
	fmt.Fprintln(os.Stderr, "ready")
}

// Tally is what the callers or handlers of a process have seen.
type Tally struct {
	run  Run
	cpu  float64
	lock sync.Mutex
	// Nanoseconds of the first start and of the last end.
	start, end int64
	took       []int64
	done       atomic.Int64
	// All is closed when all jobs are done.
	All chan struct{}
}

// Begin starts to count.
func Begin(run Run) *Tally {
	return &Tally{run: run, cpu: cpuSeconds(), All: make(chan struct{})}
}

// Called records an answered enqueue call.
func (tally *Tally) Called(began int64) {
	now := Now()
	tally.lock.Lock()
	defer tally.lock.Unlock()
	tally.span(began, now)
	tally.took = append(tally.took, now-began)
}

// Received records that a job's handler starts.
func (tally *Tally) Received(body string) error {
	if len(body) < clockDigits {
		return fmt.Errorf("a payload without a clock")
	}
	sent, err := strconv.ParseInt(body[:clockDigits], 10, 64)
	if err != nil {
		return err
	}
	now := Now()
	tally.lock.Lock()
	defer tally.lock.Unlock()
	tally.span(now, now)
	tally.took = append(tally.took, now-sent)
	return nil
}

// Done records that a job is finished.
func (tally *Tally) Done() {
	now := Now()
	tally.lock.Lock()
	tally.span(now, now)
	tally.lock.Unlock()
	if tally.done.Add(1) == int64(tally.run.Jobs) {
		close(tally.All)
	}
}

func (tally *Tally) span(start, end int64) {
	if tally.start == 0 || start < tally.start {
		tally.start = start
	}
	tally.end = max(tally.end, end)
}

// Call has one caller after another enqueue the jobs from first on, as many callers at once as are
// asked for.
func (tally *Tally) Call(enqueue func(caller, first, count int) error) error {
	var next atomic.Int64
	failed := make(chan error, tally.run.InFlight)
	step := tally.run.JobsACall()
	for caller := range tally.run.InFlight {
		go func() {
			for {
				first := int(next.Add(int64(step))) - step
				if first >= tally.run.Jobs {
					failed <- nil
					return
				}
				began := Now()
				if err := enqueue(caller, first, min(step, tally.run.Jobs-first)); err != nil {
					failed <- err
					return
				}
				tally.Called(began)
			}
		}()
	}
	for range tally.run.InFlight {
		if err := <-failed; err != nil {
			return err
		}
	}
	return nil
}

// Pace enqueues one job after another, as many a second as are asked for.
func (tally *Tally) Pace(enqueue func(caller, first, count int) error) error {
	start := time.Now()
	interval := time.Second / time.Duration(tally.run.Rate)
	for job := range tally.run.Jobs {
		time.Sleep(time.Until(start.Add(time.Duration(job) * interval)))
		began := Now()
		if err := enqueue(0, job, 1); err != nil {
			return err
		}
		tally.Called(began)
	}
	return nil
}

type line struct {
	Workload string  `json:"workload"`
	Role     string  `json:"role"`
	Jobs     int     `json:"jobs"`
	Start    int64   `json:"start_ns"`
	End      int64   `json:"end_ns"`
	Rate     float64 `json:"rate"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	CPU      float64 `json:"cpu_s"`
}

// Report prints what the harness reads.
func (tally *Tally) Report() error {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	slices.Sort(tally.took)
	at := func(share float64) float64 {
		if len(tally.took) == 0 {
			return 0
		}
		return float64(tally.took[int(float64(len(tally.took)-1)*share)]) / 1e6
	}
	run := tally.run
	return json.NewEncoder(os.Stdout).Encode(line{
		Workload: run.Workload,
		Role:     run.Role,
		Jobs:     run.Jobs,
		Start:    tally.start,
		End:      tally.end,
		Rate:     float64(run.Jobs) / (float64(tally.end-tally.start) / 1e9),
		P50:      at(0.5),
		P99:      at(0.99),
		Max:      at(1),
		CPU:      cpuSeconds() - tally.cpu,
	})
}

func cpuSeconds() float64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // Asking for one's own usage cannot fail.
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}
