package lessor

import (
	"cmp"
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// How much sooner than here an attempt may take too long for the broker.
const attemptSlack = 500 * time.Millisecond

// crew runs what the ledger takes, and wants to know what became of it. It is called without the
// ledger's lock.
type crew interface {
	begin(*held)
	refused(*held, error)
	told(*held, error)
	hung(*held)
}

// ledger knows what a worker holds, what it asked and was not answered, and how much room it has.
// Lines carry its questions to the broker, and bring the answers.
type ledger struct {
	crew        crew
	concurrency int
	stopGrace   time.Duration
	// Has a value when there is something to say to the broker, or room to fill.
	news chan struct{}
	// Closed when an operator wants the worker to end.
	drained chan struct{}

	mu        sync.Mutex
	held      map[string]*held
	byJob     map[string]*held
	questions map[uint64]*question
	unsent    []*question
	// Questions that were put off.
	waiting  int
	asked    uint64
	busy     int
	stopped  bool
	draining bool
	// Whoever waits until nothing is held or asked.
	idle []chan struct{}
}

// held is a leased job on its way through the worker.
type held struct {
	ledger *ledger
	job    *Job
	token  string
	ctx    context.Context
	cancel context.CancelCauseFunc
	// How long the lease is, and when a third of it has passed.
	lease    time.Duration
	extendAt time.Time
	// When the attempt has taken too long.
	attemptEnd time.Time

	// Nobody else has it, as far as is known.
	ours bool
	// Its handler takes up a place.
	running bool
	// A settle is under way.
	settling bool
	// A heartbeat is under way.
	extending bool
	// Why its handler was told to stop.
	cause error
	// A report is under way; the next one waits here.
	reporting bool
	next      *reports
	timers    []*time.Timer
}

// reports are words of a handler that travel together.
type reports struct {
	request *lessorpb.ExtendLeaseRequest
	saved   []chan<- error
}

func newLedger(crew crew, concurrency int, stopGrace time.Duration) *ledger {
	return &ledger{
		crew:        crew,
		concurrency: concurrency,
		stopGrace:   stopGrace,
		news:        make(chan struct{}, 1),
		drained:     make(chan struct{}),
		held:        make(map[string]*held),
		byJob:       make(map[string]*held),
		questions:   make(map[uint64]*question),
	}
}

// wake tells the line that there is news.
func (l *ledger) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// take keeps a job that has come. It is begun apart.
func (l *ledger) take(ctx context.Context, leased *lessorpb.LeasedJob) *held {
	now := time.Now()
	lease := leased.GetLeaseRemaining().AsDuration()
	one := &held{
		ledger:   l,
		job:      &Job{JobInfo: jobInfoOf(leased.GetJob())},
		token:    leased.GetLeaseToken(),
		lease:    lease,
		extendAt: now.Add(lease / 3),
		ours:     true,
		running:  true,
	}
	one.job.held = one
	ctx, one.cancel = context.WithCancelCause(ctx)
	one.ctx = ctx
	if left := leased.GetAttemptRemaining(); left != nil {
		one.attemptEnd = now.Add(left.AsDuration())
		one.ctx = &attemptContext{ctx, one.attemptEnd}
	}
	l.mu.Lock()
	older := l.byJob[one.job.Name]
	l.held[one.token], l.byJob[one.job.Name] = one, one
	l.busy++
	l.mu.Unlock()
	if older != nil && older.token != one.token {
		// Whoever leases a job has the lease before it taken away.
		l.lose(older.token)
	}
	return one
}

// attemptContext tells the end of the attempt, so that what a handler calls can mind it. That it has
// come is seen by the ledger.
type attemptContext struct {
	context.Context
	end time.Time
}

func (a *attemptContext) Deadline() (time.Time, bool) { return a.end, true }

// begin starts the handlers of jobs, but for those that were lost before that.
func (l *ledger) begin(jobs []*held) {
	for _, one := range jobs {
		if l.isOurs(one) {
			l.crew.begin(one)
		} else {
			l.drop(one)
		}
	}
}

// drop forgets a job that was not begun.
func (l *ledger) drop(one *held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, timer := range one.timers {
		timer.Stop()
	}
	one.cancel(ErrLeaseLost)
	l.vacate(one)
	l.forget(one)
	l.look()
}

// finish says what becomes of a job whose handler has ended; nothing if it is not ours any more.
func (l *ledger) finish(one *held, settle proto.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, timer := range one.timers {
		timer.Stop()
	}
	one.cancel(context.Canceled)
	l.vacate(one)
	if one.ours && !one.settling {
		l.settle(one, settle)
	}
	l.look()
}

// isOurs says whether nobody else has the job, as far as is known.
func (l *ledger) isOurs(one *held) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return one.ours
}

