package lessor

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	// A broker that was silent for so many ping intervals is given up.
	silentIntervals = 3
	// For a broker that does not name the interval.
	usualPing = 10 * time.Second
	// A stream that lived this long was a good one: the next pause is a short one.
	provenAfter = 10 * time.Second
	// How many settles are written between two looks at the clock.
	mostFrames = 256
	// How long the broker has to answer a goodbye.
	partingTime = 2 * time.Second
)

// Errors that end a stream, and lead to another one.
var (
	errMoved     = errors.New("the broker wants the worker to move")
	errTakenOver = errors.New("a worker of the same id took over")
)

// streamLine works on a Work stream, and on those that follow it.
type streamLine struct {
	worker *shift
	hello  *lessorpb.WorkRequest_Hello
}

// run works until the context ends, or the broker refuses for good.
func (s *streamLine) run(ctx context.Context) error {
	var pauses reopening
	for {
		begun := time.Now()
		err := s.session(ctx)
		wasOpen := s.worker.connected.Swap(false)
		if time.Since(begun) > provenAfter {
			pauses.reset()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errMoved):
			continue
		case wasOpen && errors.Is(err, ErrUnauthenticated):
			// The credential has ended, and the next stream may have a new one.
		case isLasting(err):
			return err
		}
		pause := pauses.next(err)
		s.worker.log.LogAttrs(ctx, levelOf(err), "the work stream has ended", errAttr(err), pauseAttr(pause))
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// session is one stream, over a connection of its own.
type session struct {
	worker *shift
	stream grpc.BidiStreamingClient[lessorpb.WorkRequest, lessorpb.WorkResponse]
	ping   time.Duration
	// When something was heard, as time since the begin.
	begun time.Time
	heard atomic.Int64
	// The highest delivery that came.
	received atomic.Uint64
	// Jobs that came and are not begun: their receipt has not left. What is not received goes to
	// somebody else, so it had better not run here.
	mu      sync.Mutex
	arrived []*held
	// Why the stream is to be left, if it is.
	leaving atomic.Pointer[error]

	// What the broker knows of that, and what it may send.
	told    uint64
	allowed uint64
	saidAt  time.Time
}

func (s *streamLine) session(ctx context.Context) error {
	conn, err := s.worker.client.link.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	// The stream outlives the end of the context by a goodbye.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	one := &session{worker: s.worker, begun: time.Now()}
	welcome, err := one.open(ctx, life, end, conn, s.hello)
	if err != nil {
		return s.worker.client.fault(errorOf(err, s.worker.client.link.address.written))
	}
	one.welcome(ctx, welcome)
	read, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		read <- one.read(ctx)
	}()
	// The next stream begins when nothing more is heard of this one.
	defer func() {
		end()
		<-over
		one.dropAll(one.takeArrived())
	}()
	return one.serve(ctx, read)
}

// open says hello. What takes longer than a usual call is given up.
func (s *session) open(
	ctx, life context.Context, end context.CancelFunc, conn *grpc.ClientConn, hello *lessorpb.WorkRequest_Hello,
) (*lessorpb.WorkResponse_Welcome, error) {
	timeout := s.worker.client.options.Timeout
	var late atomic.Bool
	timer := time.AfterFunc(timeout, func() { late.Store(true); end() })
	defer timer.Stop()
	stop := context.AfterFunc(ctx, end)
	defer stop()
	fault := func(err error) error {
		if late.Load() {
			return unavailable("no answer in " + timeout.String())
		}
		return err
	}
	stream, err := lessorpb.NewJobBrokerClient(conn).Work(life)
	if err != nil {
		return nil, fault(err)
	}
	s.stream = stream
	greeting := proto.CloneOf(hello)
	greeting.HeldLeaseTokens = s.worker.ledger.tokens()
	frame := &lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Hello_{Hello: greeting}}
	// Where that fails, the answer says why.
	if err := stream.Send(frame); err != nil && !errors.Is(err, io.EOF) {
		return nil, fault(err)
	}
	reply, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, unavailable("the work stream ended at once")
	}
	if err != nil {
		return nil, fault(err)
	}
	if reply.GetWelcome() == nil {
		return nil, internal("the broker's first word is no welcome")
	}
	return reply.GetWelcome(), nil
}

