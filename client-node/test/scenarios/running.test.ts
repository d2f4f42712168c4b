import assert from "node:assert/strict";
import {
  JobCancelledError,
  LeaseLostError,
  ReleaseError,
  RetryError,
  SnoozeError,
  UnrecoverableError,
  WorkerShutdownError,
} from "lessor";
import { JobBrokerAdmin } from "lessor/proto";
import { spawnWorker } from "../support/process.js";
import { Gate, ordinary, scenarios } from "../support/scenario.js";

const scenario = scenarios(ordinary);
const AT_ONCE = { initialBackoff: 0 };

/** Settled when the signal is. */
const aborted = (signal: AbortSignal) =>
  new Promise<unknown>((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason));
  });

scenario("concurrency_is_bounded", async (stage) => {
  let running = 0;
  let most = 0;
  const gate = new Gate();
  const full = new Gate();
  stage.worker(
    async () => {
      running += 1;
      most = Math.max(most, running);
      if (running === 3) full.open();
      await gate.promise;
      running -= 1;
    },
    { concurrency: 3 },
  );
  const jobs = await stage.client.enqueueBatch(
    stage.queue,
    Array.from({ length: 12 }, () => ({ type: "t" })),
  );
  await full.promise;
  gate.open();
  await Promise.all(jobs.map(({ job }) => stage.client.wait(job)));
  assert.equal(most, 3);
});

scenario("several_queues", async (stage) => {
  stage.workerOf([`${stage.queue}-one`, `${stage.queue}-many-*`], (job) => job.queue);
  const names = ["one", "many-a"];
  for (const name of names) {
    const { job } = await stage.client.enqueue(`${stage.queue}-${name}`, "t");
    assert.equal(await stage.client.result(job), `${stage.queue}-${name}`);
  }
  const { job } = await stage.client.enqueue(`${stage.queue}-many-new`, "t");
  assert.equal(await stage.client.result(job), `${stage.queue}-many-new`);
});

scenario("handler_throws", async (stage) => {
  const worker = stage.worker((job) => {
    if (job.type === "bad" && job.attempt === 1) {
      throw Object.assign(new Error("no such address"), { code: "BAD_ADDRESS" });
    }
    return job.attempt;
  });
  const failed = stage.once(worker, "failed");
  const { job } = await stage.client.enqueue(stage.queue, "bad", 1, { retry: AT_ONCE });
  const [of, error] = await failed;
  assert.equal(of.name, job.name);
  assert.equal((error as Error).message, "no such address");
  const done = await stage.client.wait(job);
  assert.equal(done.result, 2);
  const failure = done.attempts.at(-1)?.failure;
  assert.equal(failure?.code, "BAD_ADDRESS");
  assert.equal(failure?.message, "no such address");
  assert.match(failure?.stack ?? "", /running\.test/);
  const { job: good } = await stage.client.enqueue(stage.queue, "good");
  assert.equal(await stage.client.result(good), 1);
});

scenario("retry_delay_of_handler", async (stage) => {
  stage.worker((job) => {
    if (job.attempt === 1) throw new RetryError("busy", { delay: 600, code: "HTTP_429" });
  });
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, {
    retry: { initialBackoff: "1h" },
  });
  const done = await stage.client.wait(job);
  const [second, first] = done.attempts;
  assert.equal(first?.failure?.code, "HTTP_429");
  const waited = Number(second?.startTime) - Number(first?.endTime);
  assert.ok(waited >= 600 && waited < 20_000, `${waited} ms`);
});

scenario("fatal_code", async (stage) => {
  stage.worker(() => {
    throw Object.assign(new Error("gone"), { code: "GONE" });
  });
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, {
    retry: { fatalCodes: ["GONE"] },
  });
  const ended = await stage.client.wait(job);
  assert.equal(ended.state, "dead");
  assert.equal(ended.attempt, 1);
  assert.equal(ended.lastFailure?.code, "GONE");
});

scenario("reject_to_dead", async (stage) => {
  stage.worker(() => {
    throw new UnrecoverableError("not our customer", { code: "NO_CUSTOMER" });
  });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  const ended = await stage.client.wait(job);
  assert.equal(ended.state, "dead");
  assert.equal(ended.attempt, 1);
  assert.equal(ended.lastFailure?.code, "NO_CUSTOMER");
  assert.equal(ended.lastFailure?.message, "not our customer");
});

scenario("snooze", async (stage) => {
  stage.worker((job) => {
    if (job.deliveryCount === 1) throw new SnoozeError(500);
    return job.attempt;
  });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  const done = await stage.client.wait(job);
  assert.equal(done.result, 1);
  assert.equal(done.deliveryCount, 2);
  const [second, first] = done.attempts;
  assert.equal(first?.outcome, "released");
  assert.ok(Number(second?.startTime) - Number(first?.startTime) >= 500);
});

