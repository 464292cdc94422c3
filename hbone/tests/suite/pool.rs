//! Sharing connections.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use inpod_hbone::{
    Arrival, Client, Config, OpenError, Origin, Pool, PoolConfig, PoolError, Pooled, Refusal, Usage, client,
    server,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::pair::{quiet, request, settled};

/// A dial's failure that can be told apart from another.
#[derive(Debug, thiserror::Error)]
#[error("dial {0} failed")]
pub(crate) struct DialError(usize);

pub(crate) type TestPool = Pool<&'static str, DialError>;

/// A server to dial, that counts the dials and holds them back on request.
#[derive(Clone)]
pub(crate) struct Destination {
    dials: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    pub(crate) config: Config,
    behaviour: Behaviour,
}

#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    Accept,
    Deny,
    /// Never answers.
    Ponder,
    Fail,
    /// Speaks for itself, see `moody`: takes one tunnel on its first connection, then resets with REFUSED_STREAM.
    FirstConnectionTiresAfterOne,
    AlwaysTired,
    /// Resets every request with INTERNAL_ERROR after the first.
    BreaksAfterOne,
}

impl Destination {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            dials: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            config: Config::default(),
            behaviour,
        }
    }

    /// Nothing is dialled before `open_gate`.
    pub(crate) fn gated(mut self) -> Self {
        self.gate = Arc::new(Semaphore::new(0));
        self
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1000);
    }

    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    async fn dial(self) -> Result<Client, DialError> {
        let number = self.dials.fetch_add(1, Ordering::Relaxed) + 1;
        self.gate.acquire().await.unwrap().forget();
        let (near, far) = tokio::io::duplex(64 * 1024);
        match self.behaviour {
            Behaviour::Fail => return Err(DialError(number)),
            Behaviour::Accept | Behaviour::Deny | Behaviour::Ponder => {
                tokio::spawn(serve(far, self.config.clone(), self.behaviour));
            }
            Behaviour::FirstConnectionTiresAfterOne => {
                tokio::spawn(moody(
                    far,
                    if number == 1 { 1 } else { usize::MAX },
                    h2::Reason::REFUSED_STREAM,
                ));
            }
            Behaviour::AlwaysTired => {
                tokio::spawn(moody(far, 0, h2::Reason::REFUSED_STREAM));
            }
            Behaviour::BreaksAfterOne => {
                tokio::spawn(moody(far, 1, h2::Reason::INTERNAL_ERROR));
            }
        }
        let (client, driver) = client::handshake(near, &self.config).await.unwrap();
        tokio::spawn(driver);
        Ok(client)
    }

    pub(crate) async fn open(&self, pool: &TestPool) -> Result<Pooled, PoolError<DialError>> {
        self.open_for(pool, "key").await
    }

    pub(crate) async fn open_for(
        &self,
        pool: &TestPool,
        key: &'static str,
    ) -> Result<Pooled, PoolError<DialError>> {
        pool.open(&key, request(), || self.clone().dial()).await
    }

    pub(crate) fn spawn_open(&self, pool: &TestPool) -> JoinHandle<Result<Pooled, PoolError<DialError>>> {
        let (this, pool) = (self.clone(), pool.clone());
        tokio::spawn(async move { this.open(&pool).await })
    }
}

pub(crate) async fn serve(io: tokio::io::DuplexStream, config: Config, behaviour: Behaviour) {
    let mut server = server::handshake(io, &config).await.unwrap();
    let mut kept = Vec::new();
    let mut pondered = Vec::new();
    while let Some(Ok(Arrival::Connect(incoming))) = server.next().await {
        match behaviour {
            Behaviour::Deny => incoming.refuse(Refusal::Denied),
            Behaviour::Ponder => pondered.push(incoming),
            _ => kept.push(incoming.accept().unwrap()),
        }
    }
}

async fn moody(io: tokio::io::DuplexStream, patience: usize, reason: h2::Reason) {
    let mut peer: h2::server::Connection<_, Bytes> = h2::server::handshake(io).await.unwrap();
    let mut kept = Vec::new();
    while let Some(Ok((request, mut respond))) = peer.accept().await {
        if kept.len() < patience {
            kept.push((request, respond.send_response(Response::new(()), false).unwrap()));
        } else {
            respond.send_reset(reason);
        }
    }
}

