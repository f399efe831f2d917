//! How state is written that travels between two processes of the program: moments as ages, since each
//! process has a clock of its own, and bytes as base64.

use std::time::{Duration, Instant};

/// How long ago this was, in microseconds.
pub(crate) fn age(at: Instant, now: Instant) -> u64 {
    micros(now.saturating_duration_since(at))
}

/// The moment so many microseconds ago; at the start of the clock, that.
pub(crate) fn ago(us: u64, now: Instant) -> Instant {
    now.checked_sub(Duration::from_micros(us)).unwrap_or(now)
}

/// A time in microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// For pieces of one whole, which arrive as one piece.
pub(crate) mod joined {
    use serde::{Deserializer, Serializer};

    use crate::durable::Payload;

    pub(crate) fn serialize<S: Serializer>(
        pieces: &[Payload],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut whole = Vec::new();
        pieces.iter().for_each(|piece| whole.extend_from_slice(&piece.to_bytes()));
        super::bytes::serialize(whole, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Payload>, D::Error> {
        let whole: bytes::Bytes = super::bytes::deserialize(deserializer)?;
        Ok(Some(whole).filter(|whole| !whole.is_empty()).map(Payload::from).into_iter().collect())
    }
}

/// For `#[serde(with = "longhaul_proto::frozen::bytes")]`: about a third of what a list of numbers
/// takes.
pub mod bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes bytes.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        bytes: impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads them.
    ///
    /// # Errors
    /// The deserializer's, and for whatever is not base64.
    pub fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>>>(
        deserializer: D,
    ) -> Result<B, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(B::from).map_err(de::Error::custom)
    }
}
