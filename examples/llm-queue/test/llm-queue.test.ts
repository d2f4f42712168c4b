import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { EmbeddedBroker } from "../src/embedded.js";
import { FakeLlm } from "../src/fake-llm.js";
import { handlersFor } from "../src/handlers.js";
import { type LlmEvents, LlmQueue, type Settings } from "../src/queue.js";

const timeout = 30_000;
const ask = (prompt: string) => ["complete", { prompt }] as const;

interface World {
  file: string;
  broker: EmbeddedBroker;
  model: FakeLlm;
  queue: LlmQueue;
}

/** A broker with a file of its own, a model and a queue, which end with the test. */
async function world(t: TestContext, settings: Partial<Settings> = {}): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "lessor-llm-test-"));
  const file = join(folder, "jobs.db");
  const broker = await EmbeddedBroker.start(file);
  const model = await new FakeLlm().start();
  const { address } = broker;
  const queue = await LlmQueue.open({ address, retry: { initialBackoff: 200 }, ...settings });
  t.after(async () => {
    await queue.close();
    await broker.stop();
    await model.stop();
    await rm(folder, { recursive: true });
  });
  return { file, broker, model, queue };
}

/** The next event of a kind. */
async function next<Name extends keyof LlmEvents>(queue: LlmQueue, name: Name) {
  const [event] = await once(queue, name);
  return event as LlmEvents[Name][0];
}

test("fifteen calls run at once, and not one more", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  const gate = model.hold();
  const jobs = await Promise.all(Array.from({ length: 40 }, (_, n) => queue.add(...ask(`${n}`))));
  queue.process(handlersFor(model.address));
  await model.running(15);
  const { waiting, active } = await queue.stats();
  assert.deepEqual([waiting, active], [25, 15]);
  gate.open();
  for (const job of jobs) await queue.result(job);
  assert.equal(model.most, 15);
});

test("the greater priority runs first, then whoever came first", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  const jobs = [
    await queue.add(...ask("usual")),
    await queue.add(...ask("later"), { priority: -5 }),
    await queue.add(...ask("urgent"), { priority: 10 }),
    await queue.add(...ask("usual too")),
  ];
  queue.process(handlersFor(model.address), 1);
  for (const job of jobs) await queue.result(job);
  assert.deepEqual(model.prompts, ["urgent", "usual", "usual too", "later"]);
});

test("a delayed call waits for its time", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  queue.process(handlersFor(model.address));
  const delayed = await queue.add(...ask("in a second"), { delay: 1000 });
  const far = await queue.add(...ask("next year"), { scheduledFor: new Date(Date.now() + 3e10) });
  assert.equal((await queue.stats()).delayed, 2);
  await queue.result(delayed);
  const { createTime, startTime } = await queue.get(delayed);
  assert.ok(Number(startTime) - Number(createTime) >= 1000);
  assert.equal((await queue.get(far)).state, "scheduled");
  assert.deepEqual(model.prompts, ["in a second"]);
});

test("events tell what happens, with results and durations", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  const [active, completed] = [next(queue, "active"), next(queue, "completed")];
  const job = await queue.add(...ask("really"));
  queue.process(handlersFor(model.address));
  assert.deepEqual(await active, { id: job.id, attempt: 1 });
  const { id, result, duration } = await completed;
  assert.deepEqual([id, result], [job.id, { text: "really? That depends." }]);
  assert.ok(duration >= 0 && duration < timeout);
});

test("a model that is busy is asked again, at no attempt's cost", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  model.limit = 1;
  const gate = model.hold();
  const jobs = [await queue.add(...ask("one")), await queue.add(...ask("two"))];
  const active: string[] = [];
  const again = new Promise<void>((resolve) => {
    queue.on("active", ({ id }) => active.push(id) === 3 && resolve());
  });
  queue.process(handlersFor(model.address));
  await again;
  gate.open();
  for (const job of jobs) {
    await queue.result(job);
    assert.equal((await queue.get(job)).attempt, 1);
  }
  assert.equal(model.most, 1);
  assert.ok(model.refused > 0);
});

test("a model that is down is tried again with backoff", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  await model.stop();
  const failed = next(queue, "failed");
  const job = await queue.add(...ask("there"), { attempts: 10 });
  queue.process(handlersFor(model.address));
  const { id, willRetry, error } = await failed;
  assert.deepEqual([id, willRetry], [job.id, true]);
  assert.match(error, /fetch failed/);
  await model.start();
  assert.deepEqual(await queue.result(job), { text: "there? That depends." });
  assert.ok((await queue.get(job)).attempt > 1);
});

