//! Applying, verifying, healing and removing.

use std::sync::atomic::{AtomicBool, Ordering};

use inpod_redirect::{
    ApplyError, DnsCapture, Families, Intent, Ipv6, KernelError, Plan, Port, ReplyRouting, Verdict,
    VerifyError, apply, remove, verify,
};
use testkit::kernel::{Case, Outcome, test};
use testkit::lab::loopback_up;
use testkit::netns::Namespace;

use crate::cases;

pub(crate) fn tests() -> Vec<Case> {
    vec![
        test("rules::apply_then_verify_is_same_for_every_case", apply_then_verify),
        test("rules::applying_twice_is_applying_once", applying_twice),
        test("rules::each_plan_replaces_the_one_before", each_replaces),
        test("rules::a_reader_sees_the_one_plan_or_the_other", one_or_the_other),
        test("rules::remove_takes_everything_away_and_can_be_repeated", remove_everything),
        test("rules::loopback_down_is_an_error_and_changes_nothing", loopback_down),
        test("rules::without_ipv6_on_loopback_only_its_route_is_left_out", ipv6_off),
        test("rules::no_rights_is_an_error_that_says_so", no_rights).needs_program("unshare"),
    ]
}

/// A fresh namespace with loopback up.
pub(crate) fn fresh() -> Result<Namespace, Box<dyn std::error::Error>> {
    let namespace = Namespace::create()?;
    loopback_up(&namespace)?;
    Ok(namespace)
}

fn apply_then_verify() -> Outcome {
    for (name, intent) in cases::all() {
        let plan = Plan::new(&intent);
        fresh()?.run(|| -> Outcome {
            let before = differences(&plan)?;
            assert_eq!(before.len(), size(&plan), "{name}: all is missing before: {before:?}");
            assert!(before.iter().all(|line| line.starts_with("missing: ")), "{name}: {before:?}");
            assert_eq!(apply(&plan)?.ipv6, Ipv6::On, "{name}");
            assert_eq!(verify(&plan)?, Verdict::Same, "{name}");
            Ok(())
        })??;
    }
    Ok(())
}

fn applying_twice() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        for _ in 0..3 {
            apply(&plan)?;
            assert_eq!(verify(&plan)?, Verdict::Same);
        }
        Ok(())
    })?
}

fn each_replaces() -> Outcome {
    fresh()?.run(|| {
        // Those that keep the routing table: another table is another plan's place.
        let same_place = |intent: &Intent| intent.reply_routing() == ReplyRouting::ISTIO;
        let cases: Vec<_> = cases::all().into_iter().filter(|(_, intent)| same_place(intent)).collect();
        for (name, intent) in cases.iter().chain(cases.iter().rev()) {
            let plan = Plan::new(intent);
            apply(&plan)?;
            assert_eq!(verify(&plan)?, Verdict::Same, "{name}");
        }
        Ok(())
    })?
}

/// While one thread replaces one plan by another and back, what another thread reads is never a mixture.
fn one_or_the_other() -> Outcome {
    let one = Plan::new(&Intent::ambient());
    let other = Plan::new(&Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?);
    let namespace = fresh()?;
    let [same, differs] = namespace.run(|| -> Result<_, Box<dyn std::error::Error>> {
        apply(&other)?;
        let differs = verify(&one)?;
        apply(&one)?;
        Ok([Verdict::Same, differs])
    })??;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let written = namespace.run(|| {
                (0..50)
                    .try_for_each(|_| [&other, &one].into_iter().try_for_each(|plan| apply(plan).map(drop)))
            });
            done.store(true, Ordering::Relaxed);
            written
        });
        namespace.run(|| {
            while !done.load(Ordering::Relaxed) {
                match verify(&one) {
                    Ok(verdict) => assert!([&same, &differs].contains(&&verdict), "a mixture: {verdict:?}"),
                    Err(VerifyError::Look(KernelError::Unsettled { .. })) => {}
                    Err(error) => return Err::<(), Box<dyn std::error::Error>>(error.into()),
                }
            }
            Ok(())
        })??;
        writer.join().map_err(|_| "the writer panicked")???;
        Ok(())
    })
}

fn remove_everything() -> Outcome {
    let plan = Plan::new(&Intent::ambient().with_dns(DnsCapture::To(Port::new(15053)?))?);
    fresh()?.run(|| {
        remove(&plan)?;
        apply(&plan)?;
        for _ in 0..2 {
            remove(&plan)?;
            let after = differences(&plan)?;
            assert_eq!(after.len(), size(&plan), "{after:?}");
            assert!(after.iter().all(|line| line.starts_with("missing: ")), "{after:?}");
        }
        Ok(())
    })?
}

fn loopback_down() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    Namespace::create()?.run(|| {
        assert!(matches!(apply(&plan), Err(ApplyError::LoopbackDown)));
        assert_eq!(differences(&plan)?.len(), size(&plan));
        Ok(())
    })?
}

fn ipv6_off() -> Outcome {
    let plan = Plan::new(&Intent::ambient());
    fresh()?.run(|| {
        std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1")?;
        assert_eq!(apply(&plan)?.ipv6, Ipv6::OffOnLoopback);
        assert_eq!(verify(&plan)?, Verdict::Same);

        // Back on, the route that could not be is missed, and applying heals.
        std::fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0")?;
        assert_eq!(differences(&plan)?, ["missing: route \"ip -6 route add local ::/0 dev lo table 100\""]);
        assert_eq!(apply(&plan)?.ipv6, Ipv6::On);
        assert_eq!(verify(&plan)?, Verdict::Same);
        remove(&plan)?;
        Ok(())
    })?
}

/// A new user namespace has no rights over the network namespace that was there before.
fn no_rights() -> Outcome {
    let mut child = std::process::Command::new("unshare");
    let output = child.arg("--user").arg(std::env::current_exe()?).env(NO_RIGHTS, "1").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim_end();
    assert_eq!(said, "Some(1)", "EPERM: {output:?}");
    Ok(())
}

/// In the environment of the child of [`no_rights`].
pub(crate) const NO_RIGHTS: &str = "INPOD_REDIRECT_TEST_NO_RIGHTS";

/// What that child does.
pub(crate) fn apply_without_rights() {
    let plan = Plan::new(&Intent::ambient().with_families(Families::V4));
    match apply(&plan) {
        Err(ApplyError::Look(KernelError::Refused { source, .. })) => println!("{:?}", source.raw_os_error()),
        other => println!("{other:?}"),
    }
}

pub(crate) fn differences(plan: &Plan) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    Ok(match verify(plan)? {
        Verdict::Same => Vec::new(),
        Verdict::Differs(differences) => differences.iter().map(ToString::to_string).collect(),
    })
}

/// How many pieces a plan has: the table, its timeouts, chains, rules, and those of routing.
fn size(plan: &Plan) -> usize {
    let rules: usize = plan.chains().iter().map(|chain| chain.rules.len()).sum();
    let timeouts = usize::from(plan.tcp_timeouts().is_some());
    1 + timeouts + plan.chains().len() + rules + plan.policy_rules().len() + plan.routes().len()
}
