import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { EventType, JobEvent } from "lessor";
import { JobBrokerAdmin } from "lessor/proto";
import type { Program } from "lessor-examples-local/program";
import { Relay } from "lessor-examples-local/relay";
import type { PoolClient } from "pg";
import { addJob, statusOf } from "../src/producer.js";
import { createSchedules } from "../src/schedules.js";
import { type Stage, startStage } from "../src/stage.js";

let stage: Stage;
/** Serves the tests until one of them tells it to stop; those after it have their own. */
let worker: Program;
before(async () => {
  stage = await startStage();
  worker = stage.worker({ WORKER_CONCURRENCY: "7" });
});
after(() => stage?.stop());

/** Waits until a job is told about in this way, or finds that it was. */
async function told(job: { name: string; queue: string }, type: EventType): Promise<JobEvent> {
  const watch = stage.client.watch({ queues: job.queue, types: [type], oldest: true });
  for await (const event of watch) if (event.job === job.name) return event;
  throw new Error("the watch has no end");
}

async function count(query: string, ...values: unknown[]): Promise<number> {
  const { rows } = await stage.database.query(query, values);
  return Number(rows[0].count);
}

/** Two products, the second of which nobody can write until `open` is called. */
async function blockedProducts(name: string) {
  const blocker: PoolClient = await stage.database.connect();
  const products = [
    { sku: `${name}-1`, cents: 100 },
    { sku: `${name}-2`, cents: 200 },
  ];
  await blocker.query("begin");
  await blocker.query("insert into prices values ($1, 0)", [`${name}-2`]);
  const open = async () => {
    await blocker.query("rollback");
    blocker.release();
  };
  const changes = () =>
    count("select count(*) from price_changes where sku = any($1)", [`${name}-1`, `${name}-2`]);
  return { products, open, changes };
}

test("each queue is served by its handler, which writes its rows and returns a value", async () => {
  const { client } = stage;
  const to = ["a@example.com", "b@example.com"];
  const products = [{ sku: "lamp", cents: 1_500 }];
  const month = new Date().toISOString().slice(0, 7);
  const sync = await addJob(client, "price-sync", { products }, { priority: "high" });
  assert.deepEqual(await client.result(sync), { changed: 1 });
  const email = await addJob(client, "email-send", { to, subject: "Hi, you", body: "!" });
  assert.deepEqual(await client.result(email), { sent: 2 });
  const emails = "select count(*) from emails where recipient = any($1)";
  assert.equal(await count(emails, to), 2);
  const made = await addJob(client, "data-export", { table: "emails" });
  const { exportId, rows } = await client.result(made);
  assert.equal(rows, 2);
  const found = await stage.database.query("select csv from exports where id = $1", [exportId]);
  assert.match(found.rows[0].csv, /^id,recipient,.*\r\n1,a@example\.com,"Hi, you",!,/);
  const backup = await addJob(client, "backup", { tables: ["prices", "emails"] });
  assert.deepEqual(await client.result(backup), { rows: 3 });
  const report = await addJob(client, "report-generation", { month });
  assert.deepEqual(await client.result(report), { month, changes: 1, averageCents: 1_500 });
  const cleanup = await addJob(client, "cleanup", { maxAgeDays: 30 });
  assert.deepEqual(await client.result(cleanup), { removed: 0 });
});

test("progress comes while a job runs, and its status ends with the return value", async () => {
  const { products, open } = await blockedProducts("progress");
  const { job } = await addJob(stage.client, "price-sync", { products, batch: 1 });
  assert.equal((await told(job, "JOB_PROGRESS")).progress?.percent, 50);
  const running = await statusOf(stage.client, job.name);
  assert.deepEqual([running.status, running.progress], ["leased", 50]);
  await open();
  await stage.client.wait(job);
  const { jobId, ...ended } = await statusOf(stage.client, job.name);
  const returnValue = { changed: 2 };
  assert.deepEqual(ended, { status: "succeeded", progress: 100, returnValue, error: undefined });
});

