// Calls as JSON over HTTP, by the Connect protocol: nothing but `fetch`.

import {
  type ErrorFacts,
  errorOf,
  type FieldViolation,
  LessorError,
  type StatusCode,
} from "../errors.js";

/** How a broker is reached. */
export interface FetchOptions {
  /** The broker, such as `https://broker.example.com`. */
  address: string;
  /** The bearer token, or what fetches the present one; asked for each call. */
  token?: string | (() => string | Promise<string>);
  /** How long a call may take, its repeats included, in milliseconds. Default 10 s. */
  timeoutMs?: number;
  /** Default: the `fetch` of the platform. */
  fetch?: typeof fetch;
}

export interface FetchCall {
  timeoutMs?: number;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

const SERVICE = "lessor.v1.JobBroker/";
const TIMEOUT_MS = 10_000;
const TRIES = 4;
const FIRST_PAUSE_MS = 100;
const GROWTH = 4;
const HEAD_BYTES = 5;
const IS_END = 0b10;

/** A failure as Connect writes it. */
interface ConnectError {
  code?: string;
  message?: string;
  details?: { type?: string; debug?: Record<string, unknown> }[];
}

export class Transport {
  readonly #base: string;
  readonly #fetch: typeof fetch;

  constructor(private readonly options: FetchOptions) {
    this.#base = options.address.replace(/\/+$/, "");
    const given = options.fetch ?? globalThis.fetch;
    // Some platforms insist on the global as `this`.
    this.#fetch = (...of) => given.call(globalThis, ...of);
  }

  /** A call that is repeated while its fault is a passing one and there is time. */
  async call<Reply>(method: string, request: object, call: FetchCall = {}): Promise<Reply> {
    const deadline = performance.now() + (call.timeoutMs ?? this.options.timeoutMs ?? TIMEOUT_MS);
    const body = JSON.stringify(request);
    for (let tries = 1; ; tries += 1) {
      try {
        return (await this.#once(method, body, deadline, call)) as Reply;
      } catch (error) {
        const isPassing = error instanceof LessorError && error.code === "UNAVAILABLE";
        if (!isPassing || tries === TRIES) throw error;
        const pause = FIRST_PAUSE_MS * GROWTH ** (tries - 1) * (1 + Math.random());
        const least = Math.max(pause, error.retryAfterMs ?? 0);
        if (performance.now() + least >= deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, least));
        call.signal?.throwIfAborted();
      }
    }
  }

