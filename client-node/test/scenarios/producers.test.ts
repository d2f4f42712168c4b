import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import {
  AlreadyExistsError,
  InvalidArgumentError,
  NotFoundError,
  Payload,
  WaitTimeoutError,
} from "lessor";
import { Front } from "../support/front.js";
import { Relay } from "../support/relay.js";
import { Gate, ordinary, scenarios } from "../support/scenario.js";

const scenario = scenarios(ordinary);

scenario("enqueue_and_run", async (stage) => {
  stage.worker({ greet: (job) => ({ hello: job.data.name }) });
  const { job, outcome } = await stage.client.enqueue(stage.queue, "greet", { name: "Ada" });
  assert.equal(outcome, "created");
  assert.deepEqual(await stage.client.result(job), { hello: "Ada" });
  const done = await stage.client.get(job);
  assert.equal(done.state, "succeeded");
  assert.deepEqual(done.result, { hello: "Ada" });
});

scenario("enqueue_options_are_kept", async (stage) => {
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, {
    priority: -7,
    labels: { user: "42" },
    owner: "ada",
    retry: { maxAttempts: 5, initialBackoff: "1s", multiplier: 3, maxBackoff: "1m", jitter: 0 },
    leaseDuration: "45s",
    attemptTimeout: "10m",
    retention: { succeededTtl: "2h", succeededCount: 10 },
    delay: "1h",
    ttl: "2h",
  });
  const kept = await stage.client.get(job);
  assert.equal(kept.priority, -7);
  assert.deepEqual(kept.labels, { user: "42" });
  assert.equal(kept.owner, "ada");
  assert.equal(kept.leaseDurationMs, 45_000);
  assert.equal(kept.attemptTimeoutMs, 600_000);
  assert.equal(kept.maxAttempts, 5);
  const { retryPolicy, retention } = kept.proto;
  assert.equal(retryPolicy?.multiplier, 3);
  assert.equal(retryPolicy?.jitter, 0);
  assert.equal(retryPolicy?.maxBackoff?.seconds, 60n);
  assert.equal(retention?.succeededTtl?.seconds, 7200n);
  assert.equal(retention?.succeededCount, 10);
});

scenario("unicode_everywhere", async (stage) => {
  const words = "grüße 你好 🦀 \u{1F9D1}\u{200D}\u{1F680}";
  const running = new Gate();
  const cancelled = new Gate<string>();
  stage.worker({
    [words]: async (job, context) => {
      await context.progress({ percent: 1, message: words });
      if (job.attempt === 1) throw Object.assign(new Error(words), { code: "UNICODE" });
      running.open();
      await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      cancelled.open(context.signal.reason.reason);
      throw context.signal.reason;
    },
    echo: (job) => job.data,
  });
  const options = { labels: { größe: words }, owner: words, retry: { initialBackoff: 0 } };
  const { job } = await stage.client.enqueue(stage.queue, words, { words }, options);
  await running.promise;
  const failed = await stage.client.get(job);
  assert.equal(failed.type, words);
  assert.deepEqual(failed.data, { words });
  assert.deepEqual(failed.labels, { größe: words });
  assert.equal(failed.owner, words);
  assert.equal(failed.progress?.message, words);
  assert.equal(failed.lastFailure?.message, words);
  await stage.client.cancel(job, { reason: words });
  assert.equal(await cancelled.promise, words);
  const { job: other } = await stage.client.enqueue(stage.queue, "echo", words);
  assert.equal(await stage.client.result(other), words);
});

scenario("binary_payload", async (stage) => {
  const bytes = randomBytes(1000);
  stage.worker((job) => job.data);
  const data = new Payload(bytes, "image/png");
  const { job } = await stage.client.enqueue(stage.queue, "t", data);
  const done = await stage.client.wait<Payload, Payload>(job);
  assert.deepEqual(Buffer.from(done.data.bytes), bytes);
  assert.equal(done.data.contentType, "image/png");
  assert.deepEqual(Buffer.from(done.result?.bytes ?? []), bytes);
  const plain = await stage.client.enqueue(stage.queue, "t", new Uint8Array(bytes));
  const back = await stage.client.result<Uint8Array>(plain.job);
  assert.deepEqual(Buffer.from(back), bytes);
});

scenario("empty_payload", async (stage) => {
  stage.worker((job) => ({ nothing: job.data === undefined }));
  const { job } = await stage.client.enqueue(stage.queue, "t");
  assert.deepEqual(await stage.client.result(job), { nothing: true });
});

