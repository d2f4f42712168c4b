// The messages and services of the protocol, for `client.call` and for what has no method.

export * from "./gen/lessor/v1/admin_pb.js";
export * from "./gen/lessor/v1/broker_pb.js";
export * from "./gen/lessor/v1/enqueue_pb.js";
export * from "./gen/lessor/v1/event_pb.js";
export * from "./gen/lessor/v1/job_pb.js";
export * from "./gen/lessor/v1/lease_pb.js";
export * from "./gen/lessor/v1/testing_pb.js";
export * from "./gen/lessor/v1/work_pb.js";