scenario("no_handler", async (stage) => {
  const worker = stage.worker({ known: () => 1 });
  const released = stage.once(worker, "released");
  const { job } = await stage.client.enqueue(stage.queue, "unknown", 1, {
    retry: { initialBackoff: 300 },
  });
  await released;
  const back = await stage.client.get(job);
  assert.equal(back.attempt, 0);
  assert.equal(back.attempts[0]?.failure?.code, "NO_HANDLER");
  await worker.close();
  stage.worker({ unknown: () => "known here" });
  assert.equal(await stage.client.result(job), "known here");
});

scenario("handler_hangs", async (stage) => {
  const told = new Gate<unknown>();
  const worker = stage.worker(
    (job, { signal }) => {
      if (job.type === "next" || job.attempt > 1) return job.attempt;
      void aborted(signal).then(told.open);
      return new Promise(() => {});
    },
    { abandonAfter: 100 },
  );
  const lost = stage.once(worker, "lost");
  const { job } = await stage.client.enqueue(stage.queue, "hang", 1, {
    attemptTimeout: "1s",
    retry: AT_ONCE,
  });
  assert.match(((await told.promise) as Error).name, /AttemptTimeoutError|LeaseLostError/);
  await lost;
  const { job: next } = await stage.client.enqueue(stage.queue, "next");
  assert.equal(await stage.client.result(next), 1);
  const done = await stage.client.wait(job);
  assert.equal(done.result, 2);
  assert.equal(done.attempts.at(-1)?.outcome, "timed-out");
});

scenario("long_job_is_extended", async (stage) => {
  stage.worker(() => new Promise((resolve) => setTimeout(resolve, 3_500)), { leaseDuration: "1s" });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  const done = await stage.client.wait(job);
  assert.equal(done.state, "succeeded");
  assert.equal(done.deliveryCount, 1);
});

scenario("event_loop_blocked", async (stage, t) => {
  const worker = spawnWorker(t, stage, { leaseMs: 3_000, concurrency: 2 });
  const { job: other } = await stage.client.enqueue(stage.queue, "wait-for-file");
  await worker.said("began wait-for-file");
  const { job } = await stage.client.enqueue(stage.queue, "block", { ms: 8_000 });
  const done = await stage.client.wait(job);
  const beside = await stage.client.wait(other);
  for (const it of [done, beside]) {
    assert.equal(it.state, "succeeded");
    assert.equal(it.deliveryCount, 1);
    assert.equal(it.leaseExpiredCount, 0);
  }
});

scenario("progress_is_seen", async (stage) => {
  const [gate, watched, seen] = [new Gate(), new Gate(), new Gate<unknown>()];
  const { job } = await stage.client.enqueue(stage.queue, "t");
  void (async () => {
    for await (const event of stage.client.watch({ job })) {
      watched.open();
      if (event.type === "JOB_PROGRESS") seen.open(event.progress);
    }
  })();
  await watched.promise;
  const worker = stage.worker(async (_, context) => {
    await context.progress({ percent: 40, message: "half way", done: 2, total: 5 });
    await gate.promise;
  });
  const progressed = stage.once(worker, "progress");
  const told = { percent: 40, message: "half way", done: 2, total: 5 };
  assert.deepEqual(await seen.promise, told);
  assert.deepEqual((await stage.client.get(job)).progress, told);
  assert.deepEqual((await progressed)[1], told);
  gate.open();
  await stage.client.wait(job);
});

scenario("checkpoint_is_handed_on", async (stage) => {
  stage.worker(async (job, context) => {
    if (job.attempt === 1) {
      await context.checkpoint({ page: 17 });
      throw new Error("later");
    }
    return job.checkpoint;
  });
  const { job } = await stage.client.enqueue(stage.queue, "t", 1, { retry: AT_ONCE });
  assert.deepEqual(await stage.client.result(job), { page: 17 });
});

scenario("follow_up_jobs", async (stage) => {
  stage.worker({
    first: (_, context) => {
      context.followUp("second", { n: 2 }, { jobId: "after" });
      return 1;
    },
    second: (job) => job.data.n,
  });
  const { job } = await stage.client.enqueue(stage.queue, "first");
  assert.equal(await stage.client.result(job), 1);
  const next = await stage.client.wait(`queues/${stage.queue}/jobs/after`);
  assert.equal(next.result, 2);
  // Its id is taken now: neither of the two is made.
  const { job: again } = await stage.client.enqueue(stage.queue, "first", 1, {
    retry: { maxAttempts: 1 },
  });
  const refused = await stage.client.wait(again);
  assert.equal(refused.state, "dead");
  assert.equal(refused.lastFailure?.code, "JOB_EXISTS");
});

