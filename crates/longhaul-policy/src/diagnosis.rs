//! Says in words which hop ends connections, and why, from how the last ones ended.
//!
//! It reads patterns that an operator would see in the log after a while: the same cause again and
//! again, the same age, the same replica. It says what is likely, and what to look at.
//!
//! Start at [`diagnose`].

mod words;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use self::words::words;

/// Where something goes wrong, from the client to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// The client itself.
    Client,
    /// Whatever lies between clients and this gateway: links, proxies, load balancers.
    Front,
    /// This gateway, by a rule it was given.
    Gateway,
    /// Whatever lies between this gateway and the replicas.
    Back,
    /// The application.
    Replica,
}

impl Hop {
    /// A name from a closed set.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Front => "client to gateway",
            Self::Gateway => "gateway",
            Self::Back => "gateway to replica",
            Self::Replica => "replica",
        }
    }
}

/// Something that went otherwise than a user wants.
#[derive(Debug, Clone, Copy)]
pub struct Trouble<'a> {
    /// The cause of an end, or the reason of a refusal, from their closed sets.
    pub cause: &'a str,
    /// The replica it was at, where there was one.
    pub replica: Option<SocketAddr>,
    /// How long the connection lived; `None` for what was refused.
    pub lived: Option<Duration>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub hop: Hop,
    /// How many connections it met.
    pub count: usize,
    /// What happens and what is likely behind it.
    pub what: String,
    /// What to look at, or to do.
    pub remedy: &'static str,
}

/// Ends of one cause below this number make no pattern in time.
const PATTERN_MIN: usize = 3;
/// How far ages may differ and still be the doing of one timer.
const TIMER_TOLERANCE: f64 = 0.05;

