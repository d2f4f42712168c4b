// What the broker knows a user by: a token that the app signs, good for some minutes. An identity
// provider that signs tokens of its own can take its place.

import { importJWK, type JWK, SignJWT } from "jose";

export const ISSUER = "serverless-routes";
export const AUDIENCE = "lessor";
export const ALGORITHM = "ES256";

/** What every user may: enqueue, and see its own jobs. */
const GRANT = { roles: ["producer"], queues: ["tools"], own_jobs: true };

export async function tokenOf(user: string): Promise<string> {
  const key: JWK = JSON.parse(process.env.USER_KEY ?? "{}");
  return new SignJWT({ lessor: GRANT })
    .setProtectedHeader({ alg: ALGORITHM, kid: key.kid ?? "" })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setSubject(user)
    .setExpirationTime("5m")
    .sign(await importJWK(key, ALGORITHM));
}
