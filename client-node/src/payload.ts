// Between what handlers and producers see and the payloads of the protocol.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { toJson } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import type { PayloadSchema, Payload as ProtoPayload } from "./gen/lessor/v1/job_pb.js";
import { Payload } from "./options.js";

const encoder = new TextEncoder();
const JSON_TYPE = "application/json";

/** A value as it travels: bytes as they are, all else as JSON. `undefined` is no payload. */
export function encodePayload(value: unknown): MessageInitShape<typeof PayloadSchema> | undefined {
  if (value === undefined) return undefined;
  if (value instanceof Payload) {
    return {
      body: { case: "data", value: value.bytes },
      contentType: value.contentType,
      encoding: value.encoding,
    };
  }
  if (value instanceof Uint8Array) return { body: { case: "data", value } };
  const text = JSON.stringify(value);
  if (text === undefined) throw new TypeError(`${typeof value} is not JSON`);
  return { body: { case: "data", value: encoder.encode(text) }, contentType: JSON_TYPE };
}

/** What was sent: a JSON value, the bytes, or a `Payload` when it has an encoding. */
export function decodePayload(payload: ProtoPayload | undefined): unknown {
  if (payload === undefined || payload.body.case === undefined) return undefined;
  if (payload.body.case === "json") return toJson(ValueSchema, payload.body.value);
  return readBytes(payload.body.value, payload.contentType, payload.encoding);
}

/** The value of bytes of a content type. */
export function readBytes(bytes: Uint8Array, contentType: string, encoding: string): unknown {
  if (encoding !== "") return new Payload(bytes, contentType, encoding);
  const media = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (media === JSON_TYPE || media.endsWith("+json")) {
    return bytes.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(bytes));
  }
  if (media === "" || media === "application/octet-stream") return bytes;
  return new Payload(bytes, contentType);
}
