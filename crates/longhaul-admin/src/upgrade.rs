//! Another binary in the place of this one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Peer;
use crate::api::problem;
use crate::desk::{Desk, UpgradeWish};

/// What shall take the place of this process.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wish {
    /// Path of the new program; without it, the file that this process was started from. Taken over
    /// the Unix socket alone: who has a token may change the gateway, and not what it runs.
    binary: Option<String>,
    /// Do everything but the last step, and say what would happen.
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Upgrade {
    /// The version of the new program.
    version: String,
    dry_run: bool,
    /// Connections that the new process has; in a dry run, could have.
    moved: usize,
    /// Connections that the old one finishes, by what ties them to it.
    stays: BTreeMap<String, usize>,
    /// The longest that one of them stood still.
    pause_s: f64,
}

/// Starts a new process and moves listeners and open connections to it. If it fails, this one goes on.
#[utoipa::path(post, path = "/api/v1/upgrade", request_body = Wish, responses((status = 200, body = Upgrade), (status = 403, description = "A program by its path, and not over the Unix socket"), (status = 409, description = "Failed; this process goes on")), security(("token" = [])))]
pub(crate) async fn upgrade(
    State(desk): State<Desk>,
    peer: Option<Extension<Peer>>,
    Json(wish): Json<Wish>,
) -> Response {
    let is_owner = peer.is_some_and(|Extension(peer)| peer == Peer::Owner);
    if wish.binary.is_some() && !is_owner {
        return problem(
            StatusCode::FORBIDDEN,
            "a program is taken by its path over the Unix socket alone (server.admin = \
             \"unix:PATH\"); or replace the file, and leave the path out",
        );
    }
    let is_rehearsal = wish.dry_run;
    let binary = wish.binary.map(PathBuf::from);
    match desk.house.upgrade(UpgradeWish { binary, is_rehearsal }).await {
        Ok(upgraded) => Json(Upgrade {
            version: upgraded.version,
            dry_run: is_rehearsal,
            moved: upgraded.moved,
            stays: upgraded.stays.into_iter().collect(),
            pause_s: upgraded.pause_s,
        })
        .into_response(),
        Err(reason) => problem(StatusCode::CONFLICT, &reason),
    }
}
