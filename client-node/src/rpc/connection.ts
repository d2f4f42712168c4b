// The services of the protocol over @grpc/grpc-js: one library knows the messages, the other the wire.

import type {
  DescMessage,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { ClientDuplexStream, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { Client, Metadata } from "@grpc/grpc-js";
import type { Span } from "../duration.js";
import { toMs } from "../duration.js";
import { errorOf, type LessorError } from "../errors.js";
import type { Settings } from "../settings.js";
import { channelOptionsOf, credentialsOf } from "../settings.js";
import { now, persist } from "./retry.js";
import { fromCall } from "./status.js";

/** How one call is made. */
export interface Call {
  /** Beyond the default by so much, for calls that wait. */
  readonly waitMs?: number | undefined;
  readonly timeout?: Span | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Further metadata, such as the trace context. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

const asBytes = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const same = (bytes: Buffer): Buffer => bytes;

const pathOf = (method: { parent: { typeName: string }; name: string }): string =>
  `/${method.parent.typeName}/${method.name}`;

/** A channel to the broker, opened by the first call. */
export class Connection {
  readonly #grpc: Client;

  constructor(readonly settings: Settings) {
    this.#grpc = new Client(settings.target, credentialsOf(settings), channelOptionsOf(settings));
  }

  /** A call that is repeated, byte for byte, while its fault is a passing one and there is time. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    { waitMs = 0, timeout, signal, headers }: Call = {},
  ): Promise<MessageShape<O>> {
    const bytes = toBinary(method.input, create(method.input, request));
    const within =
      timeout === undefined ? this.settings.timeoutMs + waitMs : toMs(timeout, "timeout");
    const deadline = now() + within;
    const reply = await persist(deadline, signal, () =>
      this.send(pathOf(method), bytes, deadline, signal, headers),
    );
    return fromBinary(method.output, reply);
  }

  /** One try of a unary call: bytes there, bytes back. `deadline` is by the clock of `now`. */
  async send(
    path: string,
    bytes: Uint8Array,
    deadline: number,
    signal?: AbortSignal,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Buffer> {
    signal?.throwIfAborted();
    const metadata = await this.#metadata(headers);
    const left = deadline - now();
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + left };
      const answered = (error: ServiceError | null, reply?: Buffer) => {
        signal?.removeEventListener("abort", cancel);
        if (signal?.aborted) reject(signal.reason);
        else if (error) reject(this.errorOf(error, left));
        else resolve(reply as Buffer);
      };
      const call = this.#grpc.makeUnaryRequest(
        path,
        asBytes,
        same,
        bytes,
        metadata,
        options,
        answered,
      );
      const cancel = () => call.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  /** A stream both ways. The broker's messages come as `data`. */
  async duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
  ): Promise<ClientDuplexStream<MessageShape<I>, MessageShape<O>>> {
    return this.#grpc.makeBidiStreamRequest(
      pathOf(method),
      (message: MessageShape<I>) => asBytes(toBinary(method.input, message)),
      (reply: Buffer) => fromBinary(method.output, reply),
      await this.#metadata(),
      {},
    );
  }

  /** A stream from the broker. */
  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
  ): Promise<ClientReadableStream<MessageShape<O>>> {
    return this.#grpc.makeServerStreamRequest(
      pathOf(method),
      (message: MessageShape<I>) => asBytes(toBinary(method.input, message)),
      (reply: Buffer) => fromBinary(method.output, reply),
      create(method.input, request),
      await this.#metadata(),
      {},
    );
  }

  /** The error of a call or stream. */
  errorOf(error: ServiceError, withinMs?: number): LessorError {
    const told = fromCall(error, error);
    if (told.reason !== undefined) return told;
    const { code } = told;
    const { address } = this.settings;
    if (code === "DEADLINE_EXCEEDED" && withinMs !== undefined) {
      return errorOf({ code, message: `no answer from ${address} in ${Math.round(withinMs)} ms` });
    }
    if (code === "UNAVAILABLE") {
      return errorOf({ code, message: `no answer from ${address}: ${told.message}`, cause: error });
    }
    return told;
  }

  close(): void {
    this.#grpc.close();
  }

  async #metadata(headers?: Readonly<Record<string, string>>): Promise<Metadata> {
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(headers ?? {})) metadata.set(key, value);
    const { token } = this.settings;
    if (token) metadata.set("authorization", `Bearer ${await token()}`);
    return metadata;
  }
}

export { pathOf };