pub(crate) fn small(streams: usize, connections: usize) -> TestPool {
    let config = PoolConfig::default();
    Pool::new(config.with_max_streams_per_connection(streams).with_max_connections_per_key(connections))
}

pub(crate) fn pool() -> TestPool {
    Pool::new(PoolConfig::default())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_at_once_share_one_dial() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let opened = join_all((0..100).map(|_| to.open(&pool))).await;
    let origins: Vec<_> = opened.iter().map(|pooled| pooled.as_ref().unwrap().origin()).collect();
    assert_eq!(origins.iter().filter(|origin| **origin == Origin::Dialled).count(), 1);
    assert_eq!((to.dials(), pool.connections()), (1, 1));
    // The hundred and first does not fit.
    to.open(&pool).await.unwrap();
    assert_eq!((to.dials(), pool.connections()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn one_failure_reaches_a_hundred_and_is_then_forgotten() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Fail).gated());
    let waiters: Vec<_> = (0..100).map(|_| to.spawn_open(&pool)).collect();
    quiet().await;
    assert_eq!(to.dials(), 1);
    to.open_gate();
    for waiter in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert!(matches!(&error, PoolError::Dial { source } if source.0 == 1), "{error:?}");
    }
    assert_eq!((to.dials(), pool.connections(), pool.keys()), (1, 0, 0));
    assert!(matches!(to.open(&pool).await, Err(PoolError::Dial { source }) if source.0 == 2));
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_failure_dials_again() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Fail).gated());
    let (mut first, mut slow) = (Box::pin(to.open(&pool)), Box::pin(to.open(&pool)));
    // Both wait for one flight; only one of them is there when it comes back.
    std::future::poll_fn(|cx| {
        let _ = slow.as_mut().poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
    to.open_gate();
    assert!(first.as_mut().await.is_err());
    assert!(matches!(to.open(&pool).await, Err(PoolError::Dial { source }) if source.0 == 2));
    drop(slow);
    assert_eq!(pool.keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_share() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let _a = to.open_for(&pool, "a").await.unwrap();
    let _b = to.open_for(&pool, "b").await.unwrap();
    assert_eq!((to.dials(), pool.keys()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_pool_tells_what_it_has_for_a_key() {
    let (pool, to) = (small(2, 8), Destination::new(Behaviour::Accept).gated());
    let usage = |open, dialling, streams| Usage { open, dialling, streams };
    assert_eq!(pool.usage(&"key"), Usage::default());
    let first = to.spawn_open(&pool);
    quiet().await;
    assert_eq!(pool.usage(&"key"), usage(0, 1, 1));
    to.open_gate();
    let held = [first.await.unwrap().unwrap(), to.open(&pool).await.unwrap(), to.open(&pool).await.unwrap()];
    assert_eq!(pool.usage(&"key"), usage(2, 0, 3));
    assert_eq!(pool.usage(&"another key"), Usage::default());
    drop(held);
    quiet().await;
    assert_eq!(pool.usage(&"key"), usage(2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_flight_goes_on_without_the_one_who_started_it() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept).gated());
    let first = to.spawn_open(&pool);
    quiet().await;
    let second = to.spawn_open(&pool);
    quiet().await;
    first.abort();
    quiet().await;
    to.open_gate();
    assert_eq!(second.await.unwrap().unwrap().origin(), Origin::Shared);
    assert_eq!(to.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flight_nobody_waits_for_is_dropped() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept).gated());
    let waiters = [to.spawn_open(&pool), to.spawn_open(&pool)];
    quiet().await;
    assert_eq!((pool.connections(), Arc::strong_count(&to.gate)), (1, 4), "two waiters, one flight, and us");
    waiters.iter().for_each(JoinHandle::abort);
    quiet().await;
    assert_eq!((pool.connections(), pool.keys(), Arc::strong_count(&to.gate)), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_when_both_halves_are_gone() {
    let (pool, to) = (small(2, 8), Destination::new(Behaviour::Accept));
    let (recv, one_half) = to.open(&pool).await.unwrap().into_split();
    drop(recv);
    let (other_half, send) = to.open(&pool).await.unwrap().into_split();
    drop(send);
    let third = to.open(&pool).await.unwrap();
    assert_eq!((third.origin(), pool.connections()), (Origin::Dialled, 2), "two halves are still there");
    let fourth = to.open(&pool).await.unwrap();
    assert_eq!((fourth.origin(), pool.connections()), (Origin::Shared, 2));
    drop((one_half, other_half));
    let again = [to.open(&pool).await.unwrap(), to.open(&pool).await.unwrap()];
    assert!(again.iter().all(|pooled| pooled.origin() == Origin::Shared));
    assert_eq!(to.open(&pool).await.unwrap().origin(), Origin::Dialled);
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_request_gives_its_place_back() {
    let (pool, to) = (small(1, 1), Destination::new(Behaviour::Ponder));
    for _ in 0..3 {
        assert!(settled(to.open(&pool)).await.is_none(), "there is no answer");
        quiet().await;
    }
    assert_eq!(to.dials(), 1, "or there would have been no place");
}

#[tokio::test(start_paused = true)]
async fn full_is_full() {
    let (pool, to) = (small(1, 2), Destination::new(Behaviour::Accept));
    let _held = [to.open(&pool).await.unwrap(), to.open(&pool).await.unwrap()];
    assert!(matches!(to.open(&pool).await, Err(PoolError::Exhausted { limit: 2 })));
    to.open_for(&pool, "another key").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_for_new_keys() {
    let config = PoolConfig::default().with_max_connections(2);
    let (pool, to) = (Pool::new(config), Destination::new(Behaviour::Accept));
    let _used = to.open_for(&pool, "used").await.unwrap();
    drop(to.open_for(&pool, "idle").await.unwrap());
    let _new = to.open_for(&pool, "new").await.unwrap();
    assert_eq!(pool.connections(), 2);
    assert!(matches!(to.open_for(&pool, "idle").await, Err(PoolError::Exhausted { limit: 2 })));
}

#[tokio::test(start_paused = true)]
async fn the_peers_limit_is_kept() {
    let (pool, mut to) = (pool(), Destination::new(Behaviour::Accept));
    to.config = Config::default().with_max_concurrent_streams(1);
    let _first = to.open(&pool).await.unwrap();
    let _second = to.open(&pool).await.unwrap();
    assert_eq!(pool.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_not_processed_is_tried_once_more() {
    let (pool, to) = (pool(), Destination::new(Behaviour::FirstConnectionTiresAfterOne));
    let _first = to.open(&pool).await.unwrap();
    let second = to.open(&pool).await.unwrap();
    assert_eq!((second.origin(), to.dials()), (Origin::Dialled, 2));
}

#[tokio::test(start_paused = true)]
async fn and_only_once() {
    let (pool, to) = (pool(), Destination::new(Behaviour::AlwaysTired));
    let error = to.open(&pool).await.unwrap_err();
    assert!(matches!(&error, PoolError::Open { source } if source.is_not_processed()), "{error:?}");
    assert_eq!(to.dials(), 1, "its own connection was fresh");
    assert!(to.open(&pool).await.is_err());
    assert_eq!(to.dials(), 2, "the shared one, then a fresh one");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_may_have_been_processed_is_not() {
    let (pool, to) = (pool(), Destination::new(Behaviour::BreaksAfterOne));
    let _first = to.open(&pool).await.unwrap();
    let error = to.open(&pool).await.unwrap_err();
    assert!(matches!(&error, PoolError::Open { source: OpenError::Lost { .. } }), "{error:?}");
    assert_eq!(to.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn nor_is_a_refusal() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Deny));
    for _ in 0..2 {
        let error = to.open(&pool).await.unwrap_err();
        assert!(matches!(&error, PoolError::Open { source } if source.is_refusal()), "{error:?}");
    }
    assert_eq!(to.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_draining_connection_is_left_alone_and_replaced() {
    let pool = pool();
    let (arrived, mut drain) = mpsc::unbounded_channel();
    let dials = Rc::new(Cell::new(0));
    let dial = || {
        dials.set(dials.get() + 1);
        let arrived = arrived.clone();
        async move {
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let mut server = server::handshake(far, &Config::default()).await.unwrap();
                let (now, mut asked) = mpsc::unbounded_channel::<()>();
                arrived.send(now).unwrap();
                let mut kept = Vec::new();
                loop {
                    tokio::select! {
                        Some(()) = asked.recv() => server.drain(),
                        arrival = server.next() => match arrival {
                            Some(Ok(Arrival::Connect(incoming))) => kept.push(incoming.accept().unwrap()),
                            _ => break,
                        },
                    }
                }
            });
            let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
            tokio::spawn(driver);
            Ok::<_, DialError>(client)
        }
    };
    let (mut recv, mut send) = pool.open(&"key", request(), &dial).await.unwrap().into_split();
    drain.recv().await.unwrap().send(()).unwrap();
    quiet().await;
    let _second = pool.open(&"key", request(), &dial).await.unwrap();
    assert_eq!((dials.get(), pool.connections()), (2, 1), "the draining one is forgotten");
    send.send_all(Bytes::from_static(b"still")).await.unwrap();
    assert!(settled(recv.data()).await.is_none(), "its tunnel goes on");
}

#[tokio::test(start_paused = true)]
async fn the_idle_are_reaped_and_the_used_are_not() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let used = to.open_for(&pool, "used").await.unwrap();
    drop(to.open_for(&pool, "idle").await.unwrap());
    assert_eq!(pool.connections(), 2);
    let reaper = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run_reaper().await }
    });
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert_eq!(pool.connections(), 2);
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!((pool.connections(), pool.keys()), (1, 1));
    drop(used);
    tokio::time::sleep(Duration::from_secs(380)).await;
    assert_eq!((pool.connections(), pool.keys()), (0, 0));
    reaper.abort();
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_reaped_before_their_time() {
    let pool = pool();
    let dial = || async {
        let (near, far) = tokio::io::duplex(4096);
        let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
        tokio::spawn(driver);
        let serve = tokio::spawn(serve(far, Config::default(), Behaviour::Accept));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            serve.abort();
        });
        Ok::<_, DialError>(client)
    };
    drop(pool.open(&"key", request(), dial).await.unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pool.connections(), 1);
    assert_eq!(pool.reap(tokio::time::Instant::now().into_std()), 1);
    assert_eq!((pool.connections(), pool.keys()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn clearing_keeps_tunnels_and_forgets_connections() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let (_recv, mut send) = to.open(&pool).await.unwrap().into_split();
    pool.clear();
    assert_eq!((pool.connections(), pool.keys()), (0, 0));
    send.capacity(1).await.unwrap();
    assert_eq!(to.open(&pool).await.unwrap().origin(), Origin::Dialled);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_gone_lets_its_connections_end() {
    let pool = pool();
    let (ended, mut end) = mpsc::unbounded_channel();
    let dial = move || async move {
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(serve(far, Config::default(), Behaviour::Accept));
        let (client, driver) = client::handshake(near, &Config::default()).await.unwrap();
        tokio::spawn(async move { ended.send(driver.await) });
        Ok::<_, DialError>(client)
    };
    let tunnel = pool.open(&"key", request(), dial).await.unwrap().into_tunnel();
    drop(pool);
    assert!(settled(end.recv()).await.is_none(), "a tunnel is open");
    drop(tunnel);
    settled(end.recv()).await.expect("nothing holds it").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_leads_to_the_note_of_its_connection() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let noted = |name: &'static str| {
        let to = to.clone();
        move || async move { Ok(to.dial().await?.with_note(Arc::new(name))) }
    };
    let note = |pooled: &Pooled| pooled.note().and_then(|note| note.downcast_ref::<&str>().copied());
    let dialled = pool.open(&"key", request(), noted("first")).await.unwrap();
    let shared = pool.open(&"key", request(), noted("second")).await.unwrap();
    let other = pool.open(&"other", request(), noted("third")).await.unwrap();
    let without = pool.open(&"without", request(), || to.clone().dial()).await.unwrap();
    assert_eq!(
        [&dialled, &shared, &other, &without].map(note),
        [Some("first"), Some("first"), Some("third"), None]
    );
}

#[tokio::test(start_paused = true)]
async fn futures_are_small() {
    let (pool, to) = (pool(), Destination::new(Behaviour::Accept));
    let size = size_of_val(&pool.open(&"key", request(), || to.clone().dial()));
    assert!(size <= 2048, "Pool::open is {size} bytes");
}