func (l *ledger) settle(one *held, settle proto.Message) {
	one.settling = true
	switch settle := settle.(type) {
	case *lessorpb.AckRequest:
		settle.LeaseToken = one.token
	case *lessorpb.NackRequest:
		settle.LeaseToken = one.token
	}
	l.ask(one, settle, nil)
}

// report passes on a word of a handler. What comes while one is under way waits, newest over older.
func (l *ledger) report(
	one *held, progress *lessorpb.Progress, checkpoint *lessorpb.Payload, saved chan<- error,
) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !one.ours || one.settling {
		if saved != nil {
			saved <- cmp.Or(one.cause, ErrLeaseLost)
		}
		return
	}
	if one.next == nil {
		one.next = &reports{request: &lessorpb.ExtendLeaseRequest{LeaseToken: one.token}}
	}
	if progress != nil {
		one.next.request.Progress = progress
	}
	if checkpoint != nil {
		one.next.request.Checkpoint = checkpoint
	}
	if saved != nil {
		one.next.saved = append(one.next.saved, saved)
	}
	if !one.reporting {
		l.sendReports(one)
	}
}

func (l *ledger) room() int {
	if l.stopped {
		return 0
	}
	return max(l.concurrency-l.busy, 0)
}

// tokens are the leases for which the broker counts on this worker.
func (l *ledger) tokens() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	tokens := make([]string, 0, len(l.held))
	for token := range l.held {
		tokens = append(tokens, token)
	}
	return tokens
}

// stop tells a handler to stop; when it does not, its place is given away after a while.
func (l *ledger) stop(one *held, cause error) {
	l.mu.Lock()
	if !one.running || one.cause != nil {
		l.mu.Unlock()
		return
	}
	one.cause = cause
	one.timers = append(one.timers, time.AfterFunc(l.stopGrace, func() { l.giveUp(one) }))
	l.mu.Unlock()
	l.crew.told(one, cause)
	one.cancel(cause)
}

// lose drops a job: its lease is somebody else's, or nobody's.
func (l *ledger) lose(token string) {
	l.mu.Lock()
	one := l.held[token]
	// Whose settle is under way hears of it by its answer.
	if one == nil || one.settling {
		l.mu.Unlock()
		return
	}
	l.forget(one)
	l.look()
	l.mu.Unlock()
	l.stop(one, one.whyLost())
}

// whyLost: the broker ends an attempt that takes too long by itself, just before the worker does.
func (h *held) whyLost() error {
	if !h.attemptEnd.IsZero() && time.Until(h.attemptEnd) < attemptSlack {
		return ErrAttemptTimeout
	}
	return ErrLeaseLost
}

// cancelled: somebody wants the job cancelled.
func (l *ledger) cancelled(token string, cause *CancelledError) {
	l.mu.Lock()
	one := l.held[token]
	l.mu.Unlock()
	if one != nil {
		l.stop(one, cause)
	}
}

// drain: an operator wants the worker to end.
func (l *ledger) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.draining {
		l.draining = true
		close(l.drained)
	}
}

// refuseMore: no more jobs are wanted.
func (l *ledger) refuseMore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.wake()
}

// hurry tells what still runs that the worker ends.
func (l *ledger) hurry() {
	for _, one := range l.running() {
		l.stop(one, ErrShutdown)
	}
}

// giveBack releases what still runs, whatever its handler does.
func (l *ledger) giveBack() {
	for _, one := range l.running() {
		l.finish(one, nackRelease())
	}
}

func (l *ledger) running() []*held {
	l.mu.Lock()
	defer l.mu.Unlock()
	var running []*held
	for _, one := range l.held {
		if one.running {
			running = append(running, one)
		}
	}
	return running
}

// whenIdle is closed once no handler runs and no answer is open.
func (l *ledger) whenIdle() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	idle := make(chan struct{})
	l.idle = append(l.idle, idle)
	l.look()
	return idle
}

func (l *ledger) look() {
	if l.busy > 0 || len(l.questions) > 0 {
		return
	}
	for _, idle := range l.idle {
		close(idle)
	}
	l.idle = nil
}

func (l *ledger) giveUp(one *held) {
	l.mu.Lock()
	if !one.running {
		l.mu.Unlock()
		return
	}
	l.vacate(one)
	l.forget(one)
	l.look()
	l.mu.Unlock()
	l.crew.hung(one)
}

func (l *ledger) vacate(one *held) {
	if one.running {
		one.running = false
		l.busy--
		l.wake()
	}
}

func (l *ledger) forget(one *held) {
	one.ours = false
	if l.held[one.token] == one {
		delete(l.held, one.token)
	}
	if l.byJob[one.job.Name] == one {
		delete(l.byJob, one.job.Name)
	}
}

func internal(why string) *Error { return &Error{Code: codes.Internal, Message: why} }
