/** Where the library logs to: fields first, then the message, as pino and bunyan have it. */
export interface Logger {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

export type LogLevel = keyof Logger;

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Logs one JSON object per line to stderr, from `level` on. */
export function jsonLogger(
  level: LogLevel = "info",
  write: (line: string) => void = (line) => process.stderr.write(line),
): Logger {
  const from = LEVELS.indexOf(level);
  const log = (at: LogLevel) => (fields: Record<string, unknown>, message: string) => {
    if (LEVELS.indexOf(at) < from) return;
    const entry = { timestamp: new Date().toISOString(), level: at, message, ...fields };
    write(`${JSON.stringify(entry)}\n`);
  };
  return { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") };
}

const ignore = (): void => {};

/** Logs nothing. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };
