//! Names against a DNS server on loopback that says what each test wants, in real packets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::*;
use crate::config::UpstreamConfig;
use crate::readiness::Readiness;
use crate::upstream::Endpoint;

/// What the server does when a name is asked for. Anything not set has no such name.
#[derive(Debug, Clone)]
enum Reply {
    Records(Vec<RData>, u32),
    Code(ResponseCode),
    Silence,
}

/// A DNS server, and what it knows.
struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<HashMap<(String, RecordType), Reply>>>,
    /// Counts the questions it has answered, or left unanswered.
    asked: watch::Receiver<usize>,
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let answers = Arc::clone(&zone);
        let (count, asked) = watch::channel(0);
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                let question = Message::from_vec(&packet[..length]).unwrap();
                let answer = answer(&question, &answers.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self { address, zone, asked }
    }

    fn set(&self, name: &str, kind: RecordType, reply: Reply) {
        self.zone.lock().unwrap().insert((name.to_owned(), kind), reply);
    }

    /// Lets a name have these IPv4 addresses, for one second.
    fn set_a(&self, name: &str, hosts: &[u8]) {
        let record = |host: &u8| RData::A(A::new(127, 0, 0, *host));
        self.set(name, RecordType::A, Reply::Records(hosts.iter().map(record).collect(), 1));
    }

    fn set_aaaa(&self, name: &str, hosts: &[u16]) {
        let record = |host: &u16| RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, *host));
        self.set(name, RecordType::AAAA, Reply::Records(hosts.iter().map(record).collect(), 1));
    }

    /// Waits until so many more questions were put, or fails after ten seconds.
    async fn wait_for_questions(&self, more: usize) {
        let mut asked = self.asked.clone();
        let goal = *asked.borrow() + more;
        let reached = asked.wait_for(|count| *count >= goal);
        tokio::time::timeout(Duration::from_secs(10), reached).await.unwrap().unwrap();
    }

    fn dns(&self) -> Dns {
        Dns::new(vec![self.address])
    }
}

