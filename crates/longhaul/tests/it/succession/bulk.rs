//! Bulk on its way through raw TCP when the binary is upgraded: some of it lies in pipes of the kernel's.

use std::net::TcpStream;
use std::thread;

use super::ahead::{RAW, start, while_copies_are_under_way};
use crate::passthrough::{accept, assert_ended, connect, one_server, receive_bulk, send_bulk};
use crate::support::{Random, s, wait_until};

/// So many that say nothing: more than fit into the socket between the two processes, so that the old one
/// waits among their copies.
const SILENT: usize = 900;
/// In each direction of each that talks. More than all buffers on the way take, so that it still flows when
/// everybody stands still.
const TOTAL: usize = 48 << 20;
/// What is read of it behind the copies.
const BEHIND: usize = 4 << 20;

#[test]
fn what_lies_in_the_kernels_pipes_when_it_is_copied_arrives_byte_for_byte() {
    let (replica, listener) = one_server();
    let upgradable = start(replica, RAW);
    let address = upgradable.address();
    let open = || (connect(address), accept(&listener));
    let silent: Vec<(TcpStream, TcpStream)> = (0..SILENT).map(|_| open()).collect();
    // They come last, and are copied first.
    let talking = [open(), open(), open()];
    let block = Random::new().bytes(1_000_003);
    let pipes = || upgradable.gateway.process.pipes();
    let before = pipes();
    let ways: Vec<(&TcpStream, &TcpStream)> =
        talking.iter().flat_map(|(client, server)| [(client, server), (server, client)]).collect();
    let receive = |from, to| {
        ways.iter().for_each(|(_, reader)| receive_bulk(reader, &block, from, to));
    };
    thread::scope(|scope| {
        for (writer, _) in &ways {
            // Nobody reads before the copies are under way.
            writer.set_write_timeout(Some(s(120))).unwrap();
            let writer = writer.try_clone().unwrap();
            scope.spawn(|| send_bulk(writer, &block, TOTAL));
        }
        wait_until("bytes lie in pipes", s(60), || pipes() > before);
        let moved = while_copies_are_under_way(&upgradable, SILENT + talking.len(), || {
            receive(0, BEHIND);
        });
        assert!(moved["changed"].as_u64() >= Some(1), "{moved}");
        receive(BEHIND, TOTAL);
    });
    ways.iter().for_each(|(_, reader)| assert_ended(reader));
    upgradable.wait_settled(1);
    drop(silent);
}
