//! How the rest of the gateway reaches a relay: one word and a waker, no channel and no lock.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use serde::{Deserialize, Serialize};

use crate::telemetry::Card;

/// What a relay may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The gateway goes away.
    Drain,
    /// The replica was found dead.
    ReplicaLost,
    /// The replica drains, and is to be left when the moment is good.
    ReplicaLeaves,
    /// The replica has left, and so is to be left now by who can.
    ReplicaLeft,
    /// The time for leaving it is over: who cannot go elsewhere ends.
    ReplicaDrained,
    /// The client's right has ended.
    Expired,
    /// The client's right was taken back.
    Revoked,
    /// An operator wants it gone.
    Close,
}

/// Whether a connection may go on by itself, or is on its way to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It goes on.
    Free,
    /// It is to give a copy of itself and goes on: most of what makes it up stays as it is.
    Ahead,
    /// It is to stand still, and to give itself up to be copied.
    Wanted(Since),
    /// It was copied and stands still until it is told more.
    Still,
    /// Another process goes on with it: this one lets go of its sockets without a word.
    Gone,
}

/// What has become of a connection since it gave a copy ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// It has given none.
    Never,
    /// Nothing: its task was not polled.
    Untouched,
    /// Perhaps something.
    Touched,
}

/// These stand beside an order in one word, so that a relay looks once.
const TOUCHED: u16 = 0x400;
const AHEAD: u16 = 0x200;
const AHEAD_WANTED: u16 = 0x100;
const WANTED: u16 = 0x80;
const STILL: u16 = 0x40;
const GONE: u16 = 0x20;
/// It is known whom to wake.
const ATTENDED: u16 = 0x10;
const HOLDS: u16 = TOUCHED | AHEAD | AHEAD_WANTED | WANTED | STILL | GONE;
const ORDERS: u16 = 0x0f;

const NONE: u16 = 0;
const DRAIN: u16 = 1;
const REPLICA_LOST: u16 = 2;
const REPLICA_LEAVES: u16 = 3;
const REPLICA_LEFT: u16 = 4;
const REPLICA_DRAINED: u16 = 5;
const CLOSE: u16 = 6;
const EXPIRED: u16 = 7;
const REVOKED: u16 = 8;

/// The outside's end of one relay.
#[derive(Debug)]
pub(crate) struct Control {
    order: AtomicU16,
    /// The relay's task, from its first look on. It is the same until it moves to another thread.
    task: Mutex<Option<Waker>>,
    /// The replica its backend leg goes to, which may become another.
    replica: Mutex<SocketAddr>,
    /// Who it is, and what it has moved.
    pub(crate) card: Card,
}

impl Control {
    pub(crate) fn new(replica: SocketAddr, card: Card) -> Self {
        let replica = Mutex::new(replica);
        Self { order: AtomicU16::new(NONE), task: Mutex::default(), replica, card }
    }

