//! The cache's promises, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use inpod_identity::SpiffeId;
use inpod_identity::source::{
    Cache, CacheError, Ended, LeaseError, Limits, MaterialError, Source, SourceError, Unavailable,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::issuer::{Behaviour, Scripted};
use crate::lab::{HOUR, id};
use crate::virtual_time::{clock, pass};
use crate::{serial, told};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn pod(number: usize) -> SpiffeId {
    id(&format!("/ns/shop/sa/pod{number}"))
}

fn start(issuer: &Scripted, limits: Limits) -> (Cache, JoinHandle<()>) {
    let (cache, driver) = Cache::with_clock(issuer.clone(), limits, clock());
    (cache, tokio::spawn(driver.run()))
}

/// The least time between the starts of two requests for one identity.
fn closest(asked: &[(SpiffeId, Instant)]) -> Option<Duration> {
    let mut last = BTreeMap::new();
    let gaps = asked.iter().filter_map(|(id, at)| last.insert(id.clone(), *at).map(|before| *at - before));
    gaps.min()
}

#[tokio::test(start_paused = true)]
async fn one_request_serves_all_who_wait() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, _driver) = start(&issuer, Limits::default());
    let leases: Vec<_> = (0..50).map(|_| cache.lease(&pod(0)).unwrap()).collect();
    let materials = join_all(leases.iter().map(|lease| lease.material())).await;
    let serials: Vec<_> = materials.iter().map(|material| serial(material.as_ref().unwrap())).collect();
    assert!(serials.iter().all(|serial| *serial == serials[0]));
    assert_eq!(issuer.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_error_reaches_all_who_wait_and_those_who_come_soon_after() {
    let issuer = Scripted::new(Behaviour::Fails, SECOND);
    let (cache, _driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    let mut refusals = join_all((0..50).map(|_| lease.material())).await;
    refusals.push(lease.material().await);
    let causes: Vec<_> = refusals
        .into_iter()
        .map(|refusal| match refusal {
            Err(CacheError::Unavailable(Unavailable::Nothing { trouble: Some(cause) })) => cause,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(causes.iter().all(|cause| Arc::ptr_eq(cause, &causes[0])));
    assert_eq!(issuer.asked().len(), 1);
    issuer.now_does(Behaviour::Good(HOUR));
    pass(3 * SECOND).await;
    lease.material().await.unwrap();
    assert!(lease.watch().trouble().is_none(), "trouble is over");
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_later_request_gets_its_answer_and_not_an_older_error() {
    let issuer = Scripted::new(Behaviour::Fails, SECOND);
    let (cache, _driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    lease.material().await.unwrap_err();
    issuer.now_does(Behaviour::Good(HOUR));
    while issuer.asked().len() < 2 {
        pass(SECOND / 10).await;
    }
    lease.material().await.unwrap();
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_overtakes_who_does_not() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, _driver) = start(&issuer, Limits::default().requests(1));
    let leases: Vec<_> = (0..10).map(|number| cache.lease(&pod(number)).unwrap()).collect();
    pass(SECOND / 2).await;
    leases[9].material().await.unwrap();
    let asked: Vec<_> = issuer.asked().into_iter().map(|(id, _)| id).collect();
    assert_eq!(asked[..2], [pod(0), pod(9)]);
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_are_bounded() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, _driver) = start(&issuer, Limits::default().requests(3));
    let leases: Vec<_> = (0..100).map(|number| cache.lease(&pod(number)).unwrap()).collect();
    let materials = join_all(leases.iter().map(|lease| lease.material())).await;
    assert!(
        materials.iter().zip(&leases).all(|(material, lease)| material.as_ref().unwrap().id() == lease.id())
    );
    assert_eq!((issuer.asked().len(), issuer.peak()), (100, 3));
}

#[tokio::test(start_paused = true)]
async fn an_svid_is_renewed_at_half_of_its_life_and_nobody_waits() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, _driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    let mut serials = vec![serial(&lease.material().await.unwrap())];
    let (now, watch) = (clock(), lease.watch());
    for _ in 0..10 * 60 {
        pass(MINUTE).await;
        // Without waiting: it is there at every moment.
        serials.push(serial(&watch.at(now.now()).unwrap()));
    }
    serials.dedup();
    // Ten hours, of which each half had an SVID of its own.
    assert!((18..=23).contains(&serials.len()), "{}", serials.len());
    assert_eq!(issuer.asked().len(), serials.len());
}

#[tokio::test(start_paused = true)]
async fn whatever_the_issuer_does_it_is_asked_once_a_second_and_never_believed() {
    use Behaviour::{Early, Expired, Fails, Hangs, WrongId};
    for behaviour in [Fails, Hangs, WrongId, Expired, Early, Behaviour::Good(SECOND)] {
        let issuer = Scripted::new(behaviour, Duration::ZERO);
        let (cache, _driver) = start(&issuer, Limits::default());
        let lease = cache.lease(&pod(0)).unwrap();
        let mut refusals = 0;
        for _ in 0..600 {
            match lease.material().await {
                Ok(material) => assert_eq!((material.id(), behaviour), (&pod(0), Behaviour::Good(SECOND))),
                Err(_) => refusals += 1,
            }
            pass(SECOND / 10).await;
        }
        let asked = issuer.asked();
        assert!(closest(&asked).unwrap() >= SECOND, "{behaviour:?}");
        assert!(asked.len() >= 5, "{behaviour:?} is tried again");
        if behaviour != Behaviour::Good(SECOND) {
            assert_eq!(refusals, 600);
            assert!(asked.len() < 20, "{behaviour:?} is tried less and less");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_misbehaviour_has_its_name() {
    type Check = fn(&SourceError) -> bool;
    let cases: [(Behaviour, Check); 5] = [
        (Behaviour::Fails, |error| matches!(error, SourceError::Other(_))),
        (Behaviour::Hangs, |error| matches!(error, SourceError::Deadline { limit } if *limit == 10 * SECOND)),
        (Behaviour::WrongId, |error| matches!(error, SourceError::Material(MaterialError::Id { .. }))),
        (Behaviour::Expired, |error| matches!(error, SourceError::Material(MaterialError::Expired { .. }))),
        (Behaviour::Early, |error| matches!(error, SourceError::Material(MaterialError::NotYetValid { .. }))),
    ];
    for (behaviour, is_named) in cases {
        let issuer = Scripted::new(behaviour, Duration::ZERO);
        let (cache, _driver) = start(&issuer, Limits::default());
        let lease = cache.lease(&pod(0)).unwrap();
        let refusal = lease.material().await.unwrap_err();
        let trouble = lease.watch().trouble().unwrap();
        assert!(is_named(&trouble), "{behaviour:?}: {trouble:?}");
        assert!(told(&refusal).ends_with(&told(&*trouble)), "{}", told(&refusal));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_invisible_until_the_svid_expires_and_then_it_is_refused() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), Duration::ZERO);
    let (cache, _driver) = start(&issuer, Limits::default());
    let (lease, now) = (cache.lease(&pod(0)).unwrap(), clock());
    let first = serial(&lease.material().await.unwrap());
    issuer.now_does(Behaviour::Fails);
    let end = lease.material().await.unwrap().svid().not_after();
    while now.now() <= end {
        assert_eq!(serial(&lease.material().await.unwrap()), first);
        pass(10 * SECOND).await;
    }
    let watch = lease.watch();
    let stale = watch.at(now.now()).unwrap_err();
    assert!(matches!(stale, Unavailable::Stale { trouble: Some(_), .. }));
    assert!(matches!(lease.material().await, Err(CacheError::Unavailable(Unavailable::Stale { .. }))));
    assert_eq!(told(&stale), format!("SVID of {} is not valid now: source gives no SVID: no", pod(0)));
    // 30 minutes of failures, of which each was at most two and a half and a fifth apart, and the nearer the end the less.
    assert!((14..60).contains(&issuer.asked().len()), "{}", issuer.asked().len());
    issuer.now_does(Behaviour::Good(HOUR));
    pass(20 * SECOND).await;
    assert_ne!(serial(&watch.at(now.now()).unwrap()), first, "it comes back without being asked");
}

#[tokio::test(start_paused = true)]
async fn the_last_lease_takes_the_svid_with_it() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), Duration::ZERO);
    let (cache, _driver) = start(&issuer, Limits::default().identities(2));
    let [one, two] = [0, 0].map(|number| cache.lease(&pod(number)).unwrap());
    let mut watch = one.watch();
    let first = serial(&one.material().await.unwrap());
    let _other = cache.lease(&pod(1)).unwrap();
    assert_eq!(cache.lease(&pod(2)).unwrap_err(), LeaseError::Full { limit: 2 });
    pass(2 * SECOND).await;
    watch.changed().await.unwrap();
    drop(one);
    assert_eq!(serial(&two.material().await.unwrap()), first);
    drop(two);
    assert_eq!(watch.changed().await, Err(Ended));
    let third = cache.lease(&pod(2)).unwrap();
    third.material().await.unwrap();
    drop(third);
    pass(2 * SECOND).await;
    let again = cache.lease(&pod(0)).unwrap();
    assert_ne!(serial(&again.material().await.unwrap()), first);
}

#[tokio::test(start_paused = true)]
async fn pods_that_come_and_go_ask_no_more_than_those_that_stay() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND / 4);
    let (cache, _driver) = start(&issuer, Limits::default());
    for _ in 0..100 {
        drop(cache.lease(&pod(0)).unwrap());
        let lease = cache.lease(&pod(0)).unwrap();
        pass(SECOND / 10).await;
        drop(lease);
    }
    assert!(closest(&issuer.asked()).unwrap() >= SECOND);
}

#[tokio::test(start_paused = true)]
async fn when_the_driver_ends_all_who_wait_learn_it_and_the_other_way_round() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    let kept = lease.material().await.unwrap();
    let other = cache.lease(&pod(1)).unwrap();
    driver.abort();
    assert!(matches!(other.material().await, Err(CacheError::Ended)));
    assert_eq!(cache.lease(&pod(2)).unwrap_err(), LeaseError::Ended);
    // What was there stays until it expires.
    assert_eq!(serial(&lease.watch().at(clock().now()).unwrap()), serial(&kept));

    let (cache, driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    drop(cache);
    lease.material().await.unwrap();
    assert!(!driver.is_finished());
    drop(lease);
    driver.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_nothing_behind() {
    let issuer = Scripted::new(Behaviour::Good(HOUR), SECOND);
    let (cache, _driver) = start(&issuer, Limits::default());
    let lease = cache.lease(&pod(0)).unwrap();
    tokio::time::timeout(SECOND / 2, lease.material()).await.unwrap_err();
    lease.material().await.unwrap();
    assert_eq!(issuer.asked().len(), 1);
}
