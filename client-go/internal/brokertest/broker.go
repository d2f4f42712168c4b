// Package brokertest starts real brokers for tests, and breaks the way to them.
package brokertest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a broker has to start or to end.
const patience = 20 * time.Second

var serving = regexp.MustCompile(`serving on ([^ ,]+)`)

// Broker is a running broker.
type Broker struct {
	t       testing.TB
	args    []string
	address string

	mu  sync.Mutex
	cmd *exec.Cmd
	out *strings.Builder
}

// Binary is the broker's: LESSOR_BIN, or what cargo built.
func Binary() string {
	if named := os.Getenv("LESSOR_BIN"); named != "" {
		return named
	}
	target := os.Getenv("CARGO_TARGET_DIR")
	if target == "" {
		_, here, _, _ := runtime.Caller(0)
		target = filepath.Join(filepath.Dir(here), "..", "..", "..", "target")
	}
	return filepath.Join(target, "debug", "lessor")
}

// Start starts a broker on a free port, with its jobs in memory unless the arguments say otherwise.
func Start(t testing.TB, args ...string) *Broker {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--store") {
		args = append(args, "--store", "sqlite::memory:")
	}
	broker := &Broker{t: t, args: args, address: "127.0.0.1:0"}
	broker.Resume()
	t.Cleanup(broker.Kill)
	return broker
}

// Beside starts another broker on the same store, at another address.
func (b *Broker) Beside() *Broker {
	b.t.Helper()
	return Start(b.t, b.args...)
}

// Addr is its host and port.
func (b *Broker) Addr() string { return b.address }

// URL is its address as clients take it.
func (b *Broker) URL() string { return "http://" + b.address }

// Resume starts it again, at the same address, with the same store.
func (b *Broker) Resume() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	args := append([]string{"serve", "--listen", b.address, "--log", "warn"}, b.args...)
	b.cmd = exec.Command(Binary(), args...)
	b.cmd.Env = append(os.Environ(), "LESSOR_LISTEN=", "LESSOR_STORE=")
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.out = &strings.Builder{}
	b.cmd.Stderr = b.out
	stdout, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	// The signal of a parent's death is that of its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("%v: build it with cargo build, or set LESSOR_BIN", err)
	}
	stuck := time.AfterFunc(patience, func() { _ = b.cmd.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	found := serving.FindStringSubmatch(line)
	if found == nil {
		_ = b.cmd.Wait()
		b.t.Fatalf("the broker does not serve: %q %v\n%s", line, err, b.out)
	}
	b.address = found[1]
	go func() { _, _ = io.Copy(io.Discard, lines) }()
}

// Kill ends it at once, as a crash does.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Stop ends it in good order.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

func (b *Broker) end(how syscall.Signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cmd == nil {
		return
	}
	stuck := time.AfterFunc(patience, func() { _ = b.cmd.Process.Kill() })
	defer stuck.Stop()
	_ = b.cmd.Process.Signal(how)
	_ = b.cmd.Wait()
	b.cmd = nil
}