    /// Where the backend leg goes.
    pub(crate) fn replica(&self) -> SocketAddr {
        *self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend leg goes to another replica now.
    pub(crate) fn set_replica(&self, replica: SocketAddr) {
        *self.replica.lock().unwrap_or_else(PoisonError::into_inner) = replica;
    }

    /// Gives an order; a later one replaces one that was not yet taken.
    pub(crate) fn order(&self, order: Order) {
        let word = match order {
            Order::Drain => DRAIN,
            Order::ReplicaLost => REPLICA_LOST,
            Order::ReplicaLeaves => REPLICA_LEAVES,
            Order::ReplicaLeft => REPLICA_LEFT,
            Order::ReplicaDrained => REPLICA_DRAINED,
            Order::Expired => EXPIRED,
            Order::Revoked => REVOKED,
            Order::Close => CLOSE,
        };
        self.change(|before| before & !ORDERS | word);
    }

    /// Has the connection give a copy of itself, and go on.
    pub(crate) fn ask_ahead(&self) {
        self.change_hold(|before| before & !HOLDS | AHEAD_WANTED);
    }

    /// It has given one: from here on it shows whether anything happens to it. By its task.
    pub(crate) fn note_ahead(&self) {
        // Who is to stand still by now is not counted upon any more.
        let note = |before| (before & WANTED == 0).then_some(before | AHEAD);
        let _ = self.order.fetch_update(Ordering::AcqRel, Ordering::Acquire, note);
    }

    /// Whether it gave a copy ahead, and so its descriptors exist twice.
    pub(crate) fn is_ahead(&self) -> bool {
        self.order.load(Ordering::Acquire) & AHEAD != 0
    }

    /// Has the connection stand still and give itself up to be copied, but for what went ahead.
    pub(crate) fn hold(&self) {
        self.change(|before| before | WANTED);
    }

    /// The same where nothing went ahead, or came too late.
    pub(crate) fn hold_whole(&self) {
        self.change_hold(|before| before & !HOLDS | WANTED);
    }

    /// Has it go on as if nothing had happened.
    pub(crate) fn release(&self) {
        self.change_hold(|before| before & !HOLDS);
    }

    /// Whether it was copied and stands still.
    pub(crate) fn is_still(&self) -> bool {
        self.order.load(Ordering::Acquire) & STILL != 0
    }

    /// Has it let go of its sockets: another process has them now.
    pub(crate) fn let_go(&self) {
        self.change(|before| before | GONE);
    }

    /// Whether another process has it, and this one has only to let go.
    pub(crate) fn is_gone(&self) -> bool {
        self.order.load(Ordering::Acquire) & GONE != 0
    }

    /// Who is gone stays gone, whatever is wanted of it before it has heard of that: it would be served
    /// by two.
    fn change_hold(&self, change: impl Fn(u16) -> u16) {
        self.change(|before| if before & GONE == 0 { change(before) } else { before });
    }

    fn change(&self, change: impl Fn(u16) -> u16) {
        let change = |before| Some(change(before));
        let _ = self.order.fetch_update(Ordering::Release, Ordering::Relaxed, change);
        // Beside the fence in `attend`: either this sees the task, or the task sees the order.
        fence(Ordering::SeqCst);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }

    /// Has the task woken from now on.
    fn attend(&self, cx: &Context<'_>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.order.fetch_or(ATTENDED, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The task has seen the last of it: another one looks next, and is woken from then on.
    pub(crate) fn change_hands(&self) {
        self.order.fetch_and(!ATTENDED, Ordering::Relaxed);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(task);
    }

    /// Whether the connection may go on. Of a wish to stand still, the first look is told. By the same
    /// task as [`Self::take_order`], before it.
    pub(crate) fn look(&self, cx: &Context<'_>) -> Hold {
        let mut word = self.order.load(Ordering::Acquire);
        if word & HOLDS == NONE {
            return Hold::Free;
        }
        if word & ATTENDED == NONE {
            self.attend(cx);
            word = self.order.load(Ordering::Acquire);
        }
        if word & GONE != 0 {
            return Hold::Gone;
        }
        // A wish may be taken back at any moment.
        match self.order.fetch_update(Ordering::AcqRel, Ordering::Acquire, answer) {
            Ok(before) if before & WANTED != 0 => Hold::Wanted(match before & (AHEAD | TOUCHED) {
                AHEAD => Since::Untouched,
                touched if touched & AHEAD != 0 => Since::Touched,
                _ => Since::Never,
            }),
            Ok(before) if before & AHEAD_WANTED != 0 => Hold::Ahead,
            Err(before) if before & STILL != 0 => Hold::Still,
            Ok(_) | Err(_) => Hold::Free,
        }
    }

    /// Takes the order, if there is one; the task is woken at the next. Always to be called by the
    /// same task (see [`Self::change_hands`]), whose look costs one load: nothing is written unless
    /// there is something to take.
    pub(crate) fn take_order(&self, cx: &Context<'_>) -> Option<Order> {
        let mut word = self.order.load(Ordering::Acquire);
        if word & ATTENDED == NONE {
            self.attend(cx);
            word = self.order.load(Ordering::Acquire);
        }
        if word & ORDERS == NONE {
            return None;
        }
        match self.order.fetch_and(!ORDERS, Ordering::AcqRel) & ORDERS {
            DRAIN => Some(Order::Drain),
            REPLICA_LOST => Some(Order::ReplicaLost),
            REPLICA_LEAVES => Some(Order::ReplicaLeaves),
            REPLICA_LEFT => Some(Order::ReplicaLeft),
            REPLICA_DRAINED => Some(Order::ReplicaDrained),
            EXPIRED => Some(Order::Expired),
            REVOKED => Some(Order::Revoked),
            CLOSE => Some(Order::Close),
            _ => None,
        }
    }
}

/// What the word becomes by a look at it, if anything.
fn answer(before: u16) -> Option<u16> {
    if before & WANTED != 0 {
        Some(before & !(WANTED | AHEAD_WANTED) | STILL)
    } else if before & STILL != 0 {
        None
    } else if before & AHEAD_WANTED != 0 {
        Some(before & !AHEAD_WANTED)
    } else {
        (before & (AHEAD | TOUCHED) == AHEAD).then_some(before | TOUCHED)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;
    use crate::telemetry::Telemetry;

    fn control() -> Control {
        let card = Card::new(&Telemetry::new(1), "chat".into(), [127, 0, 0, 1].into());
        Control::new(([127, 0, 0, 1], 1).into(), card)
    }

    #[test]
    fn who_gave_a_copy_ahead_knows_whether_it_was_touched_since() {
        let (control, cx) = (control(), Context::from_waker(Waker::noop()));
        control.ask_ahead();
        assert_eq!(control.look(&cx), Hold::Ahead);
        control.note_ahead();
        control.hold();
        assert_eq!(control.look(&cx), Hold::Wanted(Since::Untouched));
        control.release();
        control.hold();
        assert_eq!(control.look(&cx), Hold::Wanted(Since::Never), "all is forgotten");
        control.release();
        control.ask_ahead();
        assert_eq!(control.look(&cx), Hold::Ahead);
        control.note_ahead();
        // Something happens to it; it goes on.
        assert_eq!((control.look(&cx), control.look(&cx)), (Hold::Free, Hold::Free));
        control.hold();
        assert_eq!(control.look(&cx), Hold::Wanted(Since::Touched));
        control.release();
        assert_eq!(control.look(&cx), Hold::Free);
    }

    #[test]
    fn a_wish_to_stand_still_is_told_once_and_orders_wait_for_its_end() {
        let card = Card::new(&Telemetry::new(1), "chat".into(), [127, 0, 0, 1].into());
        let control = Control::new(([127, 0, 0, 1], 1).into(), card);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(control.look(&cx), Hold::Free);
        control.hold();
        control.order(Order::Close);
        assert_eq!((control.look(&cx), control.is_still()), (Hold::Wanted(Since::Never), true));
        assert_eq!(control.look(&cx), Hold::Still);
        control.release();
        assert_eq!((control.look(&cx), control.is_still()), (Hold::Free, false));
        assert_eq!(control.take_order(&cx), Some(Order::Close));
        assert_eq!(control.take_order(&cx), None);
        // Taken back before anybody heard of it.
        control.hold();
        control.release();
        assert_eq!(control.look(&cx), Hold::Free);
        control.hold();
        assert_eq!(control.look(&cx), Hold::Wanted(Since::Never));
        control.let_go();
        assert_eq!(control.look(&cx), Hold::Gone);
        // The next round may begin before it has let go.
        for ask in [Control::hold, Control::hold_whole, Control::ask_ahead, Control::release] {
            ask(&control);
            assert!(control.is_gone());
            assert_eq!(control.look(&cx), Hold::Gone);
        }
    }

    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_is_told_between_two_hands_is_heard_by_the_second() {
        let rung = |bell: &Arc<Bell>| bell.0.load(Ordering::SeqCst);
        let card = Card::new(&Telemetry::new(1), "chat".into(), [127, 0, 0, 1].into());
        let control = Control::new(([127, 0, 0, 1], 1).into(), card);
        let [first, second] = [(); 2].map(|()| Arc::new(Bell(AtomicUsize::new(0))));
        let wakers = [Waker::from(first.clone()), Waker::from(second.clone())];
        assert_eq!(control.take_order(&Context::from_waker(&wakers[0])), None);
        control.change_hands();
        control.order(Order::Drain);
        assert_eq!((rung(&first), rung(&second)), (0, 0));
        let cx = Context::from_waker(&wakers[1]);
        assert_eq!(control.take_order(&cx), Some(Order::Drain));
        control.hold();
        assert_eq!((rung(&first), rung(&second)), (0, 1));
        assert_eq!(control.look(&cx), Hold::Wanted(Since::Never));
        control.release();
        assert_eq!(rung(&second), 2);
    }
}
