import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { Client, VERSION, Worker } from "lessor";
import { Encoded, together } from "../src/batch.js";
import { type Span, toMs } from "../src/duration.js";
import {
  BatchEnqueueRequestSchema,
  EnqueueRequestSchema,
} from "../src/gen/lessor/v1/enqueue_pb.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/;

test("a span is milliseconds or a number with its unit", () => {
  const spans: [Span, number][] = [
    [1500, 1500],
    ["250ms", 250],
    ["1.5s", 1500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["7d", 604_800_000],
  ];
  for (const [span, ms] of spans) assert.equal(toMs(span), ms);
  for (const bad of ["", "5", "s", "1 s", "-1s", -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => toMs(bad as Span, "delay"), /^TypeError: delay: /);
  }
});

const job = (requestId = "", jobId = "") =>
  create(EnqueueRequestSchema, { queue: "q", requestId, jobId, priority: -3 });

test("a batch without chosen ids has one of its own", () => {
  const bytes = together([new Encoded(job()), new Encoded(job())], false);
  const batch = fromBinary(BatchEnqueueRequestSchema, bytes);
  assert.match(batch.requestId, UUID);
  assert.deepEqual(batch.requests, [job(), job()]);
  assert.equal(batch.allowPartial, false);
});

test("a batch with a chosen id has one for each job instead", () => {
  const bytes = together([new Encoded(job("own")), new Encoded(job())], true);
  const batch = fromBinary(BatchEnqueueRequestSchema, bytes);
  assert.equal(batch.requestId, "");
  assert.equal(batch.requests[0]?.requestId, "own");
  assert.match(batch.requests[1]?.requestId ?? "", UUID);
  assert.equal(batch.allowPartial, true);
});

test("one UUID written in two ways is one chosen id", () => {
  const upper = new Encoded(job("0AF76519-16CD-43DD-8448-EB211C80319C"));
  const lower = new Encoded(job("0af7651916cd43dd8448eb211c80319c"));
  assert.deepEqual(upper.chosen, lower.chosen);
});

test("a bad address is refused at once", () => {
  for (const address of ["", "ftp://broker", "http://a b", "http://h/path"]) {
    assert.throws(() => new Client({ address }), /bad broker address/, address);
  }
  for (const address of ["127.0.0.1:7077", "http://[::1]:7077", "https://h", "dns:///h:7077"]) {
    new Client({ address }).close();
  }
});

test("a worker refuses a concurrency that is none", () => {
  for (const concurrency of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => new Worker("q", () => {}, { concurrency, autorun: false }), RangeError);
  }
});

test("the version is that of the package", async () => {
  const file = new URL("../package.json", import.meta.url);
  assert.equal(VERSION, JSON.parse(await readFile(file, "utf8")).version);
});
