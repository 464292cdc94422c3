//! `node-agent status`: where each pod is.

use std::io::Write as _;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::args::Status;
use crate::control::{self, Question};
use crate::table::Table;
use crate::view::{View, ago};

pub(crate) fn show(status: &Status) -> Result<()> {
    let answer = control::ask(&status.control, &Question::Status);
    let answer = answer.with_context(|| format!("asking the agent at {}", status.control.display()))?;
    let text = if status.json {
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&answer)?)? + "\n"
    } else {
        let view: View = serde_json::from_str(&answer).context("what the agent says")?;
        render(&view, SystemTime::now())
    };
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn render(view: &View, now: SystemTime) -> String {
    let mut table = Table::new(["POD", "DESIRED", "RULES", "PROXY", "IDENTITY", "SINCE", "LAST ERROR"]);
    for pod in &view.pods {
        table.push([
            format!("{}/{}", pod.namespace, pod.name),
            pod.desired.clone(),
            pod.captured.clone(),
            pod.proxy.clone(),
            pod.identity.clone(),
            ago(pod.since, now),
            pod.last_error.clone().unwrap_or_default(),
        ]);
    }
    let enrolled = view.pods.iter().filter(|pod| pod.enrolled).count();
    let named = if view.complete { "" } else { ", more may be named" };
    let mut text =
        format!("{enrolled} of {} pods enrolled{named}; {} proxies\n{table}", view.pods.len(), view.proxies);
    let mut problems = Table::new(["OF", "PROBLEM"]);
    for (file, problem) in &view.problems {
        problems.push([file.clone(), problem.clone()]);
    }
    if !view.problems.is_empty() {
        text.push_str(&problems.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::view::PodView;

    #[test]
    fn a_pod_is_a_line() {
        let pod = PodView {
            uid: "1".into(),
            namespace: "shop".into(),
            name: "cart-0".into(),
            identity: "ns/shop/sa/cart".into(),
            network: 7,
            addresses: Vec::new(),
            desired: "enrolled".into(),
            captured: "yes".into(),
            proxy: "listening".into(),
            enrolled: true,
            since: 1000,
            failures: 0,
            last_error: None,
        };
        let bad = PodView {
            name: "cart-1".into(),
            captured: "no".into(),
            proxy: "none".into(),
            enrolled: false,
            ..pod.clone()
        };
        let problems = BTreeMap::from([("cart-2".to_owned(), "is not UTF-8".to_owned())]);
        let view = View { complete: true, proxies: 1, problems, pods: vec![pod, bad] };
        let wanted = "\
            1 of 2 pods enrolled; 1 proxies\n\
            POD          DESIRED   RULES  PROXY      IDENTITY         SINCE  LAST ERROR\n\
            shop/cart-0  enrolled  yes    listening  ns/shop/sa/cart  60s\n\
            shop/cart-1  enrolled  no     none       ns/shop/sa/cart  60s\n\
            OF      PROBLEM\n\
            cart-2  is not UTF-8\n";
        assert_eq!(render(&view, UNIX_EPOCH + Duration::from_secs(1060)), wanted);
    }
}
