//! Lets a request body be sent again when the replica says that it never looked at the request
//! (RFC 9113 §8.7: a refused stream, or one beyond its GOAWAY).
//!
//! The library takes a body and drops it; what it had read is gone by then. So a body that goes by
//! HTTP/2 keeps the little it gave away until the answer begins, and comes home when it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::upload::Upload;

/// Bytes of one body that are kept: as much as a replica takes by default before it makes room, and
/// one that makes room has looked at the request.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// A body is dropped at the moment its stream ends, by another task of the same thread.
const HOMECOMING: Duration = Duration::from_secs(1);

/// What of one body was given away. Shared by the body and whoever may send it again.
#[derive(Debug, Default)]
pub(super) struct Recall {
    kept: Mutex<Kept>,
    came_home: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The next piece to be given once more.
    next: usize,
    /// Too much was given away, or the answer has begun: nothing is kept any more.
    is_over: bool,
    home: Option<Upload>,
}

impl Recall {
    /// The next piece that was given away before.
    pub(super) fn again(&self) -> Option<Bytes> {
        let mut kept = self.kept();
        let piece = kept.pieces.get(kept.next).cloned()?;
        kept.next += 1;
        Some(piece)
    }

    /// Whether there is such a piece.
    pub(super) fn has_more(&self) -> bool {
        let kept = self.kept();
        kept.next < kept.pieces.len()
    }

    /// Keeps a piece that is given away for the first time.
    pub(super) fn keep(&self, piece: &Bytes) {
        let mut kept = self.kept();
        kept.bytes += piece.len();
        if kept.is_over || kept.bytes > KEPT_BYTES_MAX {
            kept.is_over = true;
            kept.pieces = Vec::new();
            return;
        }
        kept.pieces.push(piece.clone());
        kept.next += 1;
    }

    /// From here on the body cannot be sent again.
    pub(super) fn forgo(&self) {
        let mut kept = self.kept();
        kept.is_over = true;
        // An answer may begin while kept pieces are still on their way.
        if kept.next == kept.pieces.len() {
            kept.pieces = Vec::new();
            kept.next = 0;
        }
    }

    /// Takes the body back from the library.
    pub(super) fn come_home(&self, body: Upload) {
        let mut kept = self.kept();
        if !kept.is_over {
            kept.home = Some(body);
            self.came_home.notify_one();
        }
    }

    /// The whole body once more, if it can be sent again.
    pub(super) async fn body(self: &Arc<Self>) -> Option<Upload> {
        if self.kept().is_over || timeout(HOMECOMING, self.came_home.notified()).await.is_err() {
            return None;
        }
        let mut kept = self.kept();
        kept.next = 0;
        let body = kept.home.take()?;
        Some(body.recalled_by(self.clone()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // It is whole after each of the calls above, whoever panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn recalled(pieces: &[&'static str]) -> Arc<Recall> {
        let recall = Arc::new(Recall::default());
        pieces.iter().for_each(|piece| recall.keep(&Bytes::from_static(piece.as_bytes())));
        recall
    }

    async fn whole(body: Option<Upload>) -> Option<Bytes> {
        let collected = body?.collect().await;
        Some(collected.map_err(|error| error.to_string()).unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_body_that_comes_home_is_given_again_as_often_as_it_is_refused() {
        let recall = recalled(&["first, ", "second"]);
        drop(Upload::empty().recalled_by(recall.clone()));
        for _ in 0..3 {
            assert_eq!(whole(recall.body().await).await.unwrap(), "first, second");
        }
    }

    #[tokio::test]
    async fn a_body_that_was_too_long_or_is_answered_is_not_given_again() {
        let long = recalled(&["x"; 2]);
        long.keep(&Bytes::from(vec![0; KEPT_BYTES_MAX]));
        drop(Upload::empty().recalled_by(long.clone()));
        assert!(long.body().await.is_none());

        let answered = recalled(&["x"]);
        answered.forgo();
        drop(Upload::empty().recalled_by(answered.clone()));
        assert!(answered.body().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_home_is_not_waited_for_for_long() {
        assert!(recalled(&["x"]).body().await.is_none());
    }

    #[tokio::test]
    async fn an_answer_amid_kept_pieces_lets_them_pass() {
        let recall = recalled(&["first, ", "second"]);
        drop(Upload::empty().recalled_by(recall.clone()));
        let body = recall.body().await;
        assert_eq!(recall.again().unwrap(), "first, ");
        recall.forgo();
        assert_eq!(whole(body).await.unwrap(), "second");
    }
}
