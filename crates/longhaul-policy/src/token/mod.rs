//! Decides what a JSON Web Token is worth (RFC 7519, RFC 8725), but for its signature.
//!
//! Checking a signature is the gateway's work: it has the keys. It reads the token with
//! [`Unverified::read`], finds a key that fits, and asks [`TokenRules::judge`] only with claims whose
//! signature held. The algorithm is the key's; what the token says must be the same.

pub mod bypass;
pub mod json;
pub mod source;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// The longest token that is looked at: it has to fit into a request head beside everything else.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The claims of a token, by name.
pub type Claims = Map<String, Value>;

/// What somebody who was let in may do, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who it is.
    pub subject: Option<Arc<str>>,
    /// Names the token that was shown, so that it can be revoked alone.
    pub token_id: Option<Arc<str>>,
    /// When it was given, if the token says so.
    pub issued: Option<SystemTime>,
    /// When the right ends.
    pub expires: Option<SystemTime>,
    /// What replicas are told about it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How tokens are signed. There is no `none` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Its name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    /// Names have a case: `none`, `None` and `nOnE` are equally unknown.
    fn from_str(name: &str) -> Result<Self, ()> {
        // The newer name of the only EdDSA that is spoken here (RFC 9864).
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(())
    }
}

/// Why a token is worth nothing. Said in the log and, in short, to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// It is no token, or one that readers could take for two different things.
    Malformed,
    /// Signed by an algorithm that is not known here, or by none.
    Algorithm,
    /// It has parts that its reader must understand (RFC 7515 §4.1.11).
    Critical,
    /// Nobody here has the key.
    UnknownKey,
    /// The signature does not hold.
    Signature,
    /// `exp` is missing; tokens that never end are not taken.
    NoExpiry,
    /// A time in it is no number.
    Times,
    /// It has ended.
    Expired,
    /// It has not begun.
    TooEarly,
    /// Another issuer than those configured.
    Issuer,
    /// Meant for somebody else, or for anybody.
    Audience,
    /// A claim that is required is missing or another.
    Claim,
    /// It was revoked.
    Revoked,
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it is malformed",
            Self::Algorithm => "its algorithm is not accepted",
            Self::Critical => "it has critical parts that are not understood",
            Self::UnknownKey => "no key fits it",
            Self::Signature => "its signature does not hold",
            Self::NoExpiry => "it has no exp",
            Self::Times => "a time in it is no number",
            Self::Expired => "it has expired",
            Self::TooEarly => "it is not valid yet",
            Self::Issuer => "its iss is not among `issuer`",
            Self::Audience => "its aud is not among `audience`",
            Self::Claim => "a required claim is missing or another",
            Self::Revoked => "it was revoked",
        })
    }
}

/// A token as it came: nothing in it may be believed.
#[derive(Debug)]
pub struct Unverified<'t> {
    /// What it says it was signed by.
    pub algorithm: Algorithm,
    /// Which key it says it was signed with. Only ever compared with names of keys.
    pub key_id: Option<String>,
    /// What was signed.
    pub message: &'t [u8],
    /// The signature.
    pub signature: Vec<u8>,
    payload: &'t str,
}

impl<'t> Unverified<'t> {
    /// Reads the header of a token (compact form, RFC 7515 §7.1). Addresses of keys in it (`jku`,
    /// `x5u`) and keys (`jwk`, `x5c`) are not looked at.
    ///
    /// # Errors
    /// Why it cannot be a token that is taken here.
    pub fn read(token: &'t str) -> Result<Self, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::Malformed);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed);
        let header = json::object(&decode(header)?).ok_or(TokenFault::Malformed)?;
        if header.contains_key("crit") {
            return Err(TokenFault::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm =
            algorithm.and_then(|name| name.parse().ok()).ok_or(TokenFault::Algorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(key_id)) => Some(key_id.clone()),
            Some(_) => return Err(TokenFault::Malformed),
        };
        let signature = decode(signature)?;
        if signature.is_empty() || payload.is_empty() || payload.contains('.') {
            return Err(TokenFault::Malformed);
        }
        Ok(Self { algorithm, key_id, message: message.as_bytes(), signature, payload })
    }

    /// What the token claims. To be called only when the signature held.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] when it claims nothing that could be read.
    pub fn claims(&self) -> Result<Claims, TokenFault> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| TokenFault::Malformed)?;
        json::object(&payload).ok_or(TokenFault::Malformed)
    }
}

