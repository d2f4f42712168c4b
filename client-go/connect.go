package lessor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	defaultAddress = "http://127.0.0.1:7077"
	defaultPort    = "7077"
	defaultTimeout = 10 * time.Second

	// A connection that is quiet for this long is asked for a sign of life; less annoys proxies.
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second

	connectTimeout = 5 * time.Second
	streamWindow   = 4 << 20
	connWindow     = 16 << 20
	mostReceived   = 16 << 20
)

// address is where a broker is, read from what a user wrote.
type address struct {
	written string
	target  string
	secure  bool
	spread  bool
}

// parseAddress reads http://host:7077, https://host:7077 (TLS), host:7077, or a target of gRPC's.
func parseAddress(written string) (address, error) {
	if written == "" {
		written = os.Getenv("LESSOR_SERVER")
	}
	if written == "" {
		written = defaultAddress
	}
	if strings.HasPrefix(written, "dns:") || strings.HasPrefix(written, "unix:") {
		return address{written, written, false, strings.HasPrefix(written, "dns:")}, nil
	}
	full := written
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	parsed, err := url.Parse(full)
	if err != nil || parsed.Hostname() == "" || strings.Trim(parsed.Path, "/") != "" ||
		(parsed.Scheme != "http" && parsed.Scheme != "https") {
		return address{}, fmt.Errorf("lessor: bad broker address %q: write it as %s", written, defaultAddress)
	}
	port := parsed.Port()
	if port == "" {
		port = defaultPort
		if parsed.Scheme == "https" {
			port = "443"
		}
	}
	target := "dns:///" + net.JoinHostPort(parsed.Hostname(), port)
	return address{written, target, parsed.Scheme == "https", false}, nil
}

// link is how a broker is reached, settled once from the options.
type link struct {
	address address
	options []grpc.DialOption
}

func newLink(options ClientOptions) (*link, error) {
	where, err := parseAddress(options.Address)
	if err != nil {
		return nil, err
	}
	secrets := insecure.NewCredentials()
	if options.TLS != nil || where.secure {
		config := options.TLS
		if config == nil {
			config = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		secrets = credentials.NewTLS(config)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(secrets),
		grpc.WithUserAgent("lessor-go/" + Version),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second,
			},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostReceived)),
		// Repeats are made here, where the broker's word on when is heard.
		grpc.WithDisableRetry(),
	}
	if where.spread {
		dial = append(dial, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	}
	if source := tokenSource(options); source != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer(source)))
	}
	return &link{where, append(dial, options.DialOptions...)}, nil
}

// dial makes a connection of its own; nothing is opened before the first call.
func (l *link) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(l.address.target, l.options...)
	if err != nil {
		return nil, fmt.Errorf("lessor: %w", err)
	}
	return conn, nil
}

func tokenSource(options ClientOptions) func(context.Context) (string, error) {
	if options.TokenSource != nil || options.Token == "" {
		return options.TokenSource
	}
	return func(context.Context) (string, error) { return options.Token, nil }
}

// bearer sends the token with every call.
type bearer func(context.Context) (string, error)

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is false: within a cluster, a broker may well be reached without TLS.
func (bearer) RequireTransportSecurity() bool { return false }

// caller makes calls as this library does: with a deadline, repeated where that is safe, and with
// its errors.
type caller struct {
	grpc.ClientConnInterface
	address string
	timeout time.Duration
}

// Invoke makes a unary call.
func (c *caller) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := withTimeout(ctx, c.timeout)
	defer cancel()
	try := func() error {
		return errorOf(c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...), c.address)
	}
	if !repeatable(args) {
		return try()
	}
	return persist(ctx, try)
}

// withTimeout sees to it that there is a deadline: the caller's own, or the usual one.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// repeatable says whether a request may arrive twice. Those that make something need an id for that.
func repeatable(request any) bool {
	switch request := request.(type) {
	case *lessorpb.BatchEnqueueRequest:
		if request.GetRequestId() != "" {
			return true
		}
		for _, one := range request.GetRequests() {
			if one.GetRequestId() == "" {
				return false
			}
		}
		return true
	case interface{ GetRequestId() string }:
		return request.GetRequestId() != ""
	default:
		return true
	}
}