test("a job that can never succeed is a dead letter at once and writes nothing", async () => {
  const before = await count("select count(*) from backups");
  const { job } = await addJob(stage.client, "backup", { tables: ["prices", "secrets"] });
  const dead = await stage.client.wait(job);
  assert.deepEqual([dead.state, dead.attempt], ["dead", 1]);
  assert.equal(dead.lastFailure?.message, "there is no table secrets");
  assert.equal(await count("select count(*) from backups"), before);
});

test("the schedule of every night cleans up", async () => {
  const { client, database } = stage;
  await database.query(
    `insert into emails (recipient, subject, body, created_at)
     values ('old', '', '', now() - interval '31 days'), ('new', '', '', now())`,
  );
  await createSchedules(client);
  await createSchedules(client);
  const name = "schedules/daily-cleanup";
  const { cron, timeZone } = await client.call(JobBrokerAdmin.method.getSchedule, { name });
  assert.deepEqual([cron, timeZone], ["0 2 * * *", "Europe/Berlin"]);
  const job = await client.call(JobBrokerAdmin.method.triggerSchedule, { name });
  assert.deepEqual(await client.result(job), { removed: 1 });
  assert.equal(await count("select count(*) from emails where recipient in ('old', 'new')"), 1);
});

test("the worker tells its health", async () => {
  const port = await worker.said(/^ready, health on port (\d+)/);
  const response = await fetch(`http://127.0.0.1:${port}/health`);
  assert.equal(response.status, 200);
  const { healthy, active, concurrency } = await response.json();
  assert.deepEqual([healthy, active, concurrency], [true, 0, 7]);
});

test("a worker that is told to stop finishes what it has", async () => {
  const { products, open, changes } = await blockedProducts("last");
  const { job } = await addJob(stage.client, "price-sync", { products, batch: 1 });
  await told(job, "JOB_PROGRESS");
  worker.kill("SIGTERM");
  await open();
  assert.equal(await worker.exited, 0);
  const done = await stage.client.get(job);
  assert.deepEqual([done.state, done.deliveryCount], ["succeeded", 1]);
  assert.equal(await changes(), 2);
});

test("a worker that is killed in the middle of a job leaves no half of it", async () => {
  const { products, open, changes } = await blockedProducts("half");
  const { job } = await addJob(stage.client, "price-sync", { products, batch: 1 });
  const first = stage.worker();
  assert.equal((await told(job, "JOB_PROGRESS")).progress?.done, 1);
  first.kill("SIGKILL");
  assert.equal(await first.exited, "SIGKILL");
  await open();
  const second = stage.worker();
  assert.deepEqual(await stage.client.result(job), { changed: 2 });
  assert.equal(await changes(), 2);
  const done = await stage.client.get(job);
  assert.deepEqual([done.deliveryCount, done.leaseExpiredCount], [2, 1]);
  second.kill("SIGTERM");
  await second.exited;
});

test("a worker that is killed between its commit and its ack has one effect", async () => {
  const { database, client } = stage;
  await database.query(`
    create or replace function tell() returns trigger language plpgsql as
    $$ begin perform pg_notify('effects', new.job); return null; end $$`);
  await database.query(
    "create or replace trigger told after update on effects for each row execute function tell()",
  );
  const { products, open, changes } = await blockedProducts("once");
  const { job } = await addJob(client, "price-sync", { products, batch: 1 });
  const relay = await Relay.to(stage.broker.address);
  const first = stage.worker({ LESSOR_SERVER: relay.address, WORKER_LEASE_MS: "4000" });
  await told(job, "JOB_PROGRESS");

  // The rows are kept; the broker never hears of it.
  const listener = await database.connect();
  await listener.query("listen effects");
  const committed = new Promise((resolve) => listener.on("notification", resolve));
  relay.silence();
  await open();
  await committed;
  listener.release(true);
  first.kill("SIGKILL");
  await first.exited;
  relay.stop();
  assert.notEqual((await client.get(job)).state, "succeeded");
  assert.equal(await changes(), 2);

  const second = stage.worker();
  assert.deepEqual(await client.result(job), { changed: 2 });
  assert.equal(await changes(), 2);
  assert.equal((await client.get(job)).deliveryCount, 2);
  second.kill("SIGTERM");
  await second.exited;
});