/// Which tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// Issuers, to the letter; empty takes any, since the key says who it was.
    pub issuers: Vec<String>,
    /// For whom the token has to be meant. Empty takes only tokens that name nobody.
    pub audiences: Vec<String>,
    /// Takes tokens that are meant for anybody.
    pub is_any_audience: bool,
    /// Claims that must be there, with one of these values, or with any when there are none.
    pub required: Vec<(String, Vec<String>)>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// The claim that names the subject.
    pub subject: String,
    /// Headers that replicas get, and the claims that they hold.
    pub headers: Vec<(HeaderName, String)>,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            audiences: Vec::new(),
            is_any_audience: false,
            required: Vec::new(),
            leeway: Duration::from_secs(30),
            subject: "sub".into(),
            headers: Vec::new(),
        }
    }
}

impl TokenRules {
    /// Says what claims are worth whose signature held.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn judge(&self, claims: &Claims, now: SystemTime) -> Result<Grant, TokenFault> {
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(value) => moment(value).map(Some).ok_or(TokenFault::Times),
        };
        let expires = time("exp")?.ok_or(TokenFault::NoExpiry)?;
        if expires + self.leeway <= now {
            return Err(TokenFault::Expired);
        }
        if time("nbf")?.is_some_and(|begins| begins > now + self.leeway) {
            return Err(TokenFault::TooEarly);
        }
        let issuer = claims.get("iss").and_then(Value::as_str);
        if !self.issuers.is_empty()
            && !issuer.is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer))
        {
            return Err(TokenFault::Issuer);
        }
        if !self.is_for_us(claims.get("aud")) {
            return Err(TokenFault::Audience);
        }
        for (name, values) in &self.required {
            if !claim(claims, name).is_some_and(|value| is_one_of(value, values)) {
                return Err(TokenFault::Claim);
            }
        }
        Ok(self.grant(claims, expires))
    }

    /// What claims give, without a question whether they may.
    fn grant(&self, claims: &Claims, expires: SystemTime) -> Grant {
        let text = |name: &str| claim(claims, name).and_then(text_of).map(Arc::from);
        let header = |(name, from): &(HeaderName, String)| {
            let text = claim(claims, from).and_then(text_of)?;
            Some((name.clone(), HeaderValue::from_bytes(text.as_bytes()).ok()?))
        };
        Grant {
            subject: text(&self.subject),
            token_id: text("jti"),
            issued: claims.get("iat").and_then(moment),
            // Later than it says, by as much as it may be taken later.
            expires: Some(expires + self.leeway),
            headers: self.headers.iter().filter_map(header).collect(),
        }
    }

    fn is_for_us(&self, audience: Option<&Value>) -> bool {
        let is_ours = |value: &Value| {
            value.as_str().is_some_and(|name| self.audiences.iter().any(|ours| ours == name))
        };
        match audience {
            _ if self.is_any_audience => true,
            None => self.audiences.is_empty(),
            Some(Value::Array(names)) => names.iter().any(is_ours),
            Some(name) => is_ours(name),
        }
    }
}

/// A claim by its name or, where there is none of that name, by a path with dots.
pub fn claim<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// A claim as a header can hold it; lists with commas.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Array(values) => {
            // A comma inside of a part would make two of it.
            let one = |value| text_of(value).filter(|text| !text.contains(','));
            let parts: Option<Vec<String>> = values.iter().map(one).collect();
            Some(parts?.join(","))
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// A number of seconds since 1970, which may have a fraction (RFC 7519 §2). Text is none.
pub fn moment(value: &Value) -> Option<SystemTime> {
    /// Beyond the year 9999 nobody means a time.
    const SECONDS_MAX: f64 = 253_402_300_800.0;
    let seconds = value.as_f64().filter(|seconds| (0.0..SECONDS_MAX).contains(seconds))?;
    Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

fn is_one_of(value: &Value, wanted: &[String]) -> bool {
    let is_wanted = |value: &Value| text_of(value).is_some_and(|text| wanted.contains(&text));
    match value {
        Value::Null => false,
        _ if wanted.is_empty() => true,
        Value::Array(values) => values.iter().any(is_wanted),
        // Scopes stand in one text, with spaces (RFC 8693 §4.2).
        Value::String(text) => {
            is_wanted(value) || text.split(' ').any(|word| wanted.iter().any(|it| it == word))
        }
        _ => is_wanted(value),
    }
}

#[cfg(test)]
mod tests;
