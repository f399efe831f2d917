// The npm package `jose`, the same way as tokens.py does it.
import { SignJWT, UnsecuredJWT, exportJWK, generateKeyPair } from "jose";

const claims = { scope: "read chat", org: { roles: ["admin", "user"] } };
const keys = [];
const lines = [];
const sign = (alg, kid, key) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg, kid, typ: "at+jwt" })
    .setIssuer("https://id.example")
    .setAudience("chat")
    .setSubject("ann")
    .setIssuedAt()
    .setExpirationTime("1m")
    .sign(key);

for (const alg of ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"]) {
  const { publicKey, privateKey } = await generateKeyPair(alg);
  const kid = `jose-${alg}`;
  keys.push({ ...(await exportJWK(publicKey)), kid, alg, use: "sig" });
  lines.push(`good jose-${alg} ${await sign(alg, kid, privateKey)}`);
  const stranger = await generateKeyPair(alg);
  lines.push(`bad jose-stranger-${alg} ${await sign(alg, kid, stranger.privateKey)}`);
}
const unsigned = new UnsecuredJWT(claims).setExpirationTime("1m").setAudience("chat");
lines.push(`bad jose-unsecured ${unsigned.setIssuer("https://id.example").encode()}x`);

console.log("keys", JSON.stringify({ keys }));
for (const line of lines) console.log(line);
console.log("done");
