//! The results as text.

use std::fmt;

use crate::metric::Metric;
use crate::results::{RATIOS, Results};
use crate::stats::Spread;

/// One line for each figure: medians with their smallest and largest, then the ratios.
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a Results);

const LABEL: usize = 22;
const COLUMN: usize = 24;

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contenders = self.0.contenders();
        let ratios: Vec<_> = RATIOS
            .into_iter()
            .filter(|(name, base)| contenders.contains(name) && contenders.contains(base))
            .collect();
        let mut header = format!("{:LABEL$} {:4}", "median (min-max)", "is");
        for name in &contenders {
            header += &format!("  {:COLUMN$}", name.to_string());
        }
        for (name, base) in &ratios {
            header += &format!("  {:COLUMN$}", format!("{name}/{base}"));
        }
        writeln!(f, "{}", header.trim_end())?;
        for metric in Metric::ALL {
            let figures: Vec<_> = contenders.iter().map(|name| self.0.spread(*name, metric)).collect();
            if figures.iter().all(Option::is_none) {
                continue;
            }
            let mut line = format!("{metric:LABEL$} {:4}", metric.better());
            let compared = ratios.iter().map(|(name, base)| self.0.ratio(*name, *base, metric));
            for spread in figures.into_iter().chain(compared) {
                line += &format!("  {:COLUMN$}", spread.map(text).unwrap_or_else(|| "-".to_owned()));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn text(Spread { median, min, max }: Spread) -> String {
    format!("{} ({}-{})", figure(median), figure(min), figure(max))
}

/// Three digits that matter.
pub(crate) fn figure(value: f64) -> String {
    match value {
        100_000.0.. => format!("{:.0}k", value / 1e3),
        10_000.0.. => format!("{:.1}k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Name;
    use crate::results::Figures;

    #[test]
    fn three_digits_matter() {
        let texts = [168_432.0, 33_612.0, 7250.0, 110.4, 34.06, 1.804, 0.8512, 0.0].map(figure);
        assert_eq!(texts, ["168k", "33.6k", "7250", "110", "34.1", "1.80", "0.851", "0.000"]);
    }

    #[test]
    fn the_whole_table() {
        let mut results = Results::default();
        for (round, ours) in [(0, 60_000.0), (1, 50_000.0), (2, 55_000.0)] {
            results.add(round, Name::Direct, Figures::from([(Metric::Requests, 100_000.0)]));
            let figures = Figures::from([(Metric::Requests, ours), (Metric::RequestCpu, 17.5)]);
            results.add(round, Name::Ours, figures);
        }
        let expected = "\
median (min-max)       is    direct                    ours                      ours/direct
requests/s             more  100k (100k-100k)          55.0k (50.0k-60.0k)       0.550 (0.500-0.600)
proxy us/request       less  -                         17.5 (17.5-17.5)          -
";
        assert_eq!(Table(&results).to_string(), expected);
    }
}