scenario("payload_1_mib", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  const client = stage.connect({ address: front.address });
  const bytes = randomBytes(1 << 20);
  stage.worker((job) => Buffer.from(job.data).equals(bytes));
  const { job } = await client.enqueue(stage.queue, "t", bytes);
  assert.equal(await client.result(job), true);
  const before = front.count("Enqueue");
  await assert.rejects(
    client.enqueue(stage.queue, "t", Buffer.concat([bytes, Buffer.of(1)])),
    (error: InvalidArgumentError) => {
      assert.ok(error instanceof InvalidArgumentError);
      assert.equal(error.reason, "PAYLOAD_TOO_LARGE");
      assert.equal(error.metadata.limitBytes, String(1 << 20));
      return true;
    },
  );
  assert.equal(front.count("Enqueue"), before + 1);
});

scenario("invalid_field_is_named", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  const client = stage.connect({ address: front.address });
  await assert.rejects(
    client.enqueue(stage.queue, "t", 1, { priority: 2000 }),
    (error: InvalidArgumentError) => {
      assert.ok(error instanceof InvalidArgumentError);
      assert.equal(error.name, "InvalidArgumentError");
      assert.equal(error.code, "INVALID_ARGUMENT");
      assert.equal(error.reason, "INVALID_FIELD");
      assert.equal(error.fieldViolations[0]?.field, "priority");
      return true;
    },
  );
  assert.equal(front.count("Enqueue"), 1);
});

scenario("request_id_makes_one_job", async (stage) => {
  const requestId = randomUUID();
  const first = await stage.client.enqueue(stage.queue, "t", 1, { requestId });
  const second = await stage.client.enqueue(stage.queue, "t", 1, { requestId });
  assert.equal(second.outcome, "replayed");
  assert.equal(second.job.name, first.job.name);
});

scenario("enqueue_answer_lost", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const client = stage.connect({ address: relay.address });
  await client.enqueue(stage.queue, "before");
  const made: string[] = [];
  const seen = new Gate();
  const watch = stage.client.watch({ queues: stage.queue, types: ["JOB_CREATED"], oldest: true });
  t.after(() => watch.close());
  void (async () => {
    for await (const event of watch) {
      made.push(event.jobType);
      if (event.jobType === "lost") seen.open();
    }
  })();
  relay.isDeaf = true;
  const enqueued = client.enqueue(stage.queue, "lost", 1);
  await seen.promise;
  relay.isDeaf = false;
  relay.cut();
  const { job, outcome } = await enqueued;
  assert.equal(outcome, "replayed");
  const { job: last } = await client.enqueue(stage.queue, "after");
  assert.notEqual(job.name, last.name);
  for await (const event of stage.client.watch({ queues: stage.queue, oldest: true })) {
    if (event.jobType === "after") break;
  }
  assert.equal(made.filter((type) => type === "lost").length, 1);
});

scenario("chosen_job_id", async (stage) => {
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, { jobId: "order-7" });
  assert.equal(job.id, "order-7");
  assert.equal(job.name, `queues/${stage.queue}/jobs/order-7`);
  await assert.rejects(
    stage.client.enqueue(stage.queue, "t", 2, { jobId: "order-7" }),
    (error: AlreadyExistsError) => {
      assert.ok(error instanceof AlreadyExistsError);
      assert.equal(error.reason, "JOB_EXISTS");
      return true;
    },
  );
});

scenario("dedup_key", async (stage) => {
  const first = await stage.client.enqueue(stage.queue, "t", 1, { dedup: "order 7" });
  const second = await stage.client.enqueue(stage.queue, "t", 2, { dedup: "order 7" });
  assert.equal(second.outcome, "deduplicated");
  assert.equal(second.job.name, first.job.name);
  await assert.rejects(
    stage.client.enqueue(stage.queue, "t", 3, { dedup: { key: "order 7", onDuplicate: "reject" } }),
    { name: "AlreadyExistsError", reason: "DUPLICATE" },
  );
});

scenario("delay", async (stage) => {
  stage.worker(() => "done");
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, { delay: 700 });
  assert.equal(job.state, "scheduled");
  const done = await stage.client.wait(job);
  const waited = Number(done.startTime) - Number(done.createTime);
  assert.ok(waited >= 700, `it ran after ${waited} ms`);
});

scenario("priority", async (stage) => {
  const order: number[] = [];
  for (const priority of [0, -5, 9, 3]) {
    await stage.client.enqueue(stage.queue, "t", priority, { priority });
  }
  const all = new Gate();
  stage.worker((job) => {
    order.push(job.data);
    if (order.length === 4) all.open();
  });
  await all.promise;
  assert.deepEqual(order, [9, 3, 0, -5]);
});

