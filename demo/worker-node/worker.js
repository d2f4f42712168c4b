// Hashes the files it is told to, on nothing but the generated gRPC stubs.
//
// Files are read in chunks, so the heartbeats get their turn however long a file is. Settings come
// from the environment.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { credentials, Metadata, status } from "@grpc/grpc-js";
import { JobBroker } from "./gen/lessor/v1/broker_pb.js";
import { clientClassOf, unary } from "./service.js";

const CHUNK = 1 << 20;
const BATCH = 4;
const WAIT_MS = 20_000;
const CALL_MS = 30_000;
// Without a word from the broker for this long, the worker gives up.
const PATIENCE_MS = 60_000;
// A connection on which nothing comes back for this long is pinged, and lost if that does not help
// within as long again.
const KEEP_ALIVE_MS = 5_000;
const RETRY = readFileSync(new URL("../retry.json", import.meta.url), "utf8");
// Another try may succeed where these failed; anything else is a mistake worth stopping for.
const TRANSIENT = [status.UNAVAILABLE, status.DEADLINE_EXCEEDED];

const env = process.env;
const settings = {
  address: env.LESSOR_ADDRESS ?? "127.0.0.1:7077",
  queue: env.DEMO_QUEUE ?? "files",
  workerId: env.DEMO_WORKER_ID ?? `node-${randomUUID()}`,
  leaseMs: Number(env.DEMO_LEASE_SECONDS ?? 3) * 1000,
  // The number of the job to sit on, counted from 1; 0 is none.
  holdJob: Number(env.DEMO_HOLD_JOB ?? 0),
  holdMs: Number(env.DEMO_HOLD_SECONDS ?? 3600) * 1000,
};

const { lease, ack, nack, extendLease } = JobBroker.method;
const Client = clientClassOf(JobBroker);
const client = new Client(settings.address, credentials.createInsecure(), {
  "grpc.service_config": RETRY,
  "grpc.keepalive_time_ms": KEEP_ALIVE_MS,
  "grpc.keepalive_timeout_ms": KEEP_ALIVE_MS,
});
const patient = new Metadata({ waitForReady: true });
const stopping = new AbortController();
/** The jobs this worker has the lease of, each with a controller that says that it is lost. */
const held = new Set();
let jobsBegun = 0;

const say = (...words) => console.log(words.join(" "));
const stopped = () => stopping.signal.aborted;

/** Waits for jobs. One `requestId` until an answer comes: a lost answer is replayed. */
async function leaseBatch() {
  const request = {
    queues: [settings.queue],
    workerId: settings.workerId,
    maxJobs: BATCH,
    leaseDuration: durationFromMs(settings.leaseMs),
    wait: durationFromMs(WAIT_MS),
    requestId: randomUUID(),
  };
  const { signal } = stopping;
  try {
    const answer = await retried(lease, request, WAIT_MS + CALL_MS, signal);
    if (answer.retryAfter) await sleep(durationMs(answer.retryAfter), undefined, { signal });
    const jobs = answer.jobs.map((leased) => ({ ...leased, lost: new AbortController() }));
    for (const each of jobs) held.add(each);
    return jobs;
  } catch (error) {
    if (stopped()) return [];
    throw error;
  }
}

/** Repeats a call beyond what the channel does, which pauses between its own few tries. */
async function retried(method, request, withinMs, signal) {
  const giveUp = Date.now() + PATIENCE_MS;
  while (true) {
    try {
      const deadline = Date.now() + withinMs;
      return await unary(client, method, request, { metadata: patient, deadline, signal });
    } catch (error) {
      if (!TRANSIENT.includes(error.code) || Date.now() > giveUp) throw error;
    }
  }
}

async function workOn(leased) {
  const { job } = leased;
  const { signal } = leased.lost;
  jobsBegun += 1;
  try {
    if (jobsBegun === settings.holdJob) {
      say("holding", job.name);
      await sleep(settings.holdMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
    const task = JSON.parse(new TextDecoder().decode(job.payload.body.value));
    const result = await digest(Buffer.from(task.path_base64, "base64"), signal);
    const data = new TextEncoder().encode(JSON.stringify(result));
    const payload = { body: { case: "data", value: data }, contentType: "application/json" };
    if (await settle(ack, leased, { result: payload })) {
      say("done", job.name, `${result.size} bytes, ${result.lines} lines`);
    }
  } catch (error) {
    if (signal.aborted) {
      say("lost", job.name);
    } else if (error instanceof TypeError || error instanceof SyntaxError || error.syscall) {
      say("failed", job.name, error.message);
      const failure = {
        code: error.syscall ? "FILE_UNREADABLE" : "BAD_TASK",
        message: error.message,
      };
      await settle(nack, leased, { failure, disposition: { case: "retry", value: {} } });
    } else {
      throw error;
    }
  }
}

/** SHA-256, size in bytes and number of newlines of a file of any size. */
async function digest(path, signal) {
  const sha = createHash("sha256");
  let size = 0;
  let lines = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK, signal })) {
    sha.update(chunk);
    size += chunk.length;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines += 1;
  }
  return { sha256: sha.digest("hex"), size, lines };
}

/** Acks or nacks; repeating either with the same token is safe. */
async function settle(method, leased, fields) {
  const { job, leaseToken } = leased;
  try {
    await retried(method, { leaseToken, ...fields }, CALL_MS);
    return true;
  } catch (error) {
    if (error.code !== status.FAILED_PRECONDITION) throw error;
    say("lost", job.name, error.details);
    return false;
  } finally {
    held.delete(leased);
  }
}

async function extend(leased, withinMs) {
  const { leaseToken, lost } = leased;
  try {
    const answer = await unary(
      client,
      extendLease,
      { leaseToken },
      { deadline: Date.now() + withinMs },
    );
    if (answer.drain) stopping.abort();
  } catch (error) {
    if (error.code !== status.FAILED_PRECONDITION) return;
    lost.abort();
    held.delete(leased);
  }
}

function heartbeat() {
  for (const leased of held) extend(leased, settings.leaseMs / 3);
}

async function main() {
  await new Promise((resolve, reject) => {
    client.waitForReady(Date.now() + CALL_MS, (error) => (error ? reject(error) : resolve()));
  });
  say("ready");
  while (!stopped()) {
    const batch = await leaseBatch();
    while (batch.length > 0 && !stopped()) await workOn(batch.shift());
    for (const leased of batch) {
      await settle(nack, leased, { disposition: { case: "release", value: {} } });
    }
  }
  say("stopped");
}

for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => stopping.abort());
const beats = setInterval(heartbeat, settings.leaseMs / 3);
try {
  await main();
} catch (error) {
  console.error(`${settings.workerId}: ${error.stack}`);
  process.exitCode = 1;
} finally {
  clearInterval(beats);
  client.close();
}
