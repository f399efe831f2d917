//! The task of a session, from its first link to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use longhaul_proto::durable::owner::{Ended, Opening, Owner};
use longhaul_proto::durable::{LinkKey, Window};
use tokio::time::sleep_until;
use tracing::{debug, info};

use super::next_leg::NextLeg;
use super::{Bones, Session};
use crate::durable::leg::First;
use crate::durable::lobby::{self, Caller};
use crate::durable::sessions::{Link, Sessions};
use crate::relay::control::{Control, Hold, Order};
use crate::shared::Shared;
use crate::telemetry::Card;

/// Opens a session on this leg for a client that asked for one, in a task of its own.
pub(in crate::durable) fn open(link: Link, first: First, caller: Box<Caller>, window: Window) {
    let shared = &caller.connection.shared;
    let Some((entry, mail)) = shared.sessions.add(&first.sid, caller.subject) else {
        // Ends by its deadlines.
        tokio::spawn(lobby::later(link, Duration::from_secs(5)));
        return;
    };
    let (now, key) = (Instant::now(), LinkKey(1));
    let replica = first.leg.replica().address();
    let sid = first.sid.clone();
    let (route, client) = (shared.relay_policy(caller.route).route.clone(), caller.client.address);
    info!(sid, route = &*route, %replica, %client, "session opened");
    let card = Card::new(&shared.telemetry, route, client);
    let next_leg = NextLeg::of(&caller, &first, card.id);
    let opening = Opening {
        sid: sid.clone(),
        link: key,
        window,
        protocol: first.protocol(),
        replacement: next_leg.as_ref().map(NextLeg::replacement),
        is_aware: first.is_aware,
    };
    let owner =
        Owner::open(shared.sessions.policy.clone(), shared.sessions.sealer.clone(), opening, now);
    let bones = Bones {
        worker: caller.connection.worker.clone(),
        control: Arc::new(Control::new(replica, card)),
        timer: Box::pin(sleep_until(now.into())),
    };
    let policy = &shared.relay_policy(caller.route).session;
    let mut session = Session {
        leg: Some(first.leg),
        next_leg: next_leg.map(Box::new),
        keys: key.0,
        ..Session::new(shared, policy, sid, owner, (entry, mail), bones)
    };
    session.add_lane(key, link);
    start(session, shared);
}

/// Has a session run, in a task of its own.
pub(super) fn start(mut session: Session, shared: &Shared) {
    let slot = session.registry.add(session.control.clone());
    let is_bound = !session.owner.is_aware()
        && session.leg.as_ref().is_some_and(|leg| leg.wire.bound().is_some());
    if shared.readiness.is_draining() || is_bound && shared.readiness.is_leaving() {
        // It came between the last look at readiness and the list of those to be told.
        session.control.order(Order::Drain);
    }
    // Ends with the session, whose deadlines bound it; a panic drops its links and its leg.
    tokio::spawn(async move {
        let (sessions, sid) = (session.sessions.clone(), session.sid.clone());
        let _guard = Guard { sessions, sid };
        let ended = poll_fn(|cx| session.poll_if_here(cx)).await;
        session.registry.remove(slot);
        session.links.iter().for_each(|lane| session.hang_up_if_copied(&lane.link.wire));
        let Some(ended) = ended else {
            debug!(sid = session.sid, "session moved");
            return;
        };
        let duration_s = session.control.card.opened_at.elapsed().as_secs_f64();
        let (sid, code, links) = (&session.sid, ended.code, session.keys);
        info!(sid, %code, links, delivered = ended.recv, duration_s, "session closed");
    });
}

/// Takes the session off the books even if its task panics.
struct Guard {
    sessions: Arc<Sessions>,
    sid: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sessions.remove(&self.sid, None, Instant::now());
    }
}

impl Session {
    /// Nothing at the end of a session that another process has.
    fn poll_if_here(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ended>> {
        match self.control.look(cx) {
            Hold::Free => self.poll(cx).map(Some),
            Hold::Ahead => {
                let turn = self.poll(cx);
                // Behind this turn: what happens from here on has it polled, and that is seen.
                if turn.is_pending() {
                    self.copy_ahead();
                }
                turn.map(Some)
            }
            Hold::Wanted(since) => {
                self.put_down(since);
                Poll::Pending
            }
            Hold::Still => Poll::Pending,
            Hold::Gone => {
                self.leave();
                self.movers.forward(&self.control, cx);
                Poll::Ready(None)
            }
        }
    }
}
