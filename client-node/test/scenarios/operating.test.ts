import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, type TestContext } from "node:test";
import * as otel from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { jsonLogger, type LessorError, UnauthenticatedError } from "lessor";
import { Client as FetchClient } from "lessor/fetch";
import { Broker } from "../support/broker.js";
import { selfSigned } from "../support/certificates.js";
import { Front } from "../support/front.js";
import { Relay } from "../support/relay.js";
import { Gate, ordinary, Stage, scenarios } from "../support/scenario.js";

const scenario = scenarios(ordinary);
const spans = new InMemorySpanExporter();

before(() => {
  otel.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  otel.propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
  otel.trace.setGlobalTracerProvider(provider);
});

scenario("trace_context_is_carried", async (stage) => {
  const tracer = otel.trace.getTracer("test");
  const inside = new Gate<string | undefined>();
  const worker = stage.worker(() => {
    inside.open(otel.trace.getActiveSpan()?.spanContext().spanId);
  });
  const completed = stage.once(worker, "completed");
  const { job } = await tracer.startActiveSpan("request", async (span) => {
    const enqueued = await stage.client.enqueue(stage.queue, "t");
    span.end();
    return enqueued;
  });
  await completed;
  const mine = spans.getFinishedSpans().filter((span) => {
    return span.attributes["messaging.destination.name"] === stage.queue;
  });
  const sent = mine.find((span) => span.name === `enqueue ${stage.queue}`);
  assert.equal(sent?.kind, otel.SpanKind.PRODUCER);
  const handled = mine.find((span) => span.name === `process ${stage.queue}`);
  assert.equal(handled?.kind, otel.SpanKind.CONSUMER);
  assert.equal(handled?.spanContext().spanId, await inside.promise);
  assert.deepEqual(
    handled?.links.map((link) => link.context.spanId),
    [sent?.spanContext().spanId],
  );
  assert.equal(handled?.attributes["messaging.message.id"], job.name);

  const plain = stage.connect({ telemetry: false });
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const seen = new Gate<unknown>();
  stage.workerOf(`${stage.queue}-2`, (it) => seen.open(it.traceContext), { telemetry: false });
  await plain.enqueue(`${stage.queue}-2`, "t", 1, { traceContext: { traceparent } });
  assert.deepEqual(await seen.promise, { traceparent });
});

scenario("health_probe", async (stage, t) => {
  const relay = await Relay.to(t, stage.address);
  relay.isHeld = true;
  const worker = stage.worker(() => 1, {
    address: relay.address,
    timeout: 500,
    health: { port: 0, host: "127.0.0.1" },
  });
  const probe = async () => {
    const reply = await fetch(`http://127.0.0.1:${worker.healthPort}/`);
    return [reply.status, ((await reply.json()) as { healthy: boolean }).healthy];
  };
  while (worker.healthPort === undefined) await new Promise(setImmediate);
  assert.deepEqual(await probe(), [503, false]);
  const ready = stage.once(worker, "ready");
  relay.isHeld = false;
  relay.cut();
  await ready;
  assert.deepEqual(await probe(), [200, true]);
  const gone = stage.once(worker, "disconnected");
  relay.isHeld = true;
  relay.cut();
  await gone;
  assert.deepEqual(await probe(), [503, false]);
});

