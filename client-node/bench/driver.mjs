// One side of one workload, through this package or through bare stubs on the same libraries. The
// interface of all drivers is in bench/drivers/README.md of the repository; this one has W1 and W2.

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { credentials, Client as Grpc } from "@grpc/grpc-js";
import { Client, Worker } from "lessor";
import { EnqueueRequestSchema, JobBroker, WorkRequestSchema } from "lessor/proto";

const text = { type: "string" };
const { values } = parseArgs({
  allowPositionals: true,
  options: {
    form: text,
    role: text,
    address: text,
    queue: text,
    jobs: text,
    "in-flight": { ...text, default: "32" },
    payload: { ...text, default: "256" },
  },
});
const { address, queue } = values;
const jobs = Number(values.jobs);
const inFlight = Number(values["in-flight"]);
const data = new Uint8Array(Number(values.payload)).fill(120);

/** As many callers as calls may be in flight, each one call after the other. */
async function callers(call) {
  let left = jobs;
  const caller = async () => {
    while (left > 0) {
      left -= 1;
      await call();
    }
  };
  const begun = process.hrtime.bigint();
  await Promise.all(Array.from({ length: inFlight }, caller));
  return [begun, process.hrtime.bigint()];
}

const bytes = (schema) => (message) => Buffer.from(toBinary(schema, message));
const read = (schema) => (reply) => fromBinary(schema, reply);

async function enqueueByStubs() {
  const grpc = new Grpc(new URL(address).host, credentials.createInsecure());
  const { input, output } = JobBroker.method.enqueue;
  const payload = { body: { case: "data", value: data } };
  const call = () =>
    new Promise((resolve, reject) => {
      const request = create(EnqueueRequestSchema, { queue, payload, requestId: randomUUID() });
      grpc.makeUnaryRequest(
        "/lessor.v1.JobBroker/Enqueue",
        bytes(input),
        read(output),
        request,
        { deadline: Date.now() + 10_000 },
        (error, reply) => (error ? reject(error) : resolve(reply)),
      );
    });
  const span = await callers(call);
  grpc.close();
  return span;
}

/** Acks on a stream, as little as works. */
async function workByStubs() {
  const grpc = new Grpc(new URL(address).host, credentials.createInsecure());
  const { input, output } = JobBroker.method.work;
  const span = await new Promise((resolve, reject) => {
    const path = "/lessor.v1.JobBroker/Work";
    const stream = grpc.makeBidiStreamRequest(path, bytes(input), read(output));
    const say = (frame, more) => stream.write(create(WorkRequestSchema, { frame, ...more }));
    const allow = (most) => say({ case: "credit", value: { maxDeliverySeq: BigInt(most) } });
    let [done, begun] = [0, 0n];
    stream.on("error", reject);
    stream.on("data", ({ frame }) => {
      if (frame.case === "error") reject(new Error(frame.value.message));
      if (frame.case === "ack") {
        done += 1;
        if (done < jobs) return;
        resolve([begun, process.hrtime.bigint()]);
        stream.end();
      }
      if (frame.case !== "delivery") return;
      begun ||= process.hrtime.bigint();
      const { deliverySeq, leased } = frame.value;
      const ack = { case: "ack", value: { leaseToken: leased.leaseToken } };
      say(ack, { requestSeq: deliverySeq, receivedThrough: deliverySeq });
      const number = Number(deliverySeq);
      if (number % (inFlight / 2) === 0) allow(Math.min(number + inFlight, jobs));
    });
    const worker = { workerId: randomUUID() };
    say({ case: "hello", value: { worker, queues: [queue], autoExtend: true } });
    allow(inFlight);
  });
  grpc.close();
  return span;
}

async function enqueueByLibrary() {
  const client = new Client({ address });
  const span = await callers(() => client.enqueue(queue, "job", data));
  client.close();
  return span;
}

async function workByLibrary() {
  const client = new Client({ address });
  let begun = 0n;
  const handler = () => {
    begun ||= process.hrtime.bigint();
  };
  const worker = new Worker(queue, handler, { client, concurrency: inFlight });
  let done = 0;
  const end = await new Promise((resolve) => {
    // The broker has confirmed its ack.
    worker.on("completed", () => {
      done += 1;
      if (done === jobs) resolve(process.hrtime.bigint());
    });
  });
  await worker.close();
  client.close();
  return [begun, end];
}

const sides = {
  producer: { stubs: enqueueByStubs, library: enqueueByLibrary },
  worker: { stubs: workByStubs, library: workByLibrary },
};
const cpuBefore = process.cpuUsage();
const [start, end] = await sides[values.role][values.form]();
const cpu = process.cpuUsage(cpuBefore);
const line = {
  role: values.role,
  jobs,
  start_ns: Number(start),
  end_ns: Number(end),
  rate: jobs / (Number(end - start) / 1e9),
  cpu_s: (cpu.user + cpu.system) / 1e6,
};
console.log(JSON.stringify(line));
