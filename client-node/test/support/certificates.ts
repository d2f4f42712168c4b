// Certificates for a test, each of an authority of its own, made by openssl.

import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export interface Certificate {
  /** What a client trusts. */
  ca: Buffer;
  /** What a broker serves with. */
  args: string[];
}

/** A certificate for 127.0.0.1, in files of this folder. */
export async function selfSigned(folder: string, name: string): Promise<Certificate> {
  const [cert, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)];
  const kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const names = ["-subj", "/CN=lessor", "-addext", "subjectAltName=IP:127.0.0.1"];
  await run("openssl", [...kind, "-days", "2", "-keyout", key, "-out", cert, ...names]);
  return { ca: await readFile(cert), args: ["--tls-cert", cert, "--tls-key", key] };
}
