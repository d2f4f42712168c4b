// A gRPC server before the broker, which hands calls on as they are or answers them itself.

import type { TestContext } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  type status,
} from "@grpc/grpc-js";
import { JobBroker } from "lessor/proto";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../../src/gen/google/rpc/status_pb.js";

const same = (bytes: Buffer): Buffer => bytes;

/** How to answer a call: with an error, or (nothing) as the broker does. */
export type Rule = (method: string, metadata: Metadata) => ServiceError | undefined;

export class Front {
  /** Names of the methods that were called, in order, with when. */
  readonly calls: { method: string; at: number; metadata: Metadata }[] = [];
  rule: Rule = () => undefined;
  address = "";

  static async to(t: TestContext, broker: string): Promise<Front> {
    const front = new Front();
    const back = new Client(new URL(broker).host, credentials.createInsecure());
    const server = new Server();
    const definition: Record<string, object> = {};
    const handlers: Record<string, unknown> = {};
    for (const { name, methodKind } of JobBroker.methods) {
      const path = `/${JobBroker.typeName}/${name}`;
      definition[name] = {
        path,
        requestStream: methodKind === "bidi_streaming",
        responseStream: methodKind !== "unary",
        ...{ requestSerialize: same, requestDeserialize: same },
        ...{ responseSerialize: same, responseDeserialize: same },
      };
      handlers[name] =
        methodKind === "unary"
          ? (call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) => {
              const refusal = front.#note(name, call.metadata);
              if (refusal) return answer(refusal);
              const options = { deadline: call.getDeadline() };
              back.makeUnaryRequest(path, same, same, call.request, call.metadata, options, answer);
            }
          : (call: ServerDuplexStream<Buffer, Buffer> & ServerWritableStream<Buffer, Buffer>) => {
              const refusal = front.#note(name, call.metadata);
              if (refusal) return call.emit("error", refusal);
              const metadata = call.metadata;
              const far = back.makeBidiStreamRequest(path, same, same, metadata);
              if (methodKind === "server_streaming") far.end(call.request);
              else call.on("data", (bytes: Buffer) => far.write(bytes)).on("end", () => far.end());
              far.on("error", (error: ServiceError) => call.emit("error", error));
              far.on("data", (bytes: Buffer) => call.write(bytes)).on("end", () => call.end());
              call.on("cancelled", () => far.cancel());
            };
    }
    server.addService(definition as never, handlers as never);
    const port = await new Promise<number>((resolve, reject) => {
      const bound = (error: Error | null, port: number) => (error ? reject(error) : resolve(port));
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
    });
    front.address = `http://127.0.0.1:${port}`;
    t.after(() => {
      server.forceShutdown();
      back.close();
    });
    return front;
  }

  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  #note(method: string, metadata: Metadata): ServiceError | undefined {
    this.calls.push({ method, at: performance.now(), metadata });
    return this.rule(method, metadata);
  }
}

/** A failure as a broker writes it. */
export function refusal(code: status, reason: string, retryAfterMs?: number): ServiceError {
  const details = [
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: "lessor.dev" })),
  ];
  if (retryAfterMs !== undefined) {
    const retryDelay = durationFromMs(retryAfterMs);
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  const metadata = new Metadata();
  const told = create(StatusSchema, { code, message: reason, details });
  metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, told)));
  return Object.assign(new Error(reason), { code, details: reason, metadata });
}
