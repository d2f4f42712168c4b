// Package keda asks a broker what KEDA asks, by KEDA's own generated client.
package keda

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// broker is the real binary, in a process of its own, with a store in memory.
type broker struct {
	t      *testing.T
	server string
	keda   externalscaler.ExternalScalerClient
}

func start(t *testing.T) *broker {
	t.Helper()
	ops := freePort(t)
	process := exec.Command(os.Getenv("LESSOR_BIN"), "serve", "--store", "sqlite::memory:",
		"--listen", "127.0.0.1:0", "--ops-listen", ops)
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatalf("LESSOR_BIN must name the broker's binary: %v", err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`serving on ([^,]+),`).FindStringSubmatch(line)
	if address == nil {
		t.Fatalf("no address in %q", line)
	}
	connection, err := grpc.NewClient(ops, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return &broker{t, "http://" + address[1], externalscaler.NewExternalScalerClient(connection)}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// run runs a command of the command line and answers what it printed.
func (b *broker) run(arguments ...string) []byte {
	b.t.Helper()
	command := exec.Command(os.Getenv("LESSOR_BIN"), append([]string{"-o", "json"}, arguments...)...)
	command.Env = append(os.Environ(), "LESSOR_SERVER="+b.server)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		b.t.Fatalf("lessor %s: %v", strings.Join(arguments, " "), err)
	}
	return output
}

// lease takes a job and answers its token.
func (b *broker) lease(queue string) string {
	b.t.Helper()
	var answer struct{ Jobs []struct{ LeaseToken string } }
	output := b.run("lease", queue, "--wait", "10s")
	if err := json.Unmarshal(output, &answer); err != nil || len(answer.Jobs) != 1 {
		b.t.Fatalf("%v in %s", err, output)
	}
	return answer.Jobs[0].LeaseToken
}

func trigger(metadata ...string) *externalscaler.ScaledObjectRef {
	scaled := &externalscaler.ScaledObjectRef{Name: "mailer", Namespace: "jobs", ScalerMetadata: map[string]string{}}
	for index := 0; index < len(metadata); index += 2 {
		scaled.ScalerMetadata[metadata[index]] = metadata[index+1]
	}
	return scaled
}

func (b *broker) active(scaled *externalscaler.ScaledObjectRef) bool {
	b.t.Helper()
	answer, err := b.keda.IsActive(b.t.Context(), scaled)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.Result
}

// jobs asks for the metric as KEDA does: by the name that the specification has.
func (b *broker) jobs(scaled *externalscaler.ScaledObjectRef) float64 {
	b.t.Helper()
	specification, err := b.keda.GetMetricSpec(b.t.Context(), scaled)
	if err != nil {
		b.t.Fatal(err)
	}
	name := specification.MetricSpecs[0].MetricName
	request := &externalscaler.GetMetricsRequest{ScaledObjectRef: scaled, MetricName: name}
	answer, err := b.keda.GetMetrics(b.t.Context(), request)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(answer.MetricValues) != 1 || answer.MetricValues[0].MetricName != name {
		b.t.Fatalf("asked for %s, got %v", name, answer.MetricValues)
	}
	value := answer.MetricValues[0]
	if float64(value.MetricValue) != value.MetricValueFloat {
		b.t.Fatalf("two values of one metric: %v", value)
	}
	return value.MetricValueFloat
}

func (b *broker) expect(scaled *externalscaler.ScaledObjectRef, active bool, jobs float64) {
	b.t.Helper()
	if got := b.active(scaled); got != active {
		b.t.Errorf("active is %v, not %v", got, active)
	}
	if got := b.jobs(scaled); got != jobs {
		b.t.Errorf("%v jobs, not %v", got, jobs)
	}
}

func TestReadyAndLeasedJobsAreCounted(t *testing.T) {
	b := start(t)
	emails := trigger("queue", "emails")
	b.expect(emails, false, 0)
	b.run("enqueue", "emails")
	b.run("enqueue", "emails")
	b.run("enqueue", "emails", "--delay", "1h")
	b.expect(emails, true, 2)
	first := b.lease("emails")
	b.expect(emails, true, 2)
	b.run("ack", first)
	b.expect(emails, true, 1)
}

func TestABusyWorkerIsNotScaledAway(t *testing.T) {
	b := start(t)
	emails := trigger("queue", "emails")
	b.run("enqueue", "emails")
	token := b.lease("emails")
	b.run("queue", "pause", "emails")
	b.expect(emails, true, 1)
	b.run("ack", token)
	b.expect(emails, false, 0)
}

func TestJobsThatNoWorkerWouldGetAreLeftOut(t *testing.T) {
	b := start(t)
	for range 5 {
		for _, queue := range []string{"paused", "narrow", "slow"} {
			b.run("enqueue", queue)
		}
	}
	b.run("queue", "pause", "paused")
	b.expect(trigger("queue", "paused"), false, 0)

	b.run("queue", "update", "narrow", "--max-leased", "2")
	narrow := trigger("queue", "narrow")
	b.expect(narrow, true, 2)
	b.lease("narrow")
	b.lease("narrow")
	b.expect(narrow, true, 2)

	b.run("queue", "update", "slow", "--rate", "1/1h", "--burst", "1")
	slow := trigger("queue", "slow")
	b.expect(slow, true, 1)
	b.run("ack", b.lease("slow"))
	b.expect(slow, false, 0)

	b.run("queue", "resume", "paused")
	b.expect(trigger("queue", "paused"), true, 5)
}

func TestOneTriggerMayNameManyQueues(t *testing.T) {
	b := start(t)
	for _, queue := range []string{"mail-in", "mail-out", "orders", "other"} {
		b.run("enqueue", queue)
	}
	b.expect(trigger("queue", "mail-*, orders, orders"), true, 3)
	b.expect(trigger("queue", "*"), true, 4)
}

func TestTheTargetIsWhatAWorkerDoesAtATime(t *testing.T) {
	b := start(t)
	for text, target := range map[string]float64{"10": 10, "2.5": 2.5, "": 1} {
		scaled := trigger("queue", "emails")
		if text != "" {
			scaled.ScalerMetadata["jobsPerWorker"] = text
		}
		answer, err := b.keda.GetMetricSpec(t.Context(), scaled)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.MetricSpecs[0].TargetSizeFloat; got != target {
			t.Errorf("the target of %q is %v, not %v", text, got, target)
		}
	}
}

func TestAMistakeIsNamed(t *testing.T) {
	b := start(t)
	mistakes := []struct {
		scaled *externalscaler.ScaledObjectRef
		field  string
	}{
		{trigger(), "scalerMetadata.queue"},
		{trigger("queue", "a b"), "scalerMetadata.queue"},
		{trigger("queue", strings.Repeat("a,", 64)+"a"), "scalerMetadata.queue"},
		{trigger("queue", "emails", "jobsPerWorker", "0"), "scalerMetadata.jobsPerWorker"},
		{trigger("queue", "emails", "jobsPerWorker", "many"), "scalerMetadata.jobsPerWorker"},
	}
	for _, mistake := range mistakes {
		_, err := b.keda.IsActive(t.Context(), mistake.scaled)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), mistake.field) {
			t.Errorf("%v: %v", mistake.scaled.ScalerMetadata, err)
		}
	}
}

func TestAStreamTellsWhenWorkComesAndGoes(t *testing.T) {
	b := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := b.keda.StreamIsActive(ctx, trigger("queue", "emails"))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(active bool) {
		t.Helper()
		answer, err := stream.Recv()
		if err != nil || answer.Result != active {
			t.Fatalf("told %v, %v instead of %v", answer, err, active)
		}
	}
	expect(false)
	b.run("enqueue", "emails")
	expect(true)
	b.run("ack", b.lease("emails"))
	expect(false)
}