/// What is wrong, the most frequent first.
pub fn diagnose(troubles: &[Trouble<'_>]) -> Vec<Finding> {
    let mut by_cause: BTreeMap<&str, Vec<&Trouble<'_>>> = BTreeMap::new();
    for trouble in troubles {
        by_cause.entry(trouble.cause).or_default().push(trouble);
    }
    let mut findings: Vec<Finding> =
        by_cause.iter().filter_map(|(cause, group)| find(cause, group)).collect();
    findings.sort_by(|one, other| other.count.cmp(&one.count).then(one.hop.cmp(&other.hop)));
    findings
}

fn find(cause: &str, group: &[&Trouble<'_>]) -> Option<Finding> {
    let is_cut = matches!(cause, "client_gone" | "replica_gone");
    if is_cut && let Some((count, age)) = timer(group) {
        return Some(cut_by_timer(cause, group.len(), count, age));
    }
    let (hop, what, remedy) = words(cause)?;
    let at = match replicas(group).as_slice() {
        [one] if matches!(hop, Hop::Back | Hop::Replica) => format!(" (all at {one})"),
        _ => String::new(),
    };
    Some(Finding { hop, count: group.len(), what: format!("{what}{at}"), remedy })
}

/// The largest group of the same age, if it is most of them.
fn timer(group: &[&Trouble<'_>]) -> Option<(usize, Duration)> {
    let mut ages: Vec<f64> =
        group.iter().filter_map(|one| Some(one.lived?.as_secs_f64())).collect();
    ages.sort_by(f64::total_cmp);
    // Younger ones were hardly cut by a timer, and everything young is of about the same age.
    ages.retain(|age| *age >= 5.0);
    let same = |from: usize| {
        let bound = ages[from] * (1.0 + 2.0 * TIMER_TOLERANCE);
        ages[from..].partition_point(|age| *age <= bound)
    };
    let from = (0..ages.len()).max_by_key(|&from| same(from))?;
    let count = same(from);
    let is_pattern = count >= PATTERN_MIN && 2 * count > group.len();
    is_pattern.then(|| (count, Duration::from_secs_f64(ages[from + count / 2])))
}

fn cut_by_timer(cause: &str, total: usize, count: usize, age: Duration) -> Finding {
    let seconds = age.as_secs_f64();
    let known = known_timer(seconds).map_or(String::new(), |who| format!(", as {who} do"));
    let (hop, where_) = match cause {
        "client_gone" => (Hop::Front, "in front of this gateway"),
        _ => (Hop::Back, "between this gateway and the replicas"),
    };
    let what = format!(
        "{count} of {total} connections were cut at an age of about {seconds:.0} s: a proxy or load \
         balancer {where_} ends them by a timer{known}"
    );
    let remedy = match hop {
        Hop::Front => {
            "raise that timer; if it counts idle time, check that websocket.ping is on and shorter"
        }
        _ => "raise that timer, or have the gateway reach the replicas directly",
    };
    Finding { hop, count: total, what, remedy }
}

/// Whose timer it may be: defaults that are met on real paths.
fn known_timer(seconds: f64) -> Option<&'static str> {
    const KNOWN: [(f64, &str); 7] = [
        (30.0, "Heroku and Envoy's defaults"),
        (60.0, "nginx, AWS load balancers and HAProxy examples by default"),
        (100.0, "Cloudflare and its tunnels"),
        (240.0, "Azure's ingresses"),
        (300.0, "Cloud Run and Knative by default"),
        (600.0, "Google's load balancers"),
        (3_600.0, "Cloud Run at its maximum"),
    ];
    let is_near = |timer: f64| (seconds - timer).abs() <= timer * TIMER_TOLERANCE;
    KNOWN.iter().find(|(timer, _)| is_near(*timer)).map(|(_, who)| *who)
}

fn replicas(group: &[&Trouble<'_>]) -> Vec<SocketAddr> {
    let mut replicas: Vec<SocketAddr> = group.iter().filter_map(|one| one.replica).collect();
    replicas.sort_unstable();
    replicas.dedup();
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(cause: &'static str, lived_s: f64) -> Trouble<'static> {
        let replica = Some(([10, 0, 0, 1], 8000).into());
        Trouble { cause, replica, lived: Some(Duration::from_secs_f64(lived_s)) }
    }

    #[test]
    fn cuts_at_one_age_are_the_timer_of_a_proxy() {
        let mut troubles: Vec<Trouble<'_>> =
            [100.1, 99.8, 100.4, 100.0].map(|s| cut("client_gone", s)).into();
        troubles.push(cut("client_gone", 7.0));
        let [finding] = &diagnose(&troubles)[..] else { panic!("one cause, one finding") };
        assert_eq!((finding.hop, finding.count), (Hop::Front, 5));
        assert!(finding.what.starts_with("4 of 5"), "{}", finding.what);
        assert!(finding.what.contains("about 100 s") && finding.what.contains("Cloudflare"));
        let behind: Vec<Trouble<'_>> = [61.0, 60.0, 60.5].map(|s| cut("replica_gone", s)).into();
        assert_eq!(diagnose(&behind)[0].hop, Hop::Back);
    }

    #[test]
    fn cuts_at_any_age_are_no_timer() {
        let troubles: Vec<Trouble<'_>> =
            [10.0, 35.0, 90.0, 400.0].map(|s| cut("client_gone", s)).into();
        assert!(diagnose(&troubles)[0].what.contains("vanished"));
        let few: Vec<Trouble<'_>> = [100.0, 100.0].map(|s| cut("client_gone", s)).into();
        assert!(diagnose(&few)[0].what.contains("vanished"));
    }

    #[test]
    fn the_most_frequent_comes_first_and_names_the_only_replica() {
        let refused = Trouble { cause: "no_route", replica: None, lived: None };
        let troubles = [refused, cut("replica_gone", 1.0), cut("replica_gone", 2.0)];
        let findings = diagnose(&troubles);
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[0].hop, Hop::Replica);
        assert!(findings[0].what.ends_with("(all at 10.0.0.1:8000)"), "{}", findings[0].what);
    }

    #[test]
    fn a_goodbye_is_no_trouble() {
        assert_eq!(diagnose(&[cut("client_closed", 3.0), cut("ordered", 3.0)]), []);
        assert_eq!(diagnose(&[]), []);
    }
}
