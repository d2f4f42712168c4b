package lessor_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	lessor "github.com/lessor/lessor/client-go"
	"github.com/lessor/lessor/client-go/internal/brokertest"
)

// A broker ends what was begun with a token that is gone; a worker that asks for its token each time goes on.
func TestAWorkerGoesOnWithItsNewToken(t *testing.T) {
	t.Parallel()
	for name, withoutStream := range map[string]bool{"on a stream": false, "by calls": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "tokens.toml")
			var token atomic.Value
			allow := func(only string) {
				token.Store(only)
				must(t, os.WriteFile(file, fmt.Appendf(nil,
					"[[identity]]\nname = \"test\"\nroles = [\"producer\", \"worker\", \"viewer\"]\n"+
						"queues = [\"*\"]\ntokens = [\"sha256:%x\"]\n", sha256.Sum256([]byte(only))), 0o600))
			}
			allow("old")
			broker := brokertest.Start(t, "--auth-tokens", file)
			client := newClient(t, lessor.ClientOptions{
				Address:     broker.URL(),
				TokenSource: func(context.Context) (string, error) { return token.Load().(string), nil },
			})
			queue := newQueue()
			worker := work(t, client, lessor.WorkerOptions{Queues: []string{queue}, WithoutStream: withoutStream}, anyType(echo))
			byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
			eventually(t, "connected", worker.IsConnected)

			allow("new")
			eventually(t, "the old token is gone", func() bool {
				_, err := client.Enqueue(deadline(t), lessor.NewJob{Queue: "other"})
				return err == nil
			})
			byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
		})
	}
}
