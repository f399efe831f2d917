//! Signals that are raised in one thread, so that those of other tests do not get them.

use nix::sys::signal::raise;

use super::*;

fn on_this_thread(story: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story());
}

#[test]
fn what_was_signalled_before_anybody_read_waits() {
    hold();
    for (number, _) in TAKEN {
        raise(number).unwrap();
    }
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        signals.hup_stops = false;
        let mut events = Vec::new();
        for _ in TAKEN {
            events.push(signals.next().await);
        }
        for signal in [Signal::TERM, Signal::INT] {
            assert!(events.contains(&Event::Stop(signal)), "{events:?}");
        }
        for signal in [Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH] {
            assert!(events.contains(&Event::Other(signal)), "{events:?}");
        }
    });
}

#[test]
fn each_signal_is_read_once_and_by_one_reader() {
    hold();
    on_this_thread(async || {
        let (mut first, mut second) = (Signals::install().unwrap(), Signals::install().unwrap());
        raise(Number::SIGUSR1).unwrap();
        raise(Number::SIGUSR1).unwrap();
        assert_eq!(first.next().await, Event::Other(Signal::USR1));
        raise(Number::SIGUSR2).unwrap();
        assert_eq!(second.next().await, Event::Other(Signal::USR2));
        raise(Number::SIGUSR1).unwrap();
        assert_eq!(first.next().await, Event::Other(Signal::USR1));
    });
}

#[test]
fn a_future_that_is_dropped_takes_nothing_along() {
    hold();
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        // Polled before, so that its readiness is known and its waker is there.
        tokio::select! {
            biased;
            event = signals.next() => panic!("{event:?} out of nothing"),
            () = std::future::ready(()) => raise(Number::SIGTERM).unwrap(),
        }
        assert_eq!(signals.next().await, Event::Stop(Signal::TERM));
    });
}

#[test]
fn a_wish_that_waits_already_is_found_behind_other_signals() {
    hold();
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        assert_eq!(signals.take_stop(), None);
        raise(Number::SIGUSR1).unwrap();
        raise(Number::SIGTERM).unwrap();
        assert_eq!(signals.take_stop(), Some(Signal::TERM));
        assert_eq!(signals.take_stop(), None);
    });
}

#[test]
fn on_a_terminal_hup_is_a_wish_to_end() {
    hold();
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        signals.hup_stops = true;
        raise(Number::SIGHUP).unwrap();
        assert_eq!(signals.next().await, Event::Stop(Signal::HUP));
    });
}

#[test]
fn an_echo_is_no_second_wish() {
    hold();
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        raise(Number::SIGTERM).unwrap();
        signals.next().await;
        // As if no time had passed, however slow this machine is.
        signals.asked_at = Some(Instant::now() + Duration::from_secs(600));
        raise(Number::SIGTERM).unwrap();
        drop(signals.waiting.readable().await.unwrap());
        tokio::select! {
            biased;
            again = signals.next_stop_again() => panic!("{again:?} came too soon"),
            () = std::future::ready(()) => {}
        }
        assert!(signals.waiting.get_ref().read_signal().unwrap().is_none(), "it was read");
        signals.asked_at = Instant::now().checked_sub(ECHO * 2);
        raise(Number::SIGINT).unwrap();
        assert_eq!(signals.next_stop_again().await, Signal::INT);
    });
}

#[test]
fn what_the_parent_passes_on_is_no_second_wish_but_what_it_repeats_is() {
    hold();
    on_this_thread(async || {
        let mut signals = Signals::install().unwrap();
        let long_ago = Instant::now().checked_sub(ECHO * 2);
        signals.asked_at = long_ago;
        signals.parent_asked_at = Some(Instant::now() + Duration::from_secs(600));
        assert!(!signals.is_again(Sender::Parent));
        assert!(signals.is_again(Sender::Other));
        signals.parent_asked_at = long_ago;
        assert!(signals.is_again(Sender::Parent));
        let ours = std::os::unix::process::parent_id();
        assert!(matches!(Sender::of(ours), Sender::Parent));
        assert!(matches!(Sender::of(std::process::id()), Sender::Other));
        // The kernel, as on Ctrl-C, and whoever is outside of our container.
        assert!(matches!(Sender::of(0), Sender::Other));
    });
}

#[test]
fn signals_that_are_not_held_are_not_read() {
    release();
    on_this_thread(async || {
        let error = Signals::install().unwrap_err();
        assert_eq!(error.to_string(), "they are not held back");
    });
}