func (s *session) welcome(ctx context.Context, welcome *lessorpb.WorkResponse_Welcome) {
	s.ping = welcome.GetPingInterval().AsDuration()
	if s.ping <= 0 {
		s.ping = usualPing
	}
	for _, verdict := range welcome.GetHeld() {
		if !verdict.GetKept() {
			s.worker.ledger.lose(verdict.GetLeaseToken())
		}
	}
	s.worker.ledger.askAgain()
	s.worker.connected.Store(true)
	s.hear()
	s.saidAt = time.Now()
	s.worker.log.InfoContext(ctx, "connected", "session", welcome.GetSessionId())
}

func (s *session) hear() { s.heard.Store(int64(time.Since(s.begun))) }

// read hears the broker until the stream ends.
func (s *session) read(ctx context.Context) error {
	for {
		reply, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			if why := s.leaving.Load(); why != nil {
				return *why
			}
			return errTakenOver
		}
		if err != nil {
			return errorOf(err, s.worker.client.link.address.written)
		}
		s.hear()
		s.listen(ctx, reply)
	}
}

func (s *session) listen(ctx context.Context, reply *lessorpb.WorkResponse) {
	ledger := s.worker.ledger
	switch frame := reply.GetFrame().(type) {
	case *lessorpb.WorkResponse_Delivery_:
		one := ledger.take(s.worker.handlers, frame.Delivery.GetLeased())
		s.mu.Lock()
		s.received.Store(max(s.received.Load(), frame.Delivery.GetDeliverySeq()))
		s.arrived = append(s.arrived, one)
		s.mu.Unlock()
		ledger.wake()
	case *lessorpb.WorkResponse_Ack:
		ledger.answered(reply.GetRequestSeq(), frame.Ack, nil)
	case *lessorpb.WorkResponse_Nack:
		ledger.answered(reply.GetRequestSeq(), frame.Nack, nil)
	case *lessorpb.WorkResponse_Extend:
		ledger.answered(reply.GetRequestSeq(), frame.Extend, nil)
	case *lessorpb.WorkResponse_Error:
		ledger.answered(reply.GetRequestSeq(), nil, errorOfStatus(status.FromProto(frame.Error)))
	case *lessorpb.WorkResponse_Directive_:
		s.follow(ctx, frame.Directive)
	}
}

func (s *session) follow(ctx context.Context, directive *lessorpb.WorkResponse_Directive) {
	switch directive.GetKind() {
	case lessorpb.WorkResponse_Directive_KIND_CANCEL_JOB:
		s.worker.ledger.cancelled(directive.GetLeaseToken(), &CancelledError{
			Reason: directive.GetReason(), Within: directive.GetWithin().AsDuration(),
		})
	case lessorpb.WorkResponse_Directive_KIND_LEASE_LOST:
		s.worker.ledger.lose(directive.GetLeaseToken())
	case lessorpb.WorkResponse_Directive_KIND_RECONNECT:
		s.leave(errMoved)
		s.worker.ledger.wake()
	case lessorpb.WorkResponse_Directive_KIND_DRAIN:
		if directive.GetWithin() == nil {
			s.worker.log.InfoContext(ctx, "an operator drains the worker", "reason", directive.GetReason())
			s.worker.ledger.drain()
			return
		}
		// The broker shuts down; the stream ends when nothing is held, and another one may have jobs.
		s.leave(unavailable("the broker shuts down"))
	}
}

func (s *session) leave(why error) { s.leaving.Store(&why) }