  /** A stream of replies. Ends with the broker's word on how it ended. */
  async *stream<Reply>(
    method: string,
    request: object,
    signal?: AbortSignal,
  ): AsyncGenerator<Reply, void, undefined> {
    const response = await this.#send(method, envelope(request), "application/connect+json", {
      ...(signal && { signal }),
    });
    if (!response.ok || !response.body) throw await failureOf(response);
    const reader = response.body.getReader();
    let rest = new Uint8Array();
    try {
      for (;;) {
        const { done, value } = await reader.read().catch((error) => {
          throw unreachable(this.#base, error);
        });
        if (done) throw unreachable(this.#base, "the stream broke off");
        rest = joined(rest, value);
        for (;;) {
          const frame = frameOf(rest);
          if (!frame) break;
          rest = rest.subarray(frame.size);
          if (frame.flags & IS_END) {
            const { error } = frame.message as { error?: ConnectError };
            if (error) throw errorOf(factsOf(error));
            return;
          }
          yield frame.message as Reply;
        }
      }
    } finally {
      await reader.cancel().catch(() => {});
    }
  }

  async #once(method: string, body: string, deadline: number, call: FetchCall): Promise<unknown> {
    const left = Math.ceil(deadline - performance.now());
    const late = AbortSignal.timeout(Math.max(0, left));
    const signal = call.signal ? AbortSignal.any([late, call.signal]) : late;
    try {
      const headers = { ...call.headers, "connect-timeout-ms": String(left) };
      const response = await this.#send(method, body, "application/json", { signal, headers });
      if (!response.ok) throw await failureOf(response);
      return await response.json();
    } catch (error) {
      call.signal?.throwIfAborted();
      if (late.aborted) {
        const message = `no answer from ${this.#base} in time`;
        throw errorOf({ code: "DEADLINE_EXCEEDED", message, cause: error });
      }
      throw error instanceof LessorError ? error : unreachable(this.#base, error);
    }
  }

  async #send(
    method: string,
    body: string | Uint8Array<ArrayBuffer>,
    contentType: string,
    { headers, signal }: FetchCall,
  ): Promise<Response> {
    const { token } = this.options;
    const credential = typeof token === "function" ? await token() : token;
    try {
      const path = method.includes("/") ? method : SERVICE + method;
      return await this.#fetch(`${this.#base}/${path}`, {
        method: "POST",
        headers: {
          ...headers,
          "content-type": contentType,
          "connect-protocol-version": "1",
          ...(credential === undefined ? {} : { authorization: `Bearer ${credential}` }),
        },
        body,
        signal: signal ?? null,
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw unreachable(this.#base, error);
    }
  }
}

function unreachable(address: string, cause: unknown): LessorError {
  const { message, cause: inner } = (
    cause instanceof Error ? cause : { message: String(cause) }
  ) as Error;
  const why = inner instanceof Error && inner.message ? inner.message : message;
  return errorOf({ code: "UNAVAILABLE", message: `no answer from ${address}: ${why}`, cause });
}

async function failureOf(response: Response): Promise<LessorError> {
  const body = await response.text();
  try {
    return errorOf(factsOf(JSON.parse(body) as ConnectError));
  } catch {
    // Not a broker: a proxy, say.
    const isPassing = [429, 502, 503, 504].includes(response.status);
    const code = isPassing ? "UNAVAILABLE" : "UNKNOWN";
    return errorOf({ code, message: `HTTP ${response.status}: ${body.slice(0, 200)}` });
  }
}

function factsOf({ code = "unknown", message = "", details = [] }: ConnectError): ErrorFacts {
  const facts: { -readonly [K in keyof ErrorFacts]: ErrorFacts[K] } = {
    code: (code === "canceled" ? "CANCELLED" : code.toUpperCase()) as StatusCode,
    message,
  };
  for (const { type = "", debug = {} } of details) {
    if (type.endsWith("ErrorInfo")) {
      facts.reason = debug.reason as string;
      facts.metadata = debug.metadata as Record<string, string>;
    } else if (type.endsWith("RetryInfo")) {
      facts.retryAfterMs = secondsOf(debug.retryDelay as string | undefined) * 1000;
    } else if (type.endsWith("BadRequest")) {
      facts.fieldViolations = debug.fieldViolations as FieldViolation[];
    }
  }
  return facts;
}

/** Seconds of a duration as JSON has it, `"1.5s"`. */
export function secondsOf(written: string | undefined): number {
  return Number.parseFloat(written ?? "0");
}

function envelope(message: object): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(JSON.stringify(message));
  const frame = new Uint8Array(HEAD_BYTES + bytes.length);
  new DataView(frame.buffer).setUint32(1, bytes.length);
  frame.set(bytes, HEAD_BYTES);
  return frame;
}

/** The first frame, once it is there as a whole. */
function frameOf(bytes: Uint8Array): { flags: number; size: number; message: unknown } | undefined {
  if (bytes.length < HEAD_BYTES) return undefined;
  const head = new DataView(bytes.buffer, bytes.byteOffset, HEAD_BYTES);
  const size = HEAD_BYTES + head.getUint32(1);
  if (bytes.length < size) return undefined;
  const text = new TextDecoder().decode(bytes.subarray(HEAD_BYTES, size));
  return { flags: head.getUint8(0), size, message: JSON.parse(text) };
}

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
