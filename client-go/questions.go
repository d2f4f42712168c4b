package lessor

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// A settle that met a passing fault is asked again after this at most.
const longestAgain = 2 * time.Second

// question is something the broker is to answer; it is asked until it is.
type question struct {
	number uint64
	held   *held
	// An AckRequest, NackRequest or ExtendLeaseRequest.
	ask    proto.Message
	saved  []chan<- error
	pauses reopening
	// When it is to be asked again; zero while it is under way.
	due time.Time
}

func (l *ledger) sendReports(one *held) {
	one.reporting = true
	l.ask(one, one.next.request, one.next.saved)
	one.next = nil
}

func (l *ledger) ask(one *held, ask proto.Message, saved []chan<- error) {
	l.asked++
	made := &question{number: l.asked, held: one, ask: ask, saved: saved}
	l.questions[made.number] = made
	l.unsent = append(l.unsent, made)
	l.wake()
}

// heartbeats are for lines that do not carry them by themselves.
func (l *ledger) heartbeats(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.held {
		if !one.settling && !one.extending && !one.extendAt.After(now) {
			one.extendAt = now.Add(one.lease / 3)
			one.extending = true
			l.ask(one, &lessorpb.ExtendLeaseRequest{LeaseToken: one.token}, nil)
		}
	}
}

// askAgain says all that is open again, in its order: the line is a new one.
func (l *ledger) askAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsent = l.unsent[:0]
	l.waiting = 0
	for _, one := range l.questions {
		one.due = time.Time{}
		l.unsent = append(l.unsent, one)
	}
	slices.SortFunc(l.unsent, func(a, b *question) int { return cmp.Compare(a.number, b.number) })
	l.wake()
}

// ring does what is due: attempts that take too long are told so, and questions that were put off are
// asked again.
func (l *ledger) ring(now time.Time) {
	for _, one := range l.late(now) {
		l.stop(one, ErrAttemptTimeout)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == 0 {
		return
	}
	for _, one := range l.questions {
		if !one.due.IsZero() && !one.due.After(now) {
			one.due = time.Time{}
			l.waiting--
			l.unsent = append(l.unsent, one)
			l.wake()
		}
	}
}

func (l *ledger) late(now time.Time) []*held {
	l.mu.Lock()
	defer l.mu.Unlock()
	var late []*held
	for _, one := range l.held {
		if one.running && one.cause == nil && !one.attemptEnd.IsZero() && one.attemptEnd.Before(now) {
			late = append(late, one)
		}
	}
	return late
}

// send takes up to so many questions that are to be asked, and tells the room there is.
func (l *ledger) send(most int) (unsent []*question, room int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most = min(most, len(l.unsent))
	unsent = slices.Clone(l.unsent[:most])
	l.unsent = slices.Delete(l.unsent, 0, most)
	return unsent, l.room()
}

// answered hears the answer to a question. The reply is nil where the broker refused.
func (l *ledger) answered(number uint64, reply proto.Message, fault error) {
	l.mu.Lock()
	one := l.questions[number]
	if one == nil {
		l.mu.Unlock()
		return
	}
	if isUnavailable(fault) {
		if one.due.IsZero() {
			l.waiting++
		}
		one.due = time.Now().Add(max(min(one.pauses.next(nil), longestAgain), retryAfter(fault)))
		l.mu.Unlock()
		return
	}
	delete(l.questions, number)
	var refused bool
	if _, extends := one.ask.(*lessorpb.ExtendLeaseRequest); extends {
		refused = l.extended(one, fault)
	} else {
		refused = l.settled(one, fault)
	}
	l.look()
	l.mu.Unlock()
	if refused {
		l.crew.refused(one.held, fault)
	}
	if extended, ok := reply.(*lessorpb.ExtendLeaseResponse); ok && fault == nil {
		if extended.GetCancelRequested() {
			l.stop(one.held, &CancelledError{Reason: extended.GetCancelReason()})
		}
		if extended.GetDrain() {
			l.drain()
		}
	}
	if errors.Is(fault, ErrLeaseLost) {
		l.lose(one.held.token)
	}
}

func (l *ledger) settled(one *question, fault error) (refused bool) {
	if fault == nil {
		l.forget(one.held)
		return false
	}
	var told *Error
	again := errors.As(fault, &told) && one.held.ours &&
		!errors.Is(fault, ErrLeaseLost) && !errors.Is(fault, ErrLeaseSettled)
	if again {
		otherwise := refusedSettle(told)
		before, nacked := one.ask.(*lessorpb.NackRequest)
		// Where not even that is taken, the lease runs out.
		if !nacked || before.GetFailure().GetCode() != otherwise.GetFailure().GetCode() {
			l.settle(one.held, otherwise)
			return true
		}
	}
	l.forget(one.held)
	return true
}

func (l *ledger) extended(one *question, fault error) (refused bool) {
	for _, saved := range one.saved {
		saved <- fault
	}
	held := one.held
	if one.ask.(*lessorpb.ExtendLeaseRequest).GetProgress() == nil && one.saved == nil {
		held.extending = false
	} else {
		held.reporting = false
		if held.next != nil && held.ours && !held.settling {
			l.sendReports(held)
		}
	}
	return fault != nil && !errors.Is(fault, ErrLeaseLost)
}
