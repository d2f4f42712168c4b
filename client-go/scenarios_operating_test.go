package lessor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/internal/brokertest"
)

func TestScenario_trace_context_is_carried(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	traced := newClient(t, lessor.ClientOptions{TracerProvider: provider})
	plain, queue := newClient(t, lessor.ClientOptions{}), newQueue()
	seen := make(chan map[string]string, 2)
	handler := anyType(func(_ context.Context, job *lessor.Job) (any, error) {
		seen <- job.TraceContext
		return nil, nil
	})
	ctx, request := provider.Tracer("test").Start(deadline(t), "request")
	job, err := traced.Enqueue(ctx, lessor.NewJob{Queue: queue})
	must(t, err)
	request.End()
	worker := work(t, traced, on(queue), handler)
	carried := receive(t, seen)["traceparent"]
	id := request.SpanContext().TraceID()
	equal(t, strings.Contains(carried, id.String()), true)
	finished(t, traced, job.Name)
	worker.end()

	var sent, processed tracetest.SpanStub
	for _, span := range spans.GetSpans() {
		switch span.Name {
		case "send " + queue:
			sent = span
		case "process " + queue:
			processed = span
		}
	}
	equal(t, sent.Parent.SpanID(), request.SpanContext().SpanID())
	equal(t, len(processed.Links), 1)
	equal(t, processed.Links[0].SpanContext.SpanID(), sent.SpanContext.SpanID())
	equal(t, processed.SpanContext.TraceID() != id, true)

	// The same context is there without a tracer.
	given := map[string]string{"traceparent": carried}
	enqueue(t, plain, lessor.NewJob{Queue: queue, TraceContext: given})
	work(t, plain, on(queue), handler)
	equal(t, receive(t, seen)["traceparent"], carried)
}

func TestScenario_health_probe(t *testing.T) {
	t.Parallel()
	proxy := brokertest.NewProxy(t, shared.Addr())
	worker := work(t, newClient(t, lessor.ClientOptions{Address: proxy.URL()}), short(newQueue()), anyType(echo))
	server := httptest.NewServer(worker.Health())
	t.Cleanup(server.Close)
	says := func(code int) func() bool {
		return func() bool {
			answer, err := http.Get(server.URL)
			must(t, err)
			must(t, answer.Body.Close())
			return answer.StatusCode == code
		}
	}
	eventually(t, "200", says(http.StatusOK))
	proxy.Close()
	eventually(t, "503", says(http.StatusServiceUnavailable))
	proxy.Open()
	eventually(t, "200 again", says(http.StatusOK))
	worker.end()
	equal(t, says(http.StatusServiceUnavailable)(), true)
}

func TestScenario_structured_logs(t *testing.T) {
	t.Parallel()
	said := &logs{}
	client, queue := newClient(t, lessor.ClientOptions{Logger: said.logger()}), newQueue()
	worker := work(t, client, on(queue), map[string]lessor.Handler{
		"good": echo,
		"bad": func(context.Context, *lessor.Job) (any, error) {
			return nil, lessor.Reject(context.Canceled)
		},
	})
	want := map[string]string{
		enqueue(t, client, lessor.NewJob{Queue: queue, Type: "good"}).Name: "good succeeded",
		enqueue(t, client, lessor.NewJob{Queue: queue, Type: "bad"}).Name:  "bad dead",
	}
	for name := range want {
		finished(t, client, name)
	}
	worker.end()
	for line := range strings.Lines(said.String()) {
		var fields struct {
			Message                    string `json:"msg"`
			Job, Type, Worker, Outcome string
			Attempt                    int
		}
		must(t, json.Unmarshal([]byte(line), &fields))
		if fields.Message != "attempt ended" {
			continue
		}
		equal(t, fields.Type+" "+fields.Outcome, want[fields.Job])
		equal(t, fields.Worker, worker.ID())
		equal(t, fields.Attempt, 1)
		delete(want, fields.Job)
	}
	equal(t, len(want), 0)
}

const secret = "s3cret-t0ken"

// guarded is a broker that lets nobody in but who has the token.
func guarded(t *testing.T) *brokertest.Broker {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.toml")
	must(t, os.WriteFile(file, fmt.Appendf(nil,
		"[[identity]]\nname = \"test\"\nroles = [\"producer\", \"worker\", \"viewer\"]\n"+
			"queues = [\"*\"]\ntokens = [\"sha256:%x\"]\n", sha256.Sum256([]byte(secret))), 0o600))
	return brokertest.Start(t, "--auth-tokens", file)
}

func TestScenario_token_is_sent(t *testing.T) {
	t.Parallel()
	broker := guarded(t)
	client, queue := newClient(t, lessor.ClientOptions{Address: broker.URL(), Token: secret}), newQueue()
	source := newClient(t, lessor.ClientOptions{
		Address:     broker.URL(),
		TokenSource: func(context.Context) (string, error) { return secret, nil },
	})
	work(t, source, on(queue), anyType(echo))
	name := enqueue(t, client, lessor.NewJob{Queue: queue}).Name
	for event, err := range client.Watch(deadline(t), lessor.WatchOptions{Job: name}) {
		must(t, err)
		equal(t, event.Job, name)
	}
	byFirstAttempt(t, client, name)
}

func TestScenario_bad_token_is_final(t *testing.T) {
	t.Parallel()
	gate := brokertest.NewGate(t, guarded(t).Addr(), nil)
	said := &logs{}
	client := newClient(t, lessor.ClientOptions{Address: gate.URL(), Token: "wr0ng-t0ken", Logger: said.logger()})
	_, err := client.Enqueue(deadline(t), lessor.NewJob{Queue: "q"})
	equal(t, fault(t, err, lessor.ErrUnauthenticated).Reason, "NO_CREDENTIAL")
	equal(t, gate.Calls("Enqueue"), 1)
	worker, failed := lessor.NewWorker(client, on("q"))
	must(t, failed)
	refused := worker.Run(deadline(t))
	fault(t, refused, lessor.ErrUnauthenticated)
	equal(t, gate.Calls("Work"), 1)
	equal(t, strings.Contains(err.Error()+refused.Error()+said.String(), "wr0ng-t0ken"), false)
}

// authority makes a certificate for this machine and its key, as files, and what trusts it.
func authority(t *testing.T) (certificate, secret string, trust *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	hidden, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	folder := t.TempDir()
	write := func(name, kind string, bytes []byte) (string, []byte) {
		file, block := filepath.Join(folder, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
		must(t, os.WriteFile(file, block, 0o600))
		return file, block
	}
	certificate, shown := write("tls.crt", "CERTIFICATE", made)
	secret, _ = write("tls.key", "PRIVATE KEY", hidden)
	pool := x509.NewCertPool()
	equal(t, pool.AppendCertsFromPEM(shown), true)
	return certificate, secret, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestScenario_tls(t *testing.T) {
	t.Parallel()
	certificate, key, trust := authority(t)
	_, _, other := authority(t)
	broker := brokertest.Start(t, "--tls-cert", certificate, "--tls-key", key)
	address, queue := "https://"+broker.Addr(), newQueue()
	client := newClient(t, lessor.ClientOptions{Address: address, TLS: trust})
	work(t, client, on(queue), anyType(echo))
	byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
	stranger := newClient(t, lessor.ClientOptions{
		Address: address, TLS: other, Timeout: 200 * time.Millisecond,
	})
	_, err := stranger.Enqueue(t.Context(), lessor.NewJob{Queue: queue})
	equal(t, strings.Contains(err.Error(), "certificate"), true)
}