// serve writes what there is to say until the stream ends.
func (s *session) serve(ctx context.Context, read <-chan error) error {
	tick := time.NewTicker(min(max(s.ping/8, 50*time.Millisecond), time.Second))
	defer tick.Stop()
	done := ctx.Done()
	for {
		// Handlers that are ready to end do so first, so that their words travel together.
		runtime.Gosched()
		if err := s.write(); err != nil {
			// Whoever reads knows why.
			return <-read
		}
		if why := s.leaving.Load(); why != nil && errors.Is(*why, errMoved) {
			return errMoved
		}
		select {
		case err := <-read:
			return err
		case <-done:
			return s.part(read)
		case <-s.worker.ledger.news:
		case <-tick.C:
			if err := s.look(); err != nil {
				return err
			}
		}
	}
}

// look does what time asks for.
func (s *session) look() error {
	if time.Since(s.begun)-time.Duration(s.heard.Load()) > silentIntervals*s.ping {
		return unavailable("the broker is silent")
	}
	if time.Since(s.saidAt) >= s.ping/2 {
		return s.say(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Ping{Ping: &emptypb.Empty{}}})
	}
	return nil
}

// write sends settles, then what is to be told of room and receipts.
func (s *session) write() error {
	for {
		// Looked at in this order, a job that comes in between makes for too little room, not too much.
		received := s.received.Load()
		unsent, room := s.worker.ledger.send(mostFrames)
		for _, one := range unsent {
			if err := s.say(frameOf(one)); err != nil {
				return err
			}
		}
		if len(unsent) == mostFrames {
			continue
		}
		arrived := s.takeArrived()
		err := s.credit(received, uint64(room))
		if err != nil {
			s.dropAll(arrived)
			return err
		}
		s.worker.ledger.begin(arrived)
		return nil
	}
}

// takeArrived takes the jobs whose receipt the next frame is.
func (s *session) takeArrived() []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	arrived := s.arrived
	s.arrived = nil
	return arrived
}

func (s *session) dropAll(jobs []*held) {
	for _, one := range jobs {
		s.worker.ledger.drop(one)
	}
}

func (s *session) credit(received, room uint64) error {
	allowed := received + room
	// A little room may wait for more of it, as long as the broker may send some.
	short := s.allowed <= received || s.allowed-received <= uint64(s.worker.ledger.concurrency)/2
	if allowed > s.allowed && short {
		s.allowed = allowed
	} else if s.told == s.received.Load() {
		return nil
	}
	// Without more room it is the receipt alone, which wants no answer as a ping would.
	credit := &lessorpb.WorkRequest_Credit{MaxDeliverySeq: s.allowed}
	return s.say(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Credit_{Credit: credit}})
}

// say sends a frame, with the receipt for all that came.
func (s *session) say(frame *lessorpb.WorkRequest) error {
	s.told = s.received.Load()
	s.saidAt = time.Now()
	frame.ReceivedThrough = s.told
	return s.stream.Send(frame)
}

// part says goodbye: nothing is held by then, or it goes back.
func (s *session) part(read <-chan error) error {
	if err := s.write(); err != nil {
		return nil
	}
	goodbye := &lessorpb.WorkRequest_Goodbye{ReleaseHeld: true}
	_ = s.say(&lessorpb.WorkRequest{Frame: &lessorpb.WorkRequest_Goodbye_{Goodbye: goodbye}})
	_ = s.stream.CloseSend()
	timer := time.NewTimer(partingTime)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
	}
	return nil
}

func frameOf(one *question) *lessorpb.WorkRequest {
	frame := &lessorpb.WorkRequest{RequestSeq: one.number}
	switch ask := one.ask.(type) {
	case *lessorpb.AckRequest:
		frame.Frame = &lessorpb.WorkRequest_Ack{Ack: ask}
	case *lessorpb.NackRequest:
		frame.Frame = &lessorpb.WorkRequest_Nack{Nack: ask}
	case *lessorpb.ExtendLeaseRequest:
		frame.Frame = &lessorpb.WorkRequest_Extend{Extend: ask}
	}
	return frame
}
