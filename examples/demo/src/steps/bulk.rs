//! Bulk: many bytes through the mesh, compared one by one.

use std::io::Read as _;

use anyhow::{Result, bail};
use proxy_core::Direction;

use super::exchange::report;
use crate::app::{BLOB, Pattern};
use crate::evidence::{Evidence, holds};
use crate::meetings::Meetings;
use crate::program::{self, Fetched};
use crate::stage::Stage;

const MEBIBYTES: u32 = 32;

pub(crate) fn transfer(stage: &Stage, meetings: &Meetings, evidence: &mut Evidence) -> Result<()> {
    let length = u64::from(MEBIBYTES) << 20;
    meetings.forget();
    let url = stage.url_v4(format!("{BLOB}{length}"));
    let (bytes, took) = match program::fetch(&stage.client, &url)? {
        Fetched::Body { bytes, took } => (bytes, took),
        Fetched::Nothing { said } => bail!("the client: expected {MEBIBYTES} MiB, got {said:?}"),
    };
    let mut expected = Vec::new();
    Pattern::new(length).read_to_end(&mut expected)?;
    // Not `same`: nobody wants to read the difference.
    holds(
        "the bytes",
        bytes == expected,
        "those that the server sent",
        format_args!("{} others", bytes.len()),
    )?;
    let rate = f64::from(MEBIBYTES) / took.as_secs_f64();
    evidence.add(
        format!("{MEBIBYTES} MiB from server to client"),
        format_args!("each byte the same; {rate:.0} MiB/s"),
    );
    let received = report(meetings, Direction::Outbound, &stage.client, url.address())?.transferred.received;
    holds(
        "bytes that the proxy has counted",
        received >= length,
        format_args!("{length} and a head"),
        received,
    )?;
    evidence.add("the proxy counted", format_args!("{received} bytes, with the head"));
    Ok(())
}
