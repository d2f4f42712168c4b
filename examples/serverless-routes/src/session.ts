// Who is signed in: a cookie that the app has signed. Yours is your auth library's.

import { jwtVerify, SignJWT } from "jose";

const ALGORITHM = "HS256";

function secret(): Uint8Array {
  return new TextEncoder().encode(process.env.SESSION_SECRET);
}

/** The cookie of a user who has just signed in. */
export async function cookieOf(user: string): Promise<string> {
  const token = await new SignJWT()
    .setProtectedHeader({ alg: ALGORITHM })
    .setSubject(user)
    .setExpirationTime("12h")
    .sign(secret());
  return `session=${token}`;
}

/** The user whose session a request belongs to. */
export async function userOf(request: Request): Promise<string | undefined> {
  const token = /(?:^|;\s*)session=([^;]+)/.exec(request.headers.get("cookie") ?? "")?.[1];
  if (token === undefined) return undefined;
  const verified = await jwtVerify(token, secret(), { algorithms: [ALGORITHM] }).catch(() => null);
  return verified?.payload.sub;
}
