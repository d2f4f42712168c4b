package brokertest

import (
	"net"
	"sync"
	"testing"
)

// Proxy is a way to a broker that can be broken.
type Proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cond  *sync.Cond
	conns map[net.Conn]struct{}
	// Connections are refused.
	closed bool
	// Nothing passes, though connections live.
	frozen bool
	// Answers get lost on the connections that there are.
	swallow bool
	opened  int
}

// NewProxy makes a way to a host and port.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &Proxy{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	proxy.cond = sync.NewCond(&proxy.mu)
	go proxy.serve()
	t.Cleanup(func() {
		_ = listener.Close()
		proxy.Thaw()
		proxy.Cut()
	})
	return proxy
}

// URL is its address.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Opened is how many connections were opened so far.
func (p *Proxy) Opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// Cut breaks all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
	p.swallow = false
}

// Close breaks all connections and refuses new ones.
func (p *Proxy) Close() {
	p.set(func() { p.closed = true })
	p.Cut()
}

// Open ends that.
func (p *Proxy) Open() { p.set(func() { p.closed = false }) }

// Freeze lets nothing pass on the connections that there are; new ones work.
func (p *Proxy) Freeze() { p.set(func() { p.frozen = true }) }

// Thaw ends that.
func (p *Proxy) Thaw() { p.set(func() { p.frozen = false }) }

// LoseAnswers loses what the broker says from now on, until Cut.
func (p *Proxy) LoseAnswers() { p.set(func() { p.swallow = true }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.cond.Broadcast()
}

func (p *Proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		closed, frozen := p.closed, p.frozen
		p.opened++
		p.mu.Unlock()
		if closed {
			_ = near.Close()
			continue
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.carry(far, near, false, !frozen)
		go p.carry(near, far, true, !frozen)
	}
}

// carry moves bytes one way. Whether it may be frozen is settled when the connection is made.
func (p *Proxy) carry(to, from net.Conn, answers, freezes bool) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.frozen && freezes {
			p.cond.Wait()
		}
		lost := answers && p.swallow
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// Mute listens and never answers.
func Mute(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return "http://" + listener.Addr().String()
}
