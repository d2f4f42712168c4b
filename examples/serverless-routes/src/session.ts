// Who is signed in: a cookie with the user's name and a signature. Yours is your auth library's.

const encoder = new TextEncoder();

async function keyOf(): Promise<CryptoKey> {
  const secret = encoder.encode(process.env.SESSION_SECRET);
  return crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
    "verify",
  ]);
}

/** The cookie of a user who has just signed in. */
export async function cookieOf(user: string): Promise<string> {
  const signature = await crypto.subtle.sign("HMAC", await keyOf(), encoder.encode(user));
  return `session=${user}.${Buffer.from(signature).toString("hex")}`;
}

/** The user whose session a request belongs to. */
export async function userOf(request: Request): Promise<string | undefined> {
  const cookie = request.headers.get("cookie") ?? "";
  const [, user, signature] = /(?:^|;\s*)session=([\w-]+)\.([0-9a-f]{64})/.exec(cookie) ?? [];
  if (user === undefined || signature === undefined) return undefined;
  const bytes = Buffer.from(signature, "hex");
  const isOurs = await crypto.subtle.verify("HMAC", await keyOf(), bytes, encoder.encode(user));
  return isOurs ? user : undefined;
}
