"""Prints key sets and tokens made by PyJWT and by Authlib's joserfc: `keys JSON`, then lines of
`good NAME TOKEN` and `bad NAME TOKEN`. `tokens.py LIFE_S SUBJECT` sets how long the good ones hold, and
whose they are."""

import json
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

LIFE_S = int(sys.argv[1]) if len(sys.argv) > 1 else 60
SUBJECT = sys.argv[2] if len(sys.argv) > 2 else "ann"
now = int(time.time())
claims = {
    "iss": "https://id.example",
    "aud": ["chat", "mail"],
    "sub": SUBJECT,
    "jti": "token-1",
    "iat": now,
    "exp": now + LIFE_S,
    "scope": "read chat",
    "org": {"roles": ["admin", "user"]},
}

algorithms = jwt.algorithms
rsa_key = rsa.generate_private_key(65537, 2048)
small_key = rsa.generate_private_key(65537, 1024)
ec_keys = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ed_key = ed25519.Ed25519PrivateKey.generate()
keys, good, bad = [], [], []


def publish(algorithm, key, kid, **more):
    keys.append(json.loads(algorithm.to_jwk(key.public_key())) | {"kid": kid, **more})


publish(algorithms.RSAAlgorithm, rsa_key, "py-rsa")
publish(algorithms.RSAAlgorithm, small_key, "py-small")
publish(algorithms.OKPAlgorithm, ed_key, "py-ed", alg="EdDSA")
for name, key in ec_keys.items():
    publish(algorithms.ECAlgorithm, key, f"py-{name}", alg=name)

for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]:
    good.append((f"pyjwt-{name}", jwt.encode(claims, rsa_key, name, {"kid": "py-rsa"})))
for name, key in ec_keys.items():
    good.append((f"pyjwt-{name}", jwt.encode(claims, key, name, {"kid": f"py-{name}"})))
good.append(("pyjwt-EdDSA", jwt.encode(claims, ed_key, "EdDSA", {"kid": "py-ed"})))
good.append(("pyjwt-without-kid", jwt.encode(claims, ec_keys["ES256"], "ES256")))


def forge(name, changes, key=ec_keys["ES256"], algorithm="ES256", kid="py-ES256"):
    changed = {k: v for k, v in (claims | changes).items() if v is not None}
    bad.append((f"pyjwt-{name}", jwt.encode(changed, key, algorithm, {"kid": kid})))


forge("expired", {"exp": now - 3600})
forge("without-exp", {"exp": None})
forge("too-early", {"nbf": now + 3600})
forge("other-issuer", {"iss": "https://evil.example"})
forge("other-audience", {"aud": "mail"})
forge("other-key", {}, ec.generate_private_key(ec.SECP256R1()))
forge("unknown-kid", {}, kid="py-nobody")
forge("wrong-kid", {}, kid="py-rsa")
forge("small-key", {}, small_key, "RS256", "py-small")
forge("none", {}, None, "none")
forge("secret-is-public-key", {}, keys[0]["n"], "HS256", "py-rsa")

ours = {
    "RS256": RSAKey.generate_key(2048, {"kid": "authlib-rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "authlib-ec"}),
    "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "authlib-ed"}),
}
for name, key in ours.items():
    keys.append(key.as_dict(private=False))
    header = {"alg": name, "kid": key.kid}
    good.append((f"authlib-{name}", joserfc_jwt.encode(header, claims, key, algorithms=[name])))

print("keys", json.dumps({"keys": keys}))
for name, token in good:
    print("good", name, token)
for name, token in bad:
    print("bad", name, token)
print("done")
