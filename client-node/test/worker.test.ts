import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DeadlineError } from "lessor";
import { Broker } from "./support/broker.js";
import { Gate, Stage } from "./support/scenario.js";

test("a worker that is closed amid many jobs loses and repeats none", async (t) => {
  const broker = await Broker.start();
  t.after(() => broker.stop());
  const stage = new Stage(t, broker.address);
  const jobs = await stage.client.enqueueBatch(
    stage.queue,
    Array.from({ length: 300 }, (_, data) => ({ type: "t", data })),
  );
  const ran: number[] = [];
  const run = async (job: { data: number }) => {
    ran.push(job.data);
    if (ran.length === 100) some.open();
    await sleep(1);
  };
  const some = new Gate();
  const first = stage.worker(run, { concurrency: 16, grace: "10s" });
  first.on("lost", (job) => assert.fail(`${job.name} is lost`));
  await some.promise;
  await first.close();
  stage.worker(run, { concurrency: 16 });
  for (const { job } of jobs) {
    const done = await stage.client.wait(job);
    assert.equal(done.state, "succeeded");
    assert.equal(done.attempt, 1);
  }
  assert.equal(ran.length, 300);
  assert.equal(new Set(ran).size, 300);
});

test("a worker goes on with its new token", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lessor-"));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, "tokens.toml");
  let token = "";
  const allow = (only: string) => {
    token = only;
    const digest = createHash("sha256").update(only).digest("hex");
    const grant = `roles = ["producer", "worker", "viewer"]\nqueues = ["*"]`;
    const identity = `name = "test"\n${grant}\ntokens = ["sha256:${digest}"]\n`;
    return writeFile(file, `[[identity]]\n${identity}`);
  };
  await allow("old");
  const broker = await Broker.start({ args: ["--auth-tokens", file] });
  t.after(() => broker.stop());
  const stage = new Stage(t, broker.address);
  const client = stage.connect({ token: async () => token });
  const worker = stage.worker(() => 1, { token: async () => token });
  await stage.once(worker, "ready");
  const done = async () => {
    const { job } = await client.enqueue(stage.queue, "t");
    assert.equal(await client.result(job), 1);
  };
  await done();
  const ended = stage.once(worker, "disconnected");
  await allow("new");
  await ended;
  await done();
});

test("a watch that was opened misses nothing until it is read", async (t) => {
  const broker = await Broker.start();
  t.after(() => broker.stop());
  const stage = new Stage(t, broker.address);
  const watch = await stage.client.watch({ queues: stage.queue, types: ["JOB_CREATED"] }).open();
  const { job } = await stage.client.enqueue(stage.queue, "t");
  for await (const event of watch) {
    assert.equal(event.job, job.name);
    break;
  }
  // Of one job, what it is comes first, and once.
  const one = await stage.client.watch({ job }).open();
  await stage.client.cancel(job);
  const types: string[] = [];
  for await (const event of one) types.push(event.type);
  assert.deepEqual(types, ["JOB_READY", "JOB_CANCELLED"]);
});

test("a watch that nobody answers is given up in time", async (t) => {
  const broker = await Broker.start();
  t.after(() => broker.stop());
  const stage = new Stage(t, broker.address);
  await stage.client.enqueue(stage.queue, "t");
  const client = stage.connect({ timeout: 300 });
  broker.freeze();
  t.after(() => broker.thaw());
  await assert.rejects(client.watch({ queues: stage.queue }).open(), DeadlineError);
});

test("what a handler reports last is told before its job is settled", async (t) => {
  const broker = await Broker.start();
  t.after(() => broker.stop());
  const stage = new Stage(t, broker.address);
  const jobs = await stage.client.enqueueBatch(
    stage.queue,
    Array.from({ length: 50 }, () => ({ type: "t" })),
  );
  // Nobody waits for it.
  stage.worker((_, { progress }) => void progress(100), { concurrency: 16 });
  for (const { job } of jobs) {
    const done = await stage.client.wait(job);
    assert.deepEqual([done.state, done.progress?.percent], ["succeeded", 100]);
  }
});
