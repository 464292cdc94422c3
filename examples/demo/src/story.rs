//! Story: the nine steps, in order. Each checks what it says; the first that finds something else ends the story.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use testkit::kernel::Sandbox;

use crate::evidence::Evidence;
use crate::meetings::Meetings;
use crate::page::Page;
use crate::rules::Rules;
use crate::steps::gone::Held;
use crate::steps::{absent, bulk, enrol, exchange, gone, outsider, setup};

/// Tells it. On an error too, all that was made is removed before this returns.
pub(crate) fn tell(page: &mut Page<impl Write>, sandbox: &Sandbox) -> Result<()> {
    let began = Instant::now();
    let before = Held::at_first()?;
    page.line(&format!("inpod demo, in {sandbox}"))?;
    let mut teller = Teller { page, step: 0, facts: 0 };
    let meetings = Arc::new(Meetings::default());

    let stage = teller.step("Three pods on a bridge", setup::build)?;
    let canary = setup::canary();
    let rules = Rules::new()?;
    teller.step("Without the mesh, what the client asks is on the wire", |evidence| {
        exchange::without_mesh(&stage, &canary, evidence)
    })?;
    let (mesh, folder) = teller
        .step("One proxy for the node; client and server are handed to it", |evidence| {
            enrol::start(&stage, &meetings, evidence)
        })?;
    teller.step("Rules in both pods send their traffic to it", |evidence| {
        enrol::capture(&stage, &rules, evidence)
    })?;
    teller.step("With the mesh, the same programs exchange the same bytes", |evidence| {
        exchange::with_mesh(&stage, &meetings, &canary, evidence)?;
        exchange::with_someone_else(&stage, &mesh, &meetings, evidence)
    })?;
    teller.step("Much at once", |evidence| bulk::transfer(&stage, &meetings, evidence))?;
    teller.step("The outsider gets in where strict mode is off, and only there", |evidence| {
        outsider::tries(&stage, &mesh, &meetings, &canary, evidence)
    })?;
    teller.step("Without the proxy nothing passes, in plaintext least of all", |evidence| {
        absent::proves(&stage, mesh, &rules, &canary, evidence)
    })?;
    teller.step("All of it is removed", |evidence| {
        gone::proves(stage, folder, &rules, &before, &canary, evidence)
    })?;

    let facts = teller.facts;
    let seconds = began.elapsed().as_secs_f64();
    page.line(&format!("\nAll {facts} facts checked, in {seconds:.1} s."))?;
    Ok(())
}

/// Counts the steps and writes down what they find.
struct Teller<'a, W> {
    page: &'a mut Page<W>,
    step: usize,
    facts: usize,
}

impl<W: Write> Teller<'_, W> {
    fn step<T>(&mut self, title: &str, act: impl FnOnce(&mut Evidence) -> Result<T>) -> Result<T> {
        self.step += 1;
        self.page.heading(self.step, title)?;
        let mut evidence = Evidence::default();
        let done = act(&mut evidence);
        for fact in evidence.facts() {
            self.page.fact(fact)?;
        }
        self.facts += evidence.facts().len();
        done.with_context(|| format!("step {} ({title})", self.step))
    }
}
