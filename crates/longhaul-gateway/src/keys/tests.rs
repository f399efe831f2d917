use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use longhaul_policy::token::{Grant, TokenRules};
use serde_json::json;

use super::*;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    let exp = SystemTime::now() + Duration::from_secs(60);
    let exp = exp.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    json!({"sub": "ann", "exp": exp})
}

/// A token of this header and these claims, signed by `sign`.
fn token(header: Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    format!("{message}.{}", encode(sign(message.as_bytes())))
}

fn judge(keys: &KeySet, token: &str) -> Result<Grant, TokenFault> {
    let token = Unverified::read(token)?;
    keys.verify(&token)?;
    TokenRules::default().judge(&token.claims()?, SystemTime::now())
}

/// One issuer with a key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    set: Vec<u8>,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let ed = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let (modulus, exponent) = (modulus(&rsa), [1, 0, 1]);
        let point = ec.public_key().as_ref();
        let set = json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": encode(modulus), "e": encode(exponent)},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": encode(&point[1..33]),
             "y": encode(&point[33..])},
            {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": encode(ed.public_key().as_ref())},
            {"kty": "oct", "kid": "s", "k": encode([7; 32])},
            {"kty": "RSA", "kid": "x", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kty": "future"},
        ]});
        Self { rsa, ec, ed, set: set.to_string().into_bytes() }
    }

    fn keys(&self) -> KeySet {
        KeySet::of_jwks(&self.set).unwrap()
    }

    fn sign_rsa(
        &self,
        padding: &'static dyn aws_lc_rs::signature::RsaEncoding,
        message: &[u8],
    ) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    fn sign_ec(&self, message: &[u8]) -> Vec<u8> {
        self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }
}

/// Where it stands in a public key of 2048 bits (RFC 8017 §A.1.1): behind the headers of the sequence
/// and of its first number, and a zero.
fn modulus(key: &RsaKeyPair) -> Vec<u8> {
    key.public_key().as_ref()[9..265].to_vec()
}

fn mac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

#[test]
fn a_token_of_each_kind_of_key_is_good_and_of_no_other() {
    let (issuer, stranger, claims) = (Issuer::new(), Issuer::new(), claims());
    let keys = issuer.keys();
    let tokens = |by: &Issuer| {
        [
            token(json!({"alg": "RS256", "kid": "r"}), &claims, |m| {
                by.sign_rsa(&RSA_PKCS1_SHA256, m)
            }),
            token(json!({"alg": "PS256"}), &claims, |m| by.sign_rsa(&RSA_PSS_SHA256, m)),
            token(json!({"alg": "ES256", "kid": "e"}), &claims, |m| by.sign_ec(m)),
            token(json!({"alg": "EdDSA", "kid": "d"}), &claims, |m| {
                by.ed.sign(m).as_ref().to_vec()
            }),
        ]
    };
    for token in tokens(&issuer) {
        assert_eq!(judge(&keys, &token).unwrap().subject.as_deref(), Some("ann"));
    }
    for token in tokens(&stranger) {
        assert_eq!(judge(&keys, &token), Err(TokenFault::Signature));
    }
    let unknown = token(json!({"alg": "ES256", "kid": "r"}), &claims, |m| issuer.sign_ec(m));
    assert_eq!(judge(&keys, &unknown), Err(TokenFault::UnknownKey));
}

#[test]
fn a_public_key_is_no_secret_and_a_set_has_none() {
    let (issuer, claims) = (Issuer::new(), claims());
    let set = String::from_utf8(issuer.set.clone()).unwrap();
    let modulus = modulus(&issuer.rsa);
    let public: [&[u8]; 5] =
        [&issuer.set, set.as_bytes(), &modulus, issuer.ec.public_key().as_ref(), &[7; 32]];
    for secret in public {
        for kid in ["r", "e", "d", "s", "x"] {
            let header = json!({"alg": "HS256", "kid": kid});
            let forged = token(header, &claims, |message| mac(secret, message));
            assert_eq!(judge(&issuer.keys(), &forged), Err(TokenFault::UnknownKey));
        }
    }
}

