// What the package costs over bare stubs: the same jobs through both, one after the other, several
// times, against one broker. usage: node bench/overhead.mjs [jobs] [rounds], with LESSOR_SERVER set

import { randomUUID } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { credentials, Client as Grpc } from "@grpc/grpc-js";
import { Client, Worker } from "lessor";
import { EnqueueRequestSchema, JobBroker, WorkRequestSchema } from "lessor/proto";

const [jobs = 5_000, rounds = 3] = process.argv.slice(2).map(Number);
const address = process.env.LESSOR_SERVER ?? "http://127.0.0.1:7077";
const CALLERS = 64;
const DATA = new TextEncoder().encode(JSON.stringify({ to: "ada@example.com" }));

const grpc = new Grpc(new URL(address).host, credentials.createInsecure());
const bytes = (schema) => (message) => Buffer.from(toBinary(schema, message));
const read = (schema) => (reply) => fromBinary(schema, reply);

/** `CALLERS` callers, each one call after the other. */
async function callers(call) {
  let left = jobs;
  const caller = async () => {
    while (left > 0) {
      left -= 1;
      await call();
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
}

const bare = {
  enqueue(queue) {
    const { input, output } = JobBroker.method.enqueue;
    return callers(
      () =>
        new Promise((resolve, reject) => {
          const request = create(EnqueueRequestSchema, {
            ...{ queue, type: "t", requestId: randomUUID() },
            payload: { body: { case: "data", value: DATA }, contentType: "application/json" },
          });
          const options = { deadline: Date.now() + 10_000 };
          grpc.makeUnaryRequest(
            "/lessor.v1.JobBroker/Enqueue",
            bytes(input),
            read(output),
            request,
            options,
            (error, reply) => (error ? reject(error) : resolve(reply)),
          );
        }),
    );
  },

  /** Acks on a stream, as little as works. */
  drain(queue) {
    const { input, output } = JobBroker.method.work;
    return new Promise((resolve, reject) => {
      const path = "/lessor.v1.JobBroker/Work";
      const stream = grpc.makeBidiStreamRequest(path, bytes(input), read(output));
      const say = (frame, more) => stream.write(create(WorkRequestSchema, { frame, ...more }));
      let [done, begun] = [0, 0];
      stream.on("error", reject);
      stream.on("data", ({ frame }) => {
        if (frame.case === "welcome") begun = performance.now();
        if (frame.case === "ack") {
          done += 1;
          if (done < jobs) return;
          resolve(performance.now() - begun);
          say({ case: "goodbye", value: {} });
          stream.end();
        }
        if (frame.case !== "delivery") return;
        const { deliverySeq, leased } = frame.value;
        JSON.parse(new TextDecoder().decode(leased.job.payload.body.value));
        say({ case: "ack", value: { leaseToken: leased.leaseToken } }, { requestSeq: deliverySeq });
        say({ case: "credit", value: { maxDeliverySeq: deliverySeq + BigInt(CALLERS) } });
      });
      const worker = { workerId: randomUUID() };
      say({ case: "hello", value: { worker, queues: [queue], autoExtend: true } });
      say({ case: "credit", value: { maxDeliverySeq: BigInt(CALLERS) } });
    });
  },
};

const client = new Client({ address });

const sdk = {
  enqueue: (queue) => callers(() => client.enqueue(queue, "t", { to: "ada@example.com" })),

  async drain(queue) {
    let [done, begun] = [0, 0];
    const worker = new Worker(queue, (job) => void job.data.to, { client, concurrency: CALLERS });
    worker.once("ready", () => {
      begun = performance.now();
    });
    const ended = await new Promise((resolve) => {
      worker.on("completed", () => {
        done += 1;
        if (done === jobs) resolve(performance.now());
      });
    });
    await worker.close();
    return ended - begun;
  },
};

/** Jobs per second; a drain says what it took from when its stream was open. */
async function rate(work) {
  const begun = performance.now();
  const took = await work();
  return (jobs * 1000) / (took ?? performance.now() - begun);
}

const median = (of) => of.toSorted((a, b) => a - b)[Math.floor(of.length / 2)];
const rates = { enqueue: { bare: [], sdk: [] }, drain: { bare: [], sdk: [] } };
for (let round = 0; round <= rounds; round += 1) {
  for (const [name, through] of Object.entries({ bare, sdk })) {
    const queue = `bench-${randomUUID()}`;
    const enqueue = await rate(() => through.enqueue(queue));
    const drain = await rate(() => through.drain(queue));
    // The first round warms up.
    if (round === 0) continue;
    rates.enqueue[name].push(enqueue);
    rates.drain[name].push(drain);
  }
}
for (const [what, { bare, sdk }] of Object.entries(rates)) {
  const [stubs, here] = [median(bare), median(sdk)];
  const ratio = (here / stubs).toFixed(2);
  console.log(`${what}: stubs ${stubs.toFixed(0)}/s, package ${here.toFixed(0)}/s, ratio ${ratio}`);
}
client.close();
grpc.close();
