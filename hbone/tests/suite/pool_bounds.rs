//! How many tunnels go where: limits that move, waiters, age, spread.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use inpod_hbone::{Config, OpenError, Origin, Pool, PoolConfig, PoolError, client};
use tokio::sync::mpsc;

use crate::pair::{quiet, request, settled};
use crate::pool::{Behaviour, Destination, DialError, TestPool, pool, serve, small};

#[tokio::test(start_paused = true)]
async fn the_peers_limit_may_rise_and_fall_while_tunnels_run() {
    let pool = pool();
    let (limits, dials) = (Rc::new(std::cell::RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let dial = || {
        dials.set(dials.get() + 1);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (set, mut asked) = mpsc::unbounded_channel::<u32>();
        limits.borrow_mut().push(set);
        tokio::spawn(serve_by_hand(far, async move || asked.recv().await));
        async move {
            let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
            tokio::spawn(driver);
            Ok::<_, DialError>(client)
        }
    };
    let set = |limit: u32| limits.borrow()[0].send(limit).unwrap();
    let mut held = vec![pool.open(&"key", request(), dial).await.unwrap()];
    quiet().await;
    // Down to two: a second fits, a third does not.
    set(2);
    quiet().await;
    held.push(pool.open(&"key", request(), dial).await.unwrap());
    assert_eq!(dials.get(), 1);
    // And up again.
    set(3);
    quiet().await;
    held.push(pool.open(&"key", request(), dial).await.unwrap());
    assert_eq!(dials.get(), 1);
    // None at all, with three running: whoever comes waits, and goes on when there is room.
    set(0);
    quiet().await;
    let mut waits = Box::pin(pool.open(&"key", request(), dial));
    assert!(settled(&mut waits).await.is_none());
    assert_eq!(dials.get(), 1);
    set(4);
    held.push(settled(waits).await.expect("there is room").unwrap());
    // Fewer than run: what runs goes on, and ends make room only below the limit.
    set(2);
    quiet().await;
    held.truncate(2);
    quiet().await;
    held.push(pool.open(&"key", request(), dial).await.unwrap());
    assert_eq!((dials.get(), held.last().unwrap().origin()), (2, Origin::Dialled));
    held.remove(0);
    quiet().await;
    assert_eq!(pool.open(&"key", request(), dial).await.unwrap().origin(), Origin::Shared);
}

/// A server that says yes to all, and announces what it is told; h2's cannot change it.
async fn serve_by_hand(io: tokio::io::DuplexStream, mut limit: impl AsyncFnMut() -> Option<u32>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut read, mut write) = tokio::io::split(io);
    let (ask, mut asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        read.read_exact(&mut [0; 24]).await.unwrap();
        let mut head = [0; 9];
        while read.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
            read.read_exact(&mut payload).await.unwrap();
            if head[3] == 1 {
                let _ = ask.send([head[5], head[6], head[7], head[8]]);
            }
        }
    });
    write.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        tokio::select! {
            Some(stream) = asked.recv() => {
                let answer = [&[0, 0, 1, 1, 4], &stream[..], &[0x88]].concat();
                write.write_all(&answer).await.unwrap();
            }
            Some(limit) = limit() => {
                let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3], &limit.to_be_bytes()[..]].concat();
                write.write_all(&settings).await.unwrap();
            }
            else => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_connection_that_takes_few_goes_to_others() {
    let (pool, mut to) = (pool(), Destination::new(Behaviour::Accept));
    to.config = Config::default().with_max_concurrent_streams(10);
    let to = to.gated();
    let waiters: Vec<_> = (0..60).map(|_| to.spawn_open(&pool)).collect();
    quiet().await;
    assert_eq!(to.dials(), 1);
    to.open_gate();
    let mut held = Vec::new();
    for waiter in waiters {
        held.push(waiter.await.unwrap().unwrap());
    }
    assert_eq!((to.dials(), pool.connections()), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn too_many_who_wait_are_turned_away() {
    let pool: TestPool = Pool::new(PoolConfig::default().with_max_waiting(3));
    let to = Destination::new(Behaviour::Accept).gated();
    let waiters: Vec<_> = (0..3).map(|_| to.spawn_open(&pool)).collect();
    quiet().await;
    assert!(matches!(to.open(&pool).await, Err(PoolError::Crowded { limit: 3 })));
    assert!(matches!(to.open_for(&pool, "another").await, Err(PoolError::Crowded { limit: 3 })));
    to.open_gate();
    for waiter in waiters {
        waiter.await.unwrap().unwrap();
    }
    to.open_for(&pool, "another").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_old_get_no_more_tunnels_and_are_reaped_when_idle() {
    let config = PoolConfig::default().with_max_age(Some(Duration::from_secs(600)));
    let (pool, to) = (Pool::new(config), Destination::new(Behaviour::Accept));
    let reaper = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run_reaper().await }
    });
    let old = to.open(&pool).await.unwrap();
    tokio::time::sleep(Duration::from_secs(599)).await;
    assert_eq!(to.open(&pool).await.unwrap().origin(), Origin::Shared);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let young = to.open(&pool).await.unwrap();
    assert_eq!((young.origin(), pool.connections()), (Origin::Dialled, 2));
    drop(old);
    assert_eq!(pool.connections(), 1, "it went with its last tunnel");
    drop(young);
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!((pool.connections(), pool.keys()), (0, 0));
    reaper.abort();
}

#[tokio::test(start_paused = true)]
async fn bulk_is_spread_when_asked() {
    let (pool, to) = (Pool::new(PoolConfig::default().with_spread(3)), Destination::new(Behaviour::Accept));
    let opened = join_all((0..9).map(|_| to.open(&pool))).await;
    let held: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    assert_eq!((to.dials(), pool.connections()), (3, 3));
    drop(held);
    assert_eq!(to.open(&pool).await.unwrap().origin(), Origin::Shared);
}

#[tokio::test(start_paused = true)]
async fn a_place_returns_when_its_tunnel_is_reset_or_refused() {
    let (pool, to) = (small(1, 1), Destination::new(Behaviour::Accept));
    for _ in 0..5 {
        let (_recv, mut send) = to.open(&pool).await.unwrap().into_split();
        send.reset();
        drop((_recv, send));
        quiet().await;
    }
    assert_eq!(to.dials(), 1);
    let (pool, to) = (small(1, 1), Destination::new(Behaviour::Deny));
    for _ in 0..5 {
        assert!(to.open(&pool).await.is_err());
    }
    assert_eq!(to.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_connection_wakes_all_who_wait_on_it() {
    let pool = pool();
    let (end, _) = tokio::sync::broadcast::channel::<()>(1);
    let dial = || {
        let mut ended = end.subscribe();
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                tokio::select! {
                    () = serve(far, Config::default(), Behaviour::Ponder) => {}
                    _ = ended.recv() => {}
                }
            });
            let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
            tokio::spawn(driver);
            Ok::<_, DialError>(client)
        }
    };
    let all = join_all((0..100).map(|_| pool.open(&"key", request(), dial)));
    let mut all = Box::pin(all);
    assert!(settled(&mut all).await.is_none());
    end.send(()).unwrap();
    let all = settled(all).await.expect("nobody waits for a dead connection");
    assert!(all.iter().all(|one| matches!(one, Err(PoolError::Open { source: OpenError::Lost { .. } }))));
    assert_eq!(pool.connections(), 0);
}