scenario("structured_logs", async (stage) => {
  const lines: Record<string, unknown>[] = [];
  const logger = jsonLogger("info", (line) => lines.push(JSON.parse(line)));
  const worker = stage.worker(
    (job) => {
      if (job.attempt === 1) throw Object.assign(new Error("secret-free"), { code: "BAD" });
      return "the result";
    },
    { logger },
  );
  const { job } = await stage.client.enqueue(
    stage.queue,
    "log-me",
    { password: "hunter2" },
    {
      retry: { initialBackoff: 0 },
    },
  );
  const done = stage.once(worker, "completed");
  await stage.client.wait(job);
  await done;
  const about = lines.filter((line) => line.job_id === job.id);
  const [first, second] = about;
  const common = { queue: stage.queue, job_type: "log-me", worker_id: worker.id };
  assert.equal(about.length, 2);
  for (const [key, value] of Object.entries(common)) {
    assert.equal(first?.[key], value);
    assert.equal(second?.[key], value);
  }
  assert.equal(first?.attempt, 1);
  assert.equal(first?.outcome, "failed");
  assert.equal(first?.error_code, "BAD");
  assert.equal(second?.attempt, 2);
  assert.equal(second?.outcome, "completed");
  assert.equal(typeof second?.duration_ms, "number");
  assert.doesNotMatch(JSON.stringify(lines), /hunter2|the result/);
});

const TOKEN = "secret-token-of-a-test";

/** A folder that goes with the test. */
async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lessor-"));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** A broker of the test's own. */
async function own(t: TestContext, args: string[]): Promise<Broker> {
  const broker = await Broker.start({ args });
  t.after(() => broker.stop());
  return broker;
}

/** A broker that lets nobody in but who has the token. */
async function guarded(t: TestContext): Promise<Broker> {
  const digest = createHash("sha256").update(TOKEN).digest("hex");
  const roles = ["producer", "worker", "viewer"];
  const identity = `name = "test"\nroles = ${JSON.stringify(roles)}\nqueues = ["*"]`;
  const file = join(await folderOf(t), "tokens.toml");
  await writeFile(file, `[[identity]]\n${identity}\ntokens = ["sha256:${digest}"]\n`);
  return own(t, ["--auth-tokens", file]);
}

scenario("token_is_sent", async (_, t) => {
  const { address } = await guarded(t);
  const stage = new Stage(t, address);
  const token = async () => TOKEN;
  const client = stage.connect({ token });
  const worker = stage.worker(() => 1, { token });
  await stage.once(worker, "ready");
  const { job } = await client.enqueue(stage.queue, "t");
  assert.equal(await client.result(job), 1);
  const types: string[] = [];
  for await (const event of client.watch({ job })) types.push(event.type);
  assert.deepEqual(types, ["JOB_SUCCEEDED"]);
  const overHttp = new FetchClient({ address, token });
  assert.equal((await overHttp.get(job)).state, "succeeded");
});

scenario("bad_token_is_final", async (_, t) => {
  const front = await Front.to(t, (await guarded(t)).address);
  const stage = new Stage(t, front.address);
  const token = "wrong-token";
  const isRefused = (error: LessorError) => {
    assert.ok(error instanceof UnauthenticatedError);
    assert.equal(error.reason, "NO_CREDENTIAL");
    assert.doesNotMatch(`${error.message} ${error.stack}`, /wrong-token/);
    return true;
  };
  await assert.rejects(stage.connect({ token }).enqueue(stage.queue, "t"), isRefused);
  assert.equal(front.count("Enqueue"), 1);
  const worker = stage.worker(() => 1, { token });
  const closed = stage.once(worker, "closed");
  const [error] = await stage.once(worker, "error");
  isRefused(error as LessorError);
  await closed;
  assert.equal(front.count("Work"), 1);
});

scenario("tls", async (_, t) => {
  const folder = await folderOf(t);
  const [known, other] = await Promise.all(["known", "other"].map((it) => selfSigned(folder, it)));
  assert.ok(known && other);
  const broker = await own(t, known.args);
  const stage = new Stage(t, broker.address.replace("http:", "https:"));
  const tls = { ca: known.ca };
  const client = stage.connect({ tls });
  stage.worker(() => 1, { tls });
  const { job } = await client.enqueue(stage.queue, "t");
  assert.equal(await client.result(job), 1);
  const stranger = stage.connect({ tls: { ca: other.ca }, timeout: "1s" });
  await assert.rejects(stranger.enqueue(stage.queue, "t"), { code: "UNAVAILABLE" });
});