test("a call without sense is not repeated, one without luck three times", {
  timeout,
}, async (t) => {
  const { queue, model } = await world(t);
  queue.process(handlersFor(model.address));
  const refused = next(queue, "dead");
  const senseless = await queue.add("complete", { prompt: 42 });
  assert.deepEqual(await refused, { id: senseless.id, error: "a prompt is a text" });
  model.faults = 3;
  const given = next(queue, "dead");
  const luckless = await queue.add(...ask("again"));
  assert.deepEqual(await given, { id: luckless.id, error: "the model answered 500" });
  assert.equal((await queue.get(luckless)).attempt, 3);
  assert.equal((await queue.stats()).failed, 2);
});

test("a call of a killed process is stalled, and another finishes it", { timeout }, async (t) => {
  const { queue, model, broker } = await world(t, { stallInterval: 1000 });
  const gate = model.hold();
  const job = await queue.add(...ask("who"));
  const program = fileURLToPath(new URL("../src/worker.ts", import.meta.url));
  const args = ["--import", "tsx", program, broker.address, model.address, "1000"];
  const other = spawn(process.execPath, args, { stdio: "inherit" });
  await model.running(1);
  const stalled = next(queue, "stalled");
  other.kill("SIGKILL");
  assert.deepEqual(await stalled, { id: job.id });
  gate.open();
  queue.process(handlersFor(model.address));
  await queue.result(job);
  assert.equal((await queue.get(job)).attempt, 2);
});

test("a call goes on while the broker crashes and comes back", { timeout }, async (t) => {
  const { queue, model, broker } = await world(t);
  const gate = model.hold();
  const job = await queue.add(...ask("still there"));
  const worker = queue.process(handlersFor(model.address));
  await model.running(1);
  const again = once(worker, "ready");
  broker.crash();
  await again;
  gate.open();
  await queue.result(job);
  assert.equal((await queue.get(job)).deliveryCount, 1);
});

test("what waits in the file outlives the app", { timeout }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lessor-llm-test-"));
  const file = join(folder, "jobs.db");
  const model = await new FakeLlm().start();
  let broker = await EmbeddedBroker.start(file);
  let queue = await LlmQueue.open({ address: broker.address });
  t.after(async () => {
    await queue.close();
    await broker.stop();
    await model.stop();
    await rm(folder, { recursive: true });
  });
  const job = await queue.add(...ask("tomorrow"), { delay: 500 });
  await queue.close();
  await broker.stop();
  broker = await EmbeddedBroker.start(file);
  queue = await LlmQueue.open({ address: broker.address });
  queue.process(handlersFor(model.address));
  assert.deepEqual(await queue.result(job), { text: "tomorrow? That depends." });
});

test("an app that is killed takes its broker along, and leaves its calls", {
  timeout,
}, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lessor-llm-test-"));
  const file = join(folder, "jobs.db");
  const program = fileURLToPath(new URL("app.ts", import.meta.url));
  const stdio = ["ignore", "pipe", "inherit"] as const;
  const app = spawn(process.execPath, ["--import", "tsx", program, file], { stdio: [...stdio] });
  const [line] = await once(app.stdout, "data");
  app.kill("SIGKILL");
  // The file is free soon, and the call still there.
  const broker = await EmbeddedBroker.start(file);
  const model = await new FakeLlm().start();
  const queue = await LlmQueue.open({ address: broker.address });
  t.after(async () => {
    await queue.close();
    await broker.stop();
    await model.stop();
    await rm(folder, { recursive: true });
  });
  const completed = next(queue, "completed");
  queue.process(handlersFor(model.address));
  const { id, result } = await completed;
  assert.ok(String(line).trim().endsWith(id));
  assert.deepEqual(result, { text: "after all? That depends." });
});

test("finished calls are counted, and cleaned by state and age", { timeout }, async (t) => {
  const { queue, model } = await world(t);
  queue.process(handlersFor(model.address));
  const jobs = await Promise.all([1, 2, 3].map((n) => queue.add(...ask(`${n}`))));
  for (const job of jobs) await queue.result(job);
  const none = { waiting: 0, active: 0, failed: 0, delayed: 0 };
  assert.deepEqual(await queue.stats(), { ...none, completed: 3 });
  assert.equal(await queue.clean(3_600_000, "completed"), 0);
  assert.equal(await queue.clean(0, "failed"), 0);
  assert.equal(await queue.clean(0, "completed"), 3);
  assert.deepEqual(await queue.stats(), { ...none, completed: 0 });
});
