import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { DeadlineError, LeaseLostError, ResourceExhaustedError, UnavailableError } from "lessor";
import { Broker, freePort } from "../support/broker.js";
import { Front, refusal } from "../support/front.js";
import { spawnWorker } from "../support/process.js";
import { Relay } from "../support/relay.js";
import { Gate, ordinary, Stage, scenarios } from "../support/scenario.js";

const scenario = scenarios(ordinary);

/** A broker of one's own, which keeps its jobs over a restart; its store. */
async function lasting(t: TestContext): Promise<[Broker, Stage, string]> {
  const folder = await mkdtemp(join(tmpdir(), "lessor-"));
  const store = `sqlite:${folder}/jobs.db`;
  const broker = await Broker.start({ store });
  t.after(async () => {
    await broker.stop();
    await rm(folder, { recursive: true });
  });
  return [broker, new Stage(t, broker.address), store];
}

scenario("process_killed", async (stage, t) => {
  const victim = spawnWorker(t, stage, { leaseMs: 1_000 });
  const { job } = await stage.client.enqueue(stage.queue, "sleep", { ms: 60_000 });
  await victim.said("began sleep");
  victim.kill("SIGKILL");
  stage.worker((it) => it.leaseExpiredCount);
  assert.equal(await stage.client.result(job), 1);
});

scenario("process_frozen", async (stage, t) => {
  const frozen = spawnWorker(t, stage, { leaseMs: 1_000 });
  const { job } = await stage.client.enqueue(stage.queue, "sleep", { ms: 1_500 });
  await frozen.said("began sleep");
  frozen.kill("SIGSTOP");
  stage.worker(() => "the other one");
  assert.equal(await stage.client.result(job), "the other one");
  frozen.kill("SIGCONT");
  await frozen.said("lost sleep");
  const done = await stage.client.get(job);
  assert.equal(done.result, "the other one");
  assert.equal(done.deliveryCount, 2);
});

scenario("poison_job", async (stage, t) => {
  const { job } = await stage.client.enqueue(stage.queue, "die", 1, { retry: { maxAttempts: 10 } });
  for (let times = 0; times < 3; times += 1) {
    const victim = spawnWorker(t, stage, { leaseMs: 1_000 });
    assert.equal(await victim.exited, "SIGKILL");
  }
  const ended = await stage.client.wait(job);
  assert.equal(ended.state, "dead");
  assert.equal(ended.lastFailure?.code, "CRASH_LOOP");
  assert.equal(ended.leaseExpiredCount, 3);
});

scenario("connection_lost_mid_job", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const [begun, gate] = [new Gate(), new Gate()];
  const worker = stage.worker(
    async (_, context) => {
      // The broker has the receipt when it has this.
      await context.progress(1);
      begun.open();
      await gate.promise;
    },
    { address: relay.address },
  );
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  const again = stage.once(worker, "disconnected");
  relay.cut();
  await again;
  gate.open();
  const done = await stage.client.wait(job);
  assert.equal(done.state, "succeeded");
  assert.equal(done.deliveryCount, 1);
  assert.ok(relay.connections > 1);
});

scenario("reconnect_keeps_leases", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const [begun, gate] = [new Gate(), new Gate()];
  const worker = stage.worker(
    async (_, context) => {
      // The broker has the receipt when it has this.
      await context.progress(1);
      begun.open();
      await gate.promise;
    },
    { address: relay.address, leaseDuration: "1s" },
  );
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  const again = stage.once(worker, "ready");
  relay.cut();
  await again;
  const { leaseExpireTime: before } = (await stage.client.get(job)).proto;
  // Several leases long: without heartbeats it would be lost.
  await sleep(2_500);
  const { leaseExpireTime: after, deliveryCount } = (await stage.client.get(job)).proto;
  assert.equal(deliveryCount, 1);
  assert.ok(Number(after?.seconds) > Number(before?.seconds));
  gate.open();
  assert.equal((await stage.client.wait(job)).leaseExpiredCount, 0);
});

