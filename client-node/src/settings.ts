// How a broker is reached, settled once from what the user gave.

import type { ChannelCredentials, ChannelOptions } from "@grpc/grpc-js";
import { credentials } from "@grpc/grpc-js";
import type { Span } from "./duration.js";
import { toMs } from "./duration.js";
import type { Logger } from "./logger.js";
import { jsonLogger, silentLogger } from "./logger.js";
import { Telemetry, type TelemetryApi } from "./telemetry.js";
import { VERSION } from "./version.js";

/** Certificates, as PEM. */
export interface TlsOptions {
  /** What the broker's certificate must be signed by. Default: the authorities of Node.js. */
  ca?: string | Buffer;
  /** The client's own certificate, with its key. */
  cert?: string | Buffer;
  key?: string | Buffer;
  /** The name in the broker's certificate, where it is not that of the address. */
  serverName?: string;
}

/** How a broker is reached. */
export interface ConnectionOptions {
  /**
   * `http://host:7077`, `https://host:7077` (TLS) or `dns:///host:7077`, which shares the calls out
   * over all addresses of the name. Default: `LESSOR_SERVER`, else `http://127.0.0.1:7077`.
   */
  address?: string;
  /** The bearer token, or what fetches the present one; asked for each call. */
  token?: string | (() => string | Promise<string>);
  /** TLS with these certificates; `true` for that of an address without a scheme. */
  tls?: boolean | TlsOptions;
  /** How long a call may take, its repeats included. Default 10 s. */
  timeout?: Span;
  /** Where to log. Default: warnings and errors as JSON to stderr. `false`: nowhere. */
  logger?: Logger | false;
  /**
   * The OpenTelemetry API. Default: `@opentelemetry/api`, if it is installed. `false`: no spans, no
   * metrics.
   */
  telemetry?: TelemetryApi | false;
  /** Further options of `@grpc/grpc-js`. */
  channelOptions?: ChannelOptions;
}

/** The same, checked. */
export interface Settings {
  readonly address: string;
  readonly target: string;
  readonly tls: TlsOptions | undefined;
  readonly token: (() => string | Promise<string>) | undefined;
  readonly timeoutMs: number;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  readonly channelOptions: ChannelOptions;
}

const DEFAULT_ADDRESS = "http://127.0.0.1:7077";
const DEFAULT_PORT = "7077";
const DEFAULT_TIMEOUT_MS = 10_000;

export function settle(options: ConnectionOptions): Settings {
  const address = options.address ?? process.env.LESSOR_SERVER ?? DEFAULT_ADDRESS;
  const { target, secure } = parse(address);
  const { token, tls, logger } = options;
  if (tls === false && secure) throw bad(address, "it says TLS, and `tls` says no");
  return {
    address,
    target,
    tls: typeof tls === "object" ? tls : tls || secure ? {} : undefined,
    token: typeof token === "string" ? () => token : token,
    timeoutMs:
      options.timeout === undefined ? DEFAULT_TIMEOUT_MS : toMs(options.timeout, "timeout"),
    logger: logger === false ? silentLogger : (logger ?? jsonLogger("warn")),
    telemetry: new Telemetry(options.telemetry),
    channelOptions: options.channelOptions ?? {},
  };
}

function parse(address: string): { target: string; secure: boolean } {
  if (address.startsWith("dns:") || address.startsWith("unix:")) {
    return { target: address, secure: false };
  }
  const url = /^[a-z]+:\/\//.test(address) ? address : `http://${address}`;
  if (!URL.canParse(url)) throw bad(address, "write it as http://127.0.0.1:7077");
  const { protocol, hostname, port, pathname } = new URL(url);
  if (protocol !== "http:" && protocol !== "https:")
    throw bad(address, "it must begin with http://");
  if (hostname === "" || pathname.length > 1) throw bad(address, "write it as http://host:port");
  const secure = protocol === "https:";
  const written = /:(\d+)\/?$/.exec(address)?.[1];
  return { target: `${hostname}:${written ?? (port || (secure ? "443" : DEFAULT_PORT))}`, secure };
}

function bad(address: string, why: string): TypeError {
  return new TypeError(`bad broker address ${JSON.stringify(address)}: ${why}`);
}

export function credentialsOf({ tls }: Pick<Settings, "tls">): ChannelCredentials {
  if (!tls) return credentials.createInsecure();
  const pem = (text: string | Buffer | undefined) =>
    text === undefined ? null : Buffer.from(text);
  return credentials.createSsl(pem(tls.ca), pem(tls.key), pem(tls.cert));
}

/** A connection that is quiet for this long is asked for a sign of life; less annoys proxies. */
const KEEP_ALIVE_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 10_000;

export function channelOptionsOf(
  settings: Pick<Settings, "target" | "tls" | "channelOptions">,
): ChannelOptions {
  return {
    "grpc.primary_user_agent": `lessor-node/${VERSION}`,
    "grpc.keepalive_time_ms": KEEP_ALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEP_ALIVE_TIMEOUT_MS,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
    // Repeats are made here, where the broker's word on when is heard.
    "grpc.enable_retries": 0,
    // A new channel is a new connection.
    "grpc.use_local_subchannel_pool": 1,
    ...(settings.target.startsWith("dns:")
      ? { "grpc.service_config": '{"loadBalancingConfig":[{"round_robin":{}}]}' }
      : {}),
    ...(settings.tls?.serverName
      ? {
          "grpc.ssl_target_name_override": settings.tls.serverName,
          "grpc.default_authority": settings.tls.serverName,
        }
      : {}),
    ...settings.channelOptions,
  };
}
