// Makes a client of what the two libraries each do half of: @bufbuild/protobuf knows the messages,
// @grpc/grpc-js knows the wire.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Metadata, makeGenericClientConstructor } from "@grpc/grpc-js";

const CLIENT_STREAMS = ["client_streaming", "bidi_streaming"];
const SERVER_STREAMS = ["server_streaming", "bidi_streaming"];

/** A grpc-js client constructor for a generated service description. */
export function clientClassOf(service) {
  const methods = {};
  for (const { localName, name, methodKind, input, output } of service.methods) {
    methods[localName] = {
      path: `/${service.typeName}/${name}`,
      requestStream: CLIENT_STREAMS.includes(methodKind),
      responseStream: SERVER_STREAMS.includes(methodKind),
      requestSerialize: (message) => Buffer.from(toBinary(input, message)),
      requestDeserialize: (bytes) => fromBinary(input, bytes),
      responseSerialize: (message) => Buffer.from(toBinary(output, message)),
      responseDeserialize: (bytes) => fromBinary(output, bytes),
    };
  }
  return makeGenericClientConstructor(methods, service.typeName);
}

/** One unary call as a promise; an abort of `signal` cancels it. */
export function unary(client, method, fields, { metadata = new Metadata(), deadline, signal }) {
  return new Promise((resolve, reject) => {
    const request = create(method.input, fields);
    const options = { deadline };
    const call = client[method.localName](request, metadata, options, (error, answer) => {
      signal?.removeEventListener("abort", cancel);
      if (error) reject(error);
      else resolve(answer);
    });
    const cancel = () => call.cancel();
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
  });
}
