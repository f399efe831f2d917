use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Both ends of a connection over loopback.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn bulk() -> Bulk {
    let mut bulk = Bulk::default();
    for _ in 0..FULL_READS_MIN {
        assert!(!bulk.is_on());
        bulk.note_read(true);
    }
    assert!(bulk.is_on());
    bulk
}

/// Moves until the source ends or a step refuses; counts the bytes that came.
async fn run(bulk: &mut Bulk, from: &TcpStream, to: &TcpStream) -> Result<(usize, Moved), bool> {
    let mut total = 0;
    poll_fn(|cx| {
        loop {
            match bulk.step(from, to, cx) {
                Ok(Moved::Some(len)) => total += len,
                Ok(Moved::Nothing) => return Poll::Pending,
                Ok(last) => return Poll::Ready(Ok((total, last))),
                Err(is_reader) => return Poll::Ready(Err(is_reader)),
            }
        }
    })
    .await
}

fn pipes() -> (usize, usize) {
    PIPES.with_borrow(|pipes| (pipes.count, pipes.spare.len()))
}

#[tokio::test]
async fn bulk_arrives_whole_and_in_order() {
    const TOTAL: usize = 24 << 20;
    let (mut client, from) = connection().await;
    let (to, mut server) = connection().await;
    let sent: Vec<u8> = (0..TOTAL).map(|at| (at >> 8 ^ at >> 16 ^ at) as u8).collect();
    let copy = sent.clone();
    let write = tokio::spawn(async move {
        client.write_all(&copy).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let read = tokio::spawn(async move {
        let mut received = vec![0; TOTAL];
        server.read_exact(&mut received).await.unwrap();
        received
    });
    assert_eq!(run(&mut bulk(), &from, &to).await, Ok((TOTAL, Moved::End)));
    assert!(read.await.unwrap() == sent);
    drop(write.await);
    assert_eq!(pipes(), (1, 1));
}

#[tokio::test]
async fn a_source_with_nothing_to_say_holds_no_pipe() {
    let (mut client, from) = connection().await;
    let (to, mut server) = connection().await;
    let mut bulk = bulk();
    let mut buffer = vec![0; 64 * 1024];
    for _ in 0..3 {
        client.write_all(&buffer).await.unwrap();
        let mut moved = 0;
        let last = poll_fn(|cx| {
            loop {
                match bulk.step(&from, &to, cx).unwrap() {
                    Moved::Some(len) => moved += len,
                    Moved::Nothing if moved < buffer.len() => return Poll::Pending,
                    last => return Poll::Ready(last),
                }
            }
        });
        assert_eq!(last.await, Moved::Nothing);
        assert!(bulk.is_on() && bulk.lent.is_none());
        assert_eq!(pipes(), (1, 1));
        server.read_exact(&mut buffer).await.unwrap();
    }
}

#[tokio::test]
async fn thin_moves_go_back_to_copying() {
    let (mut client, from) = connection().await;
    let (to, mut server) = connection().await;
    let mut bulk = bulk();
    for _ in 0..THIN_MOVES_MAX {
        client.write_all(b"thin").await.unwrap();
        let moved = poll_fn(|cx| match bulk.step(&from, &to, cx).unwrap() {
            Moved::Nothing => Poll::Pending,
            moved => Poll::Ready(moved),
        });
        assert_eq!(moved.await, Moved::Some(4));
        server.read_exact(&mut [0; 4]).await.unwrap();
    }
    assert!(!bulk.is_on());
    assert_eq!(pipes(), (1, 1));
}

#[tokio::test]
async fn a_slow_sink_is_waited_for_and_a_lost_pipe_is_not_used_again() {
    let (mut client, from) = connection().await;
    let (to, server) = connection().await;
    let write = tokio::spawn(async move {
        // Ends with an error once the story is over.
        while client.write_all(&[7; 64 * 1024]).await.is_ok() {}
    });
    let mut bulk = bulk();
    let stuck =
        tokio::time::timeout(std::time::Duration::from_millis(300), run(&mut bulk, &from, &to));
    assert!(stuck.await.is_err(), "nobody reads, so it cannot end");
    assert!(bulk.lent.as_ref().is_some_and(|lent| lent.filled > 0));
    drop((server, bulk, from, to));
    assert_eq!(pipes(), (0, 0));
    write.await.unwrap();
}

#[tokio::test]
async fn without_a_pipe_to_spare_it_is_copied() {
    let (_client, from) = connection().await;
    let (to, _server) = connection().await;
    let all: Vec<Lent> = (0..PIPES_MAX)
        .map(|_| Lent { pipe: PIPES.with_borrow_mut(Pipes::take), filled: 0 })
        .collect();
    let mut bulk = bulk();
    assert_eq!(run(&mut bulk, &from, &to).await, Ok((0, Moved::Refused)));
    assert!(!bulk.is_on());
    drop(all);
    assert_eq!(pipes(), (SPARES_MAX, SPARES_MAX));
}
