// Package lessor is the client of the Lessor job broker: a [Client] enqueues jobs, waits for them,
// cancels and watches them; a [Worker] runs them.
//
// A producer:
//
//	client, err := lessor.NewClient(lessor.ClientOptions{})
//	...
//	job, err := client.Enqueue(ctx, lessor.NewJob{Queue: "emails", Type: "send_email", Data: mail})
//
// A worker:
//
//	worker, err := lessor.NewWorker(client, lessor.WorkerOptions{Queues: []string{"emails"}})
//	...
//	worker.Handle("send_email", func(ctx context.Context, job *lessor.Job) (any, error) {
//		var mail Mail
//		if err := job.Payload.Decode(&mail); err != nil {
//			return nil, lessor.Reject(err)
//		}
//		return send(ctx, mail)
//	})
//	err = worker.Run(ctx)
//
// Every call has a deadline, is repeated while its fault is a passing one, and is safe to repeat.
// The worker extends its leases by itself. The context of a handler ends when its lease is lost, its
// job is cancelled, its attempt takes too long or the worker stops; [context.Cause] says which.
package lessor