scenario("ack_answer_lost", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const [begun, gate] = [new Gate(), new Gate()];
  const worker = stage.worker(
    async (_, context) => {
      await context.progress(1);
      begun.open();
      await gate.promise;
      return 1;
    },
    { address: relay.address },
  );
  const completed = stage.once(worker, "completed");
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  relay.isDeaf = true;
  gate.open();
  assert.equal((await stage.client.wait(job)).state, "succeeded");
  relay.isDeaf = false;
  relay.cut();
  const [of, result] = await completed;
  assert.equal(of.name, job.name);
  assert.equal(result, 1);
  const done = await stage.client.get(job);
  assert.equal(done.attempts.length, 1);
});

scenario("broker_restart_mid_job", async (_, t) => {
  const [broker, stage] = await lasting(t);
  const [begun, gate] = [new Gate(), new Gate()];
  const worker = stage.worker(
    async (job) => {
      begun.open();
      if (job.type === "first") await gate.promise;
    },
    { leaseDuration: "20s" },
  );
  const { job } = await stage.client.enqueue(stage.queue, "first");
  await begun.promise;
  const again = stage.once(worker, "ready");
  await broker.stop("SIGKILL");
  await broker.start();
  await again;
  gate.open();
  const done = await stage.client.wait(job);
  assert.equal(done.state, "succeeded");
  assert.equal(done.deliveryCount, 1);
  const { job: next } = await stage.client.enqueue(stage.queue, "next");
  await stage.client.wait(next);
});

// As long as it takes until the lease has been ended, not 30 s: what is promised is the same.
scenario("broker_gone_30_s", async (_, t) => {
  const [broker, stage, store] = await lasting(t);
  const begun = new Gate();
  const told = new Gate<unknown>();
  const worker = stage.worker(
    async (job, { signal }) => {
      if (job.deliveryCount > 1) return "again";
      begun.open();
      await once(signal, "abort");
      told.open(signal.reason);
    },
    { leaseDuration: "1s" },
  );
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, { retry: { maxAttempts: 5 } });
  await begun.promise;
  const lost = stage.once(worker, "lost");
  await broker.stop("SIGKILL");
  // A broker may keep an overdue lease that nobody has ended yet for the worker that shows it.
  const elsewhere = await Broker.start({ store });
  t.after(() => elsewhere.stop());
  await new Stage(t, elsewhere.address).client.wait(job, { until: ["retrying", "ready"] });
  await elsewhere.stop();
  await broker.start();
  assert.ok((await told.promise) instanceof LeaseLostError);
  await lost;
  assert.equal(await stage.client.result(job), "again");
});

scenario("silent_broker_is_given_up", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  const worker = stage.worker(() => 1, { address: relay.address, leaseDuration: "1s" });
  await stage.once(worker, "ready");
  const gone = stage.once(worker, "disconnected");
  const again = stage.once(worker, "ready");
  relay.isHeld = true;
  const [fault] = await gone;
  assert.ok(fault instanceof UnavailableError);
  assert.match(fault.message, /silent/);
  relay.isHeld = false;
  await again;
  const { job } = await stage.client.enqueue(stage.queue, "t");
  assert.equal(await stage.client.result(job), 1);
});

scenario("broker_absent_at_start", async (_, t) => {
  const port = await freePort();
  const stage = new Stage(t, `http://127.0.0.1:${port}`);
  const worker = stage.worker(() => "at last");
  await stage.once(worker, "disconnected");
  const ready = stage.once(worker, "ready");
  const broker = await Broker.start({ port });
  t.after(() => broker.stop());
  await ready;
  const { job } = await stage.client.enqueue(stage.queue, "t");
  assert.equal(await stage.client.result(job), "at last");
});

scenario("clock_off_by_an_hour", async (stage, t) => {
  const hour = 3_600_000;
  const clocks = [
    { clockOffMs: hour, clockJumpMs: hour },
    { clockOffMs: -hour, clockJumpMs: -hour },
  ];
  const jobs = clocks.map(async (clock, index) => {
    const queue = `${stage.queue}-${index}`;
    spawnWorker(t, stage, { ...clock, queue, leaseMs: 1_000 });
    const { job } = await stage.client.enqueue(queue, "jump", { ms: 1_500 });
    const done = await stage.client.wait(job);
    assert.equal(done.state, "succeeded");
    assert.equal(done.deliveryCount, 1);
  });
  await Promise.all(jobs);
});

