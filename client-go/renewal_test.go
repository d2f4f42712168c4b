package lessor_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
			allow := func(tokens ...string) {
				digests := make([]string, len(tokens))
				for i, token := range tokens {
					digests[i] = fmt.Sprintf("\"sha256:%x\"", sha256.Sum256([]byte(token)))
				}
				must(t, os.WriteFile(file, fmt.Appendf(nil,
					"[[identity]]\nname = \"test\"\nroles = [\"producer\", \"worker\", \"viewer\"]\n"+
						"queues = [\"*\"]\ntokens = [%s]\n", strings.Join(digests, ", ")), 0o600))
			}
			token.Store("old")
			// The broker knows the new one before anybody uses it.
			allow("old", "new")
			broker := brokertest.Start(t, "--auth-tokens", file)
			client := newClient(t, lessor.ClientOptions{
				Address:     broker.URL(),
				TokenSource: func(context.Context) (string, error) { return token.Load().(string), nil },
			})
			queue := newQueue()
			worker := work(t, client, lessor.WorkerOptions{Queues: []string{queue}, WithoutStream: withoutStream}, anyType(echo))
			byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
			eventually(t, "connected", worker.IsConnected)

			token.Store("new")
			allow("new")
			stranger := newClient(t, lessor.ClientOptions{Address: broker.URL(), Token: "old"})
			eventually(t, "the old token is gone", func() bool {
				_, err := stranger.Enqueue(deadline(t), lessor.NewJob{Queue: "other"})
				return errors.Is(err, lessor.ErrUnauthenticated)
			})
			byFirstAttempt(t, client, enqueue(t, client, lessor.NewJob{Queue: queue}).Name)
		})
	}
}
