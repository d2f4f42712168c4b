import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import {
  AlreadyExistsError,
  Client,
  DeadlineError,
  InvalidArgumentError,
  JobFailedError,
  NotFoundError,
  Payload,
  ReleaseError,
  RetryError,
  SnoozeError,
  UnrecoverableError,
  WaitTimeoutError,
} from "lessor/fetch";
import { Broker } from "./support/broker.js";
import { Gate, Stage } from "./support/scenario.js";

let starting: Promise<Broker> | undefined;
test.after(async () => (await starting)?.stop());

/** A test with a client of both kinds. */
function fetching(
  name: string,
  body: (client: Client, stage: Stage, address: string) => Promise<void>,
): void {
  test(`fetch: ${name}`, { timeout: 30_000 }, async (t) => {
    starting ??= Broker.start();
    const { address } = await starting;
    await body(new Client({ address }), new Stage(t, address), address);
  });
}

test("fetch: the module needs nothing but the platform", async () => {
  const seen = new Set<string>();
  const read = async (file: URL): Promise<void> => {
    if (seen.has(file.href)) return;
    seen.add(file.href);
    const source = await readFile(file, "utf8");
    for (const [, name] of source.matchAll(/(?:from|import)\s*\(?["']([^"']+)["']/g)) {
      assert.ok(name?.startsWith("./"), `${file.pathname} imports ${name}`);
      await read(new URL(name ?? "", file));
    }
  };
  await read(new URL("../dist/fetch.mjs", import.meta.url));
});

fetching("a job is enqueued, waited for and read", async (client, stage) => {
  stage.worker((job) => ({ hello: job.data.name }));
  const options = { priority: 3, labels: { user: "7" }, retry: { initialBackoff: "1s" as const } };
  const { job, outcome } = await client.enqueue(stage.queue, "greet", { name: "Ädä 🦀" }, options);
  assert.equal(outcome, "created");
  assert.deepEqual(await client.result(job), { hello: "Ädä 🦀" });
  const done = await client.get(job);
  assert.equal(done.state, "succeeded");
  assert.deepEqual(done.data, { name: "Ädä 🦀" });
  assert.deepEqual(done.labels, { user: "7" });
  assert.equal(done.priority, 3);
  assert.ok(done.endTime instanceof Date);
});

fetching("bytes come through unchanged", async (client, stage) => {
  stage.worker((job) => job.data);
  const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  const { job } = await client.enqueue(stage.queue, "t", new Payload(bytes, "image/png"));
  const result = await client.result<Payload>(job);
  assert.deepEqual(result.bytes, bytes);
  assert.equal(result.contentType, "image/png");
});

fetching("errors are the classes of the package", async (client, stage, address) => {
  await assert.rejects(client.get(`queues/${stage.queue}/jobs/none`), NotFoundError);
  await assert.rejects(
    client.enqueue(stage.queue, "t", 1, { priority: 5_000 }),
    (error: InvalidArgumentError) => {
      assert.ok(error instanceof InvalidArgumentError);
      assert.equal(error.reason, "INVALID_FIELD");
      assert.equal(error.fieldViolations[0]?.field, "priority");
      return true;
    },
  );
  await client.enqueue(stage.queue, "t", 1, { jobId: "one" });
  await assert.rejects(client.enqueue(stage.queue, "t", 1, { jobId: "one" }), AlreadyExistsError);
  const mute = new Client({
    address,
    timeoutMs: 200,
    fetch: (_, init) =>
      new Promise((_, reject) => {
        init?.signal?.addEventListener("abort", () => reject(init.signal?.reason));
      }),
  });
  await assert.rejects(mute.get("queues/q/jobs/j"), DeadlineError);
});

fetching(
  "a call is repeated with one request id while its fault passes",
  async (_, stage, address) => {
    const bodies: string[] = [];
    const client = new Client({
      address,
      fetch: async (url, init) => {
        bodies.push(String(init?.body));
        const response = await fetch(url, init);
        if (bodies.length > 1) return response;
        throw new TypeError("connection reset");
      },
    });
    const { outcome } = await client.enqueue(stage.queue, "t", 1);
    assert.equal(outcome, "replayed");
    assert.equal(bodies.length, 2);
    assert.equal(bodies[0], bodies[1]);
  },
);

fetching("a batch is made as a whole or not at all", async (client, stage) => {
  const made = await client.enqueueBatch(stage.queue, [{ type: "a" }, { type: "b" }]);
  assert.deepEqual(
    made.map(({ job }) => job.type),
    ["a", "b"],
  );
  const bad = [
    { type: "c", jobId: "c" },
    { type: "d", priority: 5_000 },
  ];
  await assert.rejects(client.enqueueBatch(stage.queue, bad), InvalidArgumentError);
  await assert.rejects(client.get(`queues/${stage.queue}/jobs/c`), NotFoundError);
});

fetching("a wait that runs out and a job that fails are told apart", async (client, stage) => {
  const { job } = await client.enqueue(stage.queue, "t");
  await assert.rejects(client.wait(job, { timeout: 100 }), WaitTimeoutError);
  const cancelled = await client.cancel(job, { reason: "not wanted" });
  assert.equal(cancelled.state, "cancelled");
  await assert.rejects(client.result(job), (error: JobFailedError) => {
    assert.ok(error instanceof JobFailedError);
    assert.equal(error.state, "cancelled");
    return true;
  });
});

fetching("a watch tells the life of a job and ends with it", async (client, stage) => {
  const { job } = await client.enqueue(stage.queue, "t");
  const begun = new Gate();
  const types: string[] = [];
  const watching = (async () => {
    for await (const event of client.watch({ job })) {
      types.push(event.type);
      begun.open();
    }
  })();
  await begun.promise;
  stage.worker(() => 1);
  await watching;
  assert.deepEqual(types, ["JOB_READY", "JOB_LEASED", "JOB_SUCCEEDED"]);
});

fetching("a function works off jobs and settles them", async (client, stage) => {
  const make = (type: string) =>
    client.enqueue(stage.queue, type, { n: 2 }, { retry: { maxAttempts: 1 } });
  const [good, bad] = await Promise.all([make("good"), make("bad")]);
  const handlers = {
    good: (job: { data: { n: number } }) => job.data.n * 2,
    bad: () => {
      throw Object.assign(new Error("no"), { code: "NO_GOOD" });
    },
  };
  const done = await client.process(stage.queue, handlers, { maxJobs: 10 });
  assert.equal(done.length, 2);
  assert.equal(await client.result(good.job), 4);
  const failed = await client.get(bad.job);
  assert.equal(failed.state, "dead");
  assert.equal(failed.lastFailure?.code, "NO_GOOD");
  assert.deepEqual(await client.process(stage.queue, handlers), []);
});

fetching("calls of operators are made with their service", async (client, stage) => {
  await client.enqueue(stage.queue, "t");
  const method = "lessor.v1.JobBrokerAdmin/GetQueueStats";
  const stats = await client.call<{ ready: string }>(method, { name: `queues/${stage.queue}` });
  assert.equal(stats.ready, "1");
});

fetching("a handler says what becomes of its job by what it throws", async (client, stage) => {
  const thrown = {
    dead: new UnrecoverableError("never", { code: "GONE", details: { status: 410 } }),
    later: new RetryError("busy", { delay: "1h" }),
    snoozed: new SnoozeError("1h"),
    released: new ReleaseError(),
  };
  const types = Object.keys(thrown) as (keyof typeof thrown)[];
  const made = await client.enqueueBatch(
    stage.queue,
    types.map((type) => ({ type })),
  );
  const handler = ({ type }: { type: string }) => {
    throw thrown[type as keyof typeof thrown];
  };
  await client.process(stage.queue, handler, { maxJobs: types.length });
  const ended = await Promise.all(made.map(({ job }) => client.get(job)));
  assert.deepEqual(
    ended.map(({ type, state, attempt }) => [type, state, attempt]),
    [
      ["dead", "dead", 1],
      ["later", "retrying", 1],
      ["snoozed", "scheduled", 0],
      ["released", "ready", 0],
    ],
  );
  const dead = await stage.client.get(ended[0] ?? "");
  assert.equal(dead.lastFailure?.code, "GONE");
  assert.deepEqual(dead.lastFailure?.details, { status: 410 });
});