scenario("two_workers_same_id", async (stage) => {
  const by = new Map<string, number>();
  const run = (_: unknown, { workerId }: { workerId: string }) => {
    by.set(workerId, (by.get(workerId) ?? 0) + 1);
    return sleep(20);
  };
  const workers = [1, 2].map(() => stage.worker(run, { id: "the-same" }));
  await Promise.all(workers.map((worker) => stage.once(worker, "ready")));
  const jobs = await stage.client.enqueueBatch(
    stage.queue,
    Array.from({ length: 30 }, () => ({ type: "t" })),
  );
  for (const { job } of jobs) {
    const done = await stage.client.wait(job);
    assert.equal(done.state, "succeeded");
    assert.equal(done.deliveryCount, 1);
  }
  assert.equal(by.size, 2);
});

scenario("fallback_to_lease", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  front.rule = (method) =>
    method === "Work" ? refusal(status.UNIMPLEMENTED, "FEATURE_DISABLED") : undefined;
  const begun = new Gate();
  stage.worker(
    {
      long: () => sleep(2_500, "long"),
      fails: (job) => {
        if (job.attempt === 1) throw new Error("not yet");
        return job.lastFailure?.message;
      },
      cancelled: async (_, { signal }) => {
        begun.open();
        await once(signal, "abort");
        throw signal.reason;
      },
    },
    { address: front.address, leaseDuration: "1s", concurrency: 3 },
  );
  const enqueue = (type: string) =>
    stage.client.enqueue(stage.queue, type, 1, { retry: { initialBackoff: 0 } });
  const [long, fails, cancelled] = await Promise.all(["long", "fails", "cancelled"].map(enqueue));
  assert.ok(long && fails && cancelled);
  await begun.promise;
  await stage.client.cancel(cancelled.job);
  assert.equal((await stage.client.wait(cancelled.job)).state, "cancelled");
  assert.equal(await stage.client.result(fails.job), "not yet");
  const done = await stage.client.wait(long.job);
  assert.equal(done.result, "long");
  assert.equal(done.deliveryCount, 1);
  assert.equal(front.count("Work"), 1);
});

scenario("deadline_is_always_set", async (stage, t) => {
  const mute = createServer((socket) => t.after(() => socket.destroy()));
  mute.listen(0, "127.0.0.1");
  await once(mute, "listening");
  t.after(() => mute.close());
  const address = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  const client = stage.connect({ address, timeout: 300 });
  const calls = [
    () => client.enqueue(stage.queue, "t"),
    () => client.enqueueBatch(stage.queue, [{ type: "t" }]),
    () => client.get("queues/q/jobs/j"),
    () => client.cancel("queues/q/jobs/j"),
  ];
  for (const call of calls) {
    await assert.rejects(call(), (error: DeadlineError) => {
      assert.ok(error instanceof DeadlineError);
      assert.match(error.message, new RegExp(`no answer from ${address}`));
      return true;
    });
  }
});

scenario("unavailable_is_retried", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  const client = stage.connect({ address: front.address });
  front.rule = () =>
    front.calls.length <= 2 ? refusal(status.UNAVAILABLE, "STORE_UNAVAILABLE") : undefined;
  const { outcome } = await client.enqueue(stage.queue, "t");
  assert.equal(outcome, "created");
  assert.equal(front.count("Enqueue"), 3);
  for (const code of [status.RESOURCE_EXHAUSTED, status.INTERNAL, status.ABORTED]) {
    const before = front.calls.length;
    front.rule = () => refusal(code, "QUEUE_FULL");
    await assert.rejects(client.enqueue(stage.queue, "t"));
    assert.equal(front.calls.length, before + 1);
  }
});

scenario("retry_after_is_honoured", async (stage, t) => {
  const front = await Front.to(t, stage.address);
  const client = stage.connect({ address: front.address });
  front.rule = () =>
    front.calls.length === 1 ? refusal(status.UNAVAILABLE, "DRAINING", 700) : undefined;
  await client.enqueue(stage.queue, "t");
  const [first, second] = front.calls;
  const pause = (second?.at ?? 0) - (first?.at ?? 0);
  assert.ok(pause >= 690, `${pause} ms`);
  front.rule = () => refusal(status.RESOURCE_EXHAUSTED, "QUEUE_FULL", 1_234);
  await assert.rejects(client.enqueue(stage.queue, "t"), (error: ResourceExhaustedError) => {
    assert.ok(error instanceof ResourceExhaustedError);
    assert.equal(error.retryAfterMs, 1_234);
    return true;
  });
});