#[test]
fn a_secret_is_a_secret_and_long_enough() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let keys = KeySet::of_secret(secret).unwrap();
    let good = token(json!({"alg": "HS256", "kid": "any"}), &claims(), |m| mac(secret, m));
    assert!(judge(&keys, &good).is_ok());
    let wrong = token(json!({"alg": "HS256"}), &claims(), |m| mac(b"another", m));
    assert_eq!(judge(&keys, &wrong), Err(TokenFault::Signature));
    assert_eq!(KeySet::of_secret(&secret[1..]).unwrap_err(), KeyFault::SecretShort);
    let mut narrowed = keys.clone();
    narrowed.restrict(&[Algorithm::RS256]);
    assert!(narrowed.is_empty());
}

#[test]
fn keys_are_read_from_pem_and_certificates() {
    let certified = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
    for text in [certified.cert.pem(), certified.signing_key.public_key_pem()] {
        let keys = KeySet::of_file(text.as_bytes()).unwrap();
        assert_eq!(keys.keys[0].algorithms, [Algorithm::ES256]);
    }
    let private = certified.signing_key.serialize_pem();
    assert_eq!(KeySet::of_file(private.as_bytes()).unwrap_err(), KeyFault::Unreadable);
    assert_eq!(KeySet::of_file(br#"{"keys":[]}"#).unwrap_err(), KeyFault::Empty);
    assert_eq!(KeySet::of_file(b"secret").unwrap_err(), KeyFault::Unreadable);
}

/// A hundred thousand forgeries: whatever anybody without the keys can make from a good token.
#[test]
fn no_forgery_is_let_in() {
    let (issuer, claims) = (Issuer::new(), claims());
    let keys = issuer.keys().join(KeySet::of_secret(b"the secret of another application").unwrap());
    let good = token(json!({"alg": "ES256", "kid": "e"}), &claims, |m| issuer.sign_ec(m));
    assert!(judge(&keys, &good).is_ok());
    let [header, payload, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let seed = std::env::var("LONGHAUL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let algorithms = [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "RS256", "PS256", "ES256", "ES384",
        "ES512", "EdDSA", "Ed25519", "ES256K", "A128KW", "dir",
    ];
    let kids = [
        "e",
        "r",
        "d",
        "s",
        "",
        "../../dev/null",
        "' OR 1=1 --",
        "http://evil.example/jwks",
        "\u{0}",
    ];
    let mut let_in = 0;
    for round in 0..100_000 {
        let evil = json!({"sub": "admin", "exp": u32::MAX, "n": round});
        let mut said = json!({
            "alg": random.choice(algorithms).unwrap(),
            "kid": random.choice(kids).unwrap(),
        });
        if random.bool() {
            said["jwk"] = json!({"kty": "oct", "k": encode([1; 32])});
            said["jku"] = json!("https://evil.example/jwks");
        }
        let said = encode(said.to_string());
        let evil_payload = encode(evil.to_string());
        let short = random.usize(..100);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(short).collect();
        let forged = match random.u8(..10) {
            0 => format!("{said}.{evil_payload}."),
            1 => format!("{said}.{evil_payload}.{signature}"),
            2 => format!("{header}.{evil_payload}.{signature}"),
            3 => format!("{said}.{evil_payload}.{}", encode(&noise)),
            // A signature of zeros held for one library (CVE-2022-21449).
            4 => format!("{header}.{evil_payload}.{}", encode([0; 64])),
            5 => format!("{said}.{evil_payload}.{}", encode(mac(&issuer.set, said.as_bytes()))),
            6 => format!("{header}.{payload}.{}", encode(&noise)),
            // One character of a good one is another, or is not there.
            7 | 8 => {
                let (at, is_gone) = (random.usize(..good.len()), random.bool());
                let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
                format!("{}{}{}", &good[..at], if is_gone { "" } else { other }, &good[at + 1..])
            }
            _ => format!("{said}.{payload}.{signature}.{}", encode(&noise)),
        };
        let_in += usize::from(judge(&keys, &forged).is_ok());
    }
    assert_eq!(let_in, 0, "LONGHAUL_SEED={seed} replays this run");
}