scenario("result_too_large", async (stage) => {
  stage.worker((job) => "x".repeat(job.data));
  for (const size of [300_000, 5_000_000]) {
    const { job } = await stage.client.enqueue(stage.queue, "t", size, {
      retry: { ...AT_ONCE, maxAttempts: 2 },
    });
    const ended = await stage.client.wait(job);
    assert.equal(ended.state, "dead");
    assert.equal(ended.attempt, 2);
    assert.equal(ended.lastFailure?.code, "PAYLOAD_TOO_LARGE");
  }
});

scenario("cancel_while_running", async (stage) => {
  const begun = new Gate();
  const worker = stage.worker(async (_, { signal }) => {
    begun.open();
    throw await aborted(signal);
  });
  const cancelled = stage.once(worker, "cancelled");
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  await stage.client.cancel(job, { reason: "changed my mind" });
  const ended = await stage.client.wait(job);
  assert.equal(ended.state, "cancelled");
  assert.match(ended.lastFailure?.message ?? "", /changed my mind/);
  await cancelled;
  const why = ended.lastFailure;
  assert.ok(why && new JobCancelledError("x", undefined) instanceof Error);
});

scenario("lease_lost_mid_job", async (stage) => {
  const begun = new Gate();
  const go = new Gate();
  const told = new Gate<unknown>();
  const worker = stage.worker(async (job, { signal }) => {
    if (job.deliveryCount > 1) return "the second";
    begun.open();
    told.open(await aborted(signal));
    await go.promise;
    return "the first";
  });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  const other = stage.worker(() => "the second");
  await stage.once(other, "ready");
  const lost = stage.once(worker, "lost");
  await stage.client.call(JobBrokerAdmin.method.revokeLease, { name: job.name });
  assert.ok((await told.promise) instanceof LeaseLostError);
  const done = await stage.client.wait(job);
  go.open();
  await lost;
  assert.equal(done.result, "the second");
  assert.equal((await stage.client.get(job)).result, "the second");
});

scenario("drain_with_job_running", async (stage, t) => {
  const worker = spawnWorker(t, stage);
  const { job } = await stage.client.enqueue(stage.queue, "sleep", { ms: 1_500 });
  await worker.said("began sleep");
  worker.kill("SIGTERM");
  const { job: next } = await stage.client.enqueue(stage.queue, "sleep", { ms: 1 });
  assert.equal(await worker.exited, 0);
  const done = await stage.client.get(job);
  assert.equal(done.state, "succeeded");
  assert.equal(done.deliveryCount, 1);
  assert.equal((await stage.client.get(next)).state, "ready");
});

scenario("drain_releases_what_is_left", async (stage) => {
  const begun = new Gate();
  const why = new Gate<unknown>();
  const worker = stage.worker(async (_, { signal }) => {
    begun.open();
    why.open(await aborted(signal));
    throw signal.reason;
  });
  const stubborn = stage.workerOf(`${stage.queue}-2`, () => new Promise(() => {}));
  const { job } = await stage.client.enqueue(stage.queue, "t");
  const { job: other } = await stage.client.enqueue(`${stage.queue}-2`, "t");
  await begun.promise;
  await stage.told(other, "JOB_LEASED");
  await Promise.all([worker.close({ grace: 100 }), stubborn.close({ grace: 100 })]);
  assert.ok((await why.promise) instanceof WorkerShutdownError);
  stage.workerOf([stage.queue, `${stage.queue}-2`], (it) => it.attempt);
  for (const it of [job, other]) {
    const done = await stage.client.wait(it);
    assert.equal(done.result, 1);
    assert.equal(done.deliveryCount, 2);
    assert.equal(done.leaseExpiredCount, 0);
  }
  assert.ok(new ReleaseError() instanceof Error);
});

scenario("drained_by_operator", async (stage) => {
  const gate = new Gate();
  const begun = new Gate();
  const worker = stage.worker(async () => {
    begun.open();
    await gate.promise;
  });
  const { job } = await stage.client.enqueue(stage.queue, "t");
  await begun.promise;
  const drained = stage.once(worker, "drain");
  const closed = stage.once(worker, "closed");
  await stage.client.call(JobBrokerAdmin.method.drainWorker, { workerId: worker.id });
  await drained;
  const { job: next } = await stage.client.enqueue(stage.queue, "t");
  gate.open();
  await closed;
  assert.equal((await stage.client.get(job)).state, "succeeded");
  assert.equal((await stage.client.get(next)).state, "ready");
});