fn answer(question: &Message, zone: &HashMap<(String, RecordType), Reply>) -> Option<Message> {
    let query = question.queries.first()?;
    let name = query.name().to_lowercase().to_string();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.add_query(query.clone());
    match zone.get(&(name.clone(), query.query_type())) {
        Some(Reply::Records(data, ttl)) => {
            let record =
                |data: &RData| Record::from_rdata(query.name().clone(), *ttl, data.clone());
            answer.add_answers(data.iter().map(record));
        }
        Some(Reply::Code(code)) => answer.metadata.response_code = *code,
        Some(Reply::Silence) => return None,
        // A name that has other records exists.
        None if zone.keys().any(|(known, _)| *known == name) => {}
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(answer)
}

fn addresses(name: &str) -> Question {
    Question::Addresses { name: name.to_owned(), port: 8000, weight: 1 }
}

fn services(name: &str) -> Question {
    Question::Services { name: name.to_owned() }
}

/// Endpoints as text, with their weights.
fn shown(endpoints: &[Endpoint]) -> Vec<String> {
    let text = |endpoint: &Endpoint| format!("{} x{}", endpoint.address, endpoint.weight);
    endpoints.iter().map(text).collect()
}

#[track_caller]
fn check(answered: Result<Answer, Trouble>, expected: &[&str]) {
    assert_eq!(shown(&answered.unwrap().endpoints), expected);
}

#[track_caller]
fn check_trouble(answered: Result<Answer, Trouble>, expected: &str) {
    assert_eq!(answered.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_name_stands_for_its_addresses_as_long_as_its_records_say() {
    let server = Server::start().await;
    let records = vec![RData::A(A::new(10, 0, 0, 2)), RData::A(A::new(10, 0, 0, 1))];
    server.set("app.test.", RecordType::A, Reply::Records(records, 77));
    let answer = server.dns().ask(&addresses("app.test")).await.unwrap();
    assert_eq!(shown(&answer.endpoints), ["10.0.0.1:8000 x1", "10.0.0.2:8000 x1"]);
    assert_eq!(answer.ttl, Duration::from_secs(77));
}

#[tokio::test]
async fn ipv6_addresses_count_when_there_are_no_others() {
    let server = Server::start().await;
    server.set_aaaa("app.test.", &[2, 1]);
    check(
        server.dns().ask(&addresses("app.test")).await,
        &["[fd00::1]:8000 x1", "[fd00::2]:8000 x1"],
    );
    server.set_a("app.test.", &[9]);
    check(server.dns().ask(&addresses("app.test")).await, &["127.0.0.9:8000 x1"]);
}

#[tokio::test]
async fn a_family_that_fails_for_a_moment_is_not_lost() {
    let server = Server::start().await;
    server.set_a("app.test.", &[1]);
    server.set_aaaa("app.test.", &[1]);
    let mut dns = server.dns();
    check(dns.ask(&addresses("app.test")).await, &["127.0.0.1:8000 x1"]);
    server.set("app.test.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    check(dns.ask(&addresses("app.test")).await, &["127.0.0.1:8000 x1"]);
    server.set("app.test.", RecordType::A, Reply::Records(Vec::new(), 1));
    check(dns.ask(&addresses("app.test")).await, &["[fd00::1]:8000 x1"]);
}

#[tokio::test]
async fn services_of_the_best_priority_give_port_and_weight() {
    let server = Server::start().await;
    let target = |name: &str| Name::from_ascii(name).unwrap();
    let records = vec![
        RData::SRV(SRV::new(10, 5, 8001, target("one.test."))),
        RData::SRV(SRV::new(10, 0, 8002, target("two.test."))),
        RData::SRV(SRV::new(20, 9, 8003, target("backup.test."))),
    ];
    server.set("_ws._tcp.test.", RecordType::SRV, Reply::Records(records, 60));
    server.set_a("one.test.", &[1, 2]);
    server.set_a("two.test.", &[3]);
    server.set_a("backup.test.", &[4]);
    let mut dns = server.dns();
    let all = ["127.0.0.1:8001 x5", "127.0.0.2:8001 x5", "127.0.0.3:8002 x1"];
    let answer = dns.ask(&services("_ws._tcp.test")).await.unwrap();
    assert_eq!(shown(&answer.endpoints), all);
    assert_eq!(answer.ttl, Duration::from_secs(1), "the shortest of all records");

    server.set("two.test.", RecordType::A, Reply::Code(ResponseCode::ServFail));
    server.set("two.test.", RecordType::AAAA, Reply::Code(ResponseCode::ServFail));
    check(dns.ask(&services("_ws._tcp.test")).await, &all);
    check(server.dns().ask(&services("_ws._tcp.test")).await, &all[..2]);
}

#[tokio::test]
async fn the_root_as_target_means_that_there_is_no_service() {
    let server = Server::start().await;
    let none = RData::SRV(SRV::new(0, 0, 0, Name::root()));
    server.set("_ws._tcp.test.", RecordType::SRV, Reply::Records(vec![none], 60));
    check_trouble(server.dns().ask(&services("_ws._tcp.test")).await, "the name has no addresses");
}

#[tokio::test]
async fn trouble_is_told_in_words() {
    let server = Server::start().await;
    let mut dns = server.dns();
    check_trouble(dns.ask(&addresses("gone.test")).await, "no such name");
    check_trouble(dns.ask(&services("_x._tcp.gone.test")).await, "no such name");
    server.set("empty.test.", RecordType::A, Reply::Records(Vec::new(), 1));
    check_trouble(dns.ask(&addresses("empty.test")).await, "the name has no addresses");
    check_trouble(dns.ask(&addresses("a..b")).await, "\"a..b\" is no valid name");
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_deadline() {
    let server = Server::start().await;
    for kind in [RecordType::A, RecordType::AAAA] {
        server.set("app.test.", kind, Reply::Silence);
    }
    let started = Instant::now();
    let answered = server.dns().ask(&addresses("app.test")).await;
    check_trouble(answered, "no DNS server answered in time");
    assert!(started.elapsed() < LOOKUP_MAX + Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_hosts_file_and_literal_addresses_need_no_server() {
    let server = Server::start().await;
    let mut dns = server.dns();
    let local = dns.ask(&addresses("localhost")).await.unwrap();
    assert!(local.endpoints.iter().all(|endpoint| endpoint.address.ip().is_loopback()));
    check(dns.ask(&addresses("10.1.2.3")).await, &["10.1.2.3:8000 x1"]);
    check(dns.ask(&addresses("fd00::5")).await, &["[fd00::5]:8000 x1"]);
}

fn dns_upstream(name: &str) -> Arc<Upstream> {
    let source = ReplicaSource::Dns { name: name.into(), port: 8000, weight: 1 };
    Upstream::new(UpstreamConfig::new("chat", vec![source]), [0; 32], 1)
}

/// Waits until the upstream has replicas at these hosts, or fails after ten seconds.
async fn until(upstream: &Upstream, hosts: &[u8]) {
    let expected: Vec<IpAddr> =
        hosts.iter().map(|host| Ipv4Addr::new(127, 0, 0, *host).into()).collect();
    let has = || upstream.replicas().iter().map(|one| one.address().ip()).eq(expected.clone());
    let mut changes = upstream.changes();
    let reached = async {
        while !has() {
            changes.changed().await.unwrap();
        }
    };
    let limited = tokio::time::timeout(Duration::from_secs(10), reached);
    limited.await.unwrap_or_else(|_| panic!("{:?} instead of {hosts:?}", upstream.replicas()));
}

#[tokio::test]
async fn replicas_follow_the_name_and_outlive_its_failures() {
    let server = Server::start().await;
    server.set_a("app.test.", &[1, 2]);
    let upstream = dns_upstream("app.test");
    let retry = Backoff::new(Duration::from_millis(5), Duration::from_millis(5));
    let watched = watch(
        Arc::clone(&upstream),
        upstream.sources()[0].0,
        addresses("app.test"),
        server.dns(),
        retry,
    );
    let watched = tokio::spawn(watched);
    until(&upstream, &[1, 2]).await;
    let stays = Arc::clone(&upstream.replicas()[1]);
    server.set_a("app.test.", &[2, 3]);
    until(&upstream, &[2, 3]).await;
    assert!(Arc::ptr_eq(&stays, &upstream.replicas()[0]), "it is the same replica");

    // Both families twice: the second time, the first failure has been dealt with.
    for failure in [Reply::Code(ResponseCode::ServFail), Reply::Records(Vec::new(), 1)] {
        server.set("app.test.", RecordType::A, failure);
        server.wait_for_questions(4).await;
        until(&upstream, &[2, 3]).await;
    }
    server.set_a("app.test.", &[4]);
    until(&upstream, &[4]).await;
    watched.abort();
}

#[tokio::test]
async fn start_up_waits_for_the_first_answer_and_not_for_a_good_one() {
    let server = Server::start().await;
    server.set_a("app.test.", &[1]);
    for (name, replicas) in [("app.test", 1), ("gone.test", 0)] {
        let upstream = dns_upstream(name);
        let (readiness, stop) = (Readiness::default(), CancellationToken::new());
        let tasks = crate::supervise::Tasks::default();
        crate::background::hold_start(&upstream, &readiness, &stop);
        crate::background::start(&upstream, &[server.address], &tasks, &stop);
        assert_eq!(readiness.gates()[0].name, "replicas of upstream chat");
        let mut changes = upstream.changes();
        let opened = async {
            while !upstream.is_settled(Instant::now()) {
                changes.changed().await.unwrap();
            }
            while !readiness.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LOOKUP_MAX, opened).await.expect("start-up goes on");
        assert_eq!(upstream.replicas().len(), replicas);
        stop.cancel();
    }
}
