package brokertest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// Gate passes calls on to a broker, but for those that it refuses.
type Gate struct {
	address string
	conn    *grpc.ClientConn
	check   func(method string, sent metadata.MD) error

	mu    sync.Mutex
	calls map[string]int
}

// NewGate makes a gate to a host and port. The check may be nil.
func NewGate(t testing.TB, target string, check func(method string, sent metadata.MD) error) *Gate {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := &Gate{address: listener.Addr().String(), conn: conn, check: check, calls: make(map[string]int)}
	server := grpc.NewServer(grpc.UnknownServiceHandler(gate.pass), grpc.ForceServerCodecV2(raw{}))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		_ = conn.Close()
	})
	return gate
}

// URL is its address as clients take it.
func (g *Gate) URL() string { return "http://" + g.address }

// Calls is how often a method was called.
func (g *Gate) Calls(method string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls["/lessor.v1.JobBroker/"+method]
}

func (g *Gate) pass(_ any, near grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(near)
	g.mu.Lock()
	g.calls[method]++
	g.mu.Unlock()
	sent, _ := metadata.FromIncomingContext(near.Context())
	if g.check != nil {
		if err := g.check(method, sent); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(near.Context(), sent))
	defer cancel()
	far, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		method, grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	go func() {
		var frame mem.BufferSlice
		for near.RecvMsg(&frame) == nil {
			if far.SendMsg(&frame) != nil {
				return
			}
		}
		_ = far.CloseSend()
	}()
	for {
		var frame mem.BufferSlice
		if err := far.RecvMsg(&frame); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := near.SendMsg(&frame); err != nil {
			return err
		}
	}
}

// raw passes messages on as they are.
type raw struct{}

var _ encoding.CodecV2 = raw{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) { return copied(*v.(*mem.BufferSlice)), nil }

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*mem.BufferSlice) = copied(data)
	return nil
}

// copied lives on when its origin is given back.
func copied(data mem.BufferSlice) mem.BufferSlice {
	return mem.BufferSlice{mem.SliceBuffer(data.Materialize())}
}
