package lessor

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	leaseWait   = 20 * time.Second
	mostLeased  = 256
	mostSettled = 256
	callTick    = 100 * time.Millisecond
)

// callLine works by calls, where the broker has no work streams.
type callLine struct {
	worker *shift
	lease  *lessorpb.LeaseRequest
	broker lessorpb.JobBrokerClient
}

func newCallLine(worker *shift, hello *lessorpb.WorkRequest_Hello) (line *callLine, end func() error, err error) {
	conn, err := worker.client.link.dial()
	if err != nil {
		return nil, nil, err
	}
	describe := proto.CloneOf(hello.GetWorker())
	describe.WorkerId = ""
	return &callLine{
		worker: worker,
		lease: &lessorpb.LeaseRequest{
			Queues:        hello.GetQueues(),
			WorkerId:      hello.GetWorker().GetWorkerId(),
			LeaseDuration: hello.GetLeaseDuration(),
			Wait:          spanOf(leaseWait),
			Types:         hello.GetTypes(),
			Order:         hello.GetOrder(),
			Weights:       hello.GetWeights(),
			Worker:        describe,
		},
		broker: lessorpb.NewJobBrokerClient(worker.client.callerOver(conn)),
	}, conn.Close, nil
}

// run works until the context ends, or the broker refuses for good.
func (c *callLine) run(ctx context.Context) error {
	c.worker.ledger.askAgain()
	// A lease that waits is withdrawn as soon as no more jobs are wanted.
	leasing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	halt := context.AfterFunc(c.worker.stopping, func() { stop(nil) })
	defer halt()
	room := make(chan struct{}, 1)
	filled := make(chan error, 1)
	go func() { filled <- c.fill(leasing, room) }()
	tick := time.NewTicker(callTick)
	defer tick.Stop()
	for {
		c.settle(context.WithoutCancel(ctx))
		select {
		case room <- struct{}{}:
		default:
		}
		select {
		case err := <-filled:
			if err != nil {
				return err
			}
			filled = nil
		case <-ctx.Done():
			c.settle(context.WithoutCancel(ctx))
			return nil
		case <-c.worker.ledger.news:
		case now := <-tick.C:
			c.worker.ledger.heartbeats(now)
		}
	}
}

// fill leases jobs as far as there is room.
func (c *callLine) fill(ctx context.Context, room <-chan struct{}) error {
	var pauses reopening
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-room:
		}
		_, wanted := c.worker.ledger.send(0)
		if wanted == 0 {
			continue
		}
		reply, err := c.ask(ctx, min(wanted, mostLeased))
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case isLasting(err) && !(errors.Is(err, ErrUnauthenticated) && c.worker.connected.Load()):
			// A credential that was good until now has ended, and the next call may have a new one.
			return err
		case err != nil:
			c.worker.connected.Store(false)
			pause := pauses.next(err)
			c.worker.log.LogAttrs(ctx, levelOf(err), "leasing failed", errAttr(err), pauseAttr(pause))
			if !sleep(ctx, pause) {
				return nil
			}
			continue
		}
		pauses.reset()
		c.worker.connected.Store(true)
		for _, leased := range reply.GetJobs() {
			c.worker.ledger.begin([]*held{c.worker.ledger.take(c.worker.handlers, leased)})
		}
		if after := reply.GetRetryAfter().AsDuration(); len(reply.GetJobs()) == 0 && after > 0 {
			if !sleep(ctx, after) {
				return nil
			}
		}
	}
}

// ask is one lease. Its id makes it safe to repeat.
func (c *callLine) ask(ctx context.Context, most int) (*lessorpb.LeaseResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseWait+c.worker.client.options.Timeout)
	defer cancel()
	request := proto.CloneOf(c.lease)
	request.MaxJobs = int32(most)
	request.RequestId = uuid.NewString()
	return c.broker.Lease(ctx, request)
}

// settle sends settles and extensions, batch by batch.
func (c *callLine) settle(ctx context.Context) {
	for {
		asked, _ := c.worker.ledger.send(mostSettled)
		if len(asked) == 0 {
			return
		}
		request := &lessorpb.BatchSettleRequest{}
		for _, one := range asked {
			request.Items = append(request.Items, itemOf(one))
		}
		reply, err := c.broker.BatchSettle(ctx, request)
		if err == nil && len(reply.GetResults()) != len(asked) {
			err = internal("the broker answered another number of settles")
		}
		if err != nil {
			// No answer in time is a passing fault, too: settles are safe to repeat.
			if errors.Is(err, context.DeadlineExceeded) {
				err = unavailable(err.Error())
			}
			for _, one := range asked {
				c.worker.ledger.answered(one.number, nil, err)
			}
			return
		}
		c.worker.connected.Store(true)
		for i, result := range reply.GetResults() {
			c.hear(asked[i], result)
		}
	}
}

func (c *callLine) hear(one *question, result *lessorpb.BatchSettleResponse_Result) {
	ledger := c.worker.ledger
	switch reply := result.GetResponse().(type) {
	case *lessorpb.BatchSettleResponse_Result_Ack:
		ledger.answered(one.number, reply.Ack, nil)
	case *lessorpb.BatchSettleResponse_Result_Nack:
		ledger.answered(one.number, reply.Nack, nil)
	case *lessorpb.BatchSettleResponse_Result_Extend:
		ledger.answered(one.number, reply.Extend, nil)
	case *lessorpb.BatchSettleResponse_Result_Error:
		ledger.answered(one.number, nil, errorOfStatus(status.FromProto(reply.Error)))
	}
}

func itemOf(one *question) *lessorpb.BatchSettleRequest_Item {
	switch ask := one.ask.(type) {
	case *lessorpb.AckRequest:
		return &lessorpb.BatchSettleRequest_Item{Op: &lessorpb.BatchSettleRequest_Item_Ack{Ack: ask}}
	case *lessorpb.NackRequest:
		return &lessorpb.BatchSettleRequest_Item{Op: &lessorpb.BatchSettleRequest_Item_Nack{Nack: ask}}
	case *lessorpb.ExtendLeaseRequest:
		return &lessorpb.BatchSettleRequest_Item{Op: &lessorpb.BatchSettleRequest_Item_Extend{Extend: ask}}
	default:
		return &lessorpb.BatchSettleRequest_Item{}
	}
}