scenario("concurrent_enqueues_join", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  const client = stage.connect({ address: front.address });
  const numbers = Array.from({ length: 600 }, (_, index) => index);
  const all = await Promise.all(numbers.map((n) => client.enqueue(stage.queue, `t${n}`, n)));
  assert.equal(new Set(all.map(({ job }) => job.name)).size, 600);
  for (const [n, { job }] of all.entries()) assert.equal(job.type, `t${n}`);
  assert.ok(front.calls.length <= 6, `${front.calls.length} calls`);
});

scenario("batch_with_one_bad_item", async (stage) => {
  const [good, bad, other] = await stage.client.enqueueEach([
    { queue: stage.queue, type: "a", data: 1 },
    { queue: stage.queue, type: "b", data: 2, priority: 5000 },
    { queue: `${stage.queue}-2`, type: "c", data: 3 },
  ]);
  assert.equal(good?.status, "fulfilled");
  assert.equal(other?.status, "fulfilled");
  assert.equal(bad?.status, "rejected");
  assert.ok(bad.reason instanceof InvalidArgumentError);
  assert.match(bad.reason.fieldViolations[0]?.field ?? "", /priority/);
});

scenario("batch_all_or_nothing", async (stage) => {
  await assert.rejects(
    stage.client.enqueueBatch(stage.queue, [
      { type: "a", jobId: "one" },
      { type: "b", jobId: "two", priority: 5000 },
    ]),
    (error: InvalidArgumentError) => {
      assert.match(error.fieldViolations[0]?.field ?? "", /requests\[1\]/);
      return true;
    },
  );
  await assert.rejects(stage.client.get(`queues/${stage.queue}/jobs/one`), NotFoundError);
  const both = await stage.client.enqueueBatch(stage.queue, [{ type: "a" }, { type: "b" }]);
  assert.deepEqual(
    both.map(({ job }) => job.type),
    ["a", "b"],
  );
});

scenario("wait_for_result", async (stage) => {
  const gate = new Gate();
  stage.worker(async () => {
    await gate.promise;
    return 42;
  });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await assert.rejects(stage.client.wait(job, { timeout: 100 }), WaitTimeoutError);
  gate.open();
  const ended = await stage.client.wait(job, { timeout: "10s" });
  assert.equal(ended.state, "succeeded");
  assert.equal(ended.result, 42);
});

scenario("job_not_found", async (stage) => {
  const name = `queues/${stage.queue}/jobs/nobody`;
  await assert.rejects(stage.client.get(name), (error: NotFoundError) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.reason, "JOB_NOT_FOUND");
    return true;
  });
  await assert.rejects(stage.client.wait(name), NotFoundError);
});

scenario("cancel_pending", async (stage) => {
  const ran: string[] = [];
  const { job } = await stage.client.enqueue(stage.queue, "cancelled");
  const cancelled = await stage.client.cancel(job, { reason: "not wanted" });
  assert.equal(cancelled.state, "cancelled");
  stage.worker((it) => {
    ran.push(it.type);
  });
  const { job: next } = await stage.client.enqueue(stage.queue, "next");
  await stage.client.wait(next);
  assert.deepEqual(ran, ["next"]);
});

scenario("watch_one_job", async (stage) => {
  const { job } = await stage.client.enqueue(stage.queue, "t");
  const begun = new Gate();
  const told: [string, string][] = [];
  const watching = (async () => {
    for await (const event of stage.client.watch({ job })) {
      told.push([event.type, event.reason]);
      begun.open();
    }
  })();
  await begun.promise;
  stage.worker(() => 1);
  await watching;
  assert.deepEqual(told[0], ["JOB_READY", "PRESENT_STATE"]);
  assert.deepEqual(
    told.slice(1).map(([type]) => type),
    ["JOB_LEASED", "JOB_SUCCEEDED"],
  );
});

scenario("watch_resumes", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const client = stage.connect({ address: relay.address });
  const ids: string[] = [];
  const types: string[] = [];
  const enough = new Gate();
  const first = new Gate();
  const watch = client.watch({ queues: stage.queue, types: ["JOB_CREATED"], oldest: true });
  const watching = (async () => {
    for await (const event of watch) {
      ids.push(event.id);
      types.push(event.jobType);
      first.open();
      if (event.jobType === "t19") enough.open();
    }
  })();
  for (let n = 0; n < 20; n += 1) {
    await stage.client.enqueue(stage.queue, `t${n}`);
    if (n === 4) await first.promise;
    if (n % 7 === 5) relay.cut();
  }
  await enough.promise;
  watch.close();
  await watching;
  assert.ok(relay.connections > 1);
  assert.deepEqual(
    types,
    Array.from({ length: 20 }, (_, n) => `t${n}`),
  );
  assert.equal(new Set(ids).size, 20);
});
