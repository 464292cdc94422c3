//! Cases of `vectors/certificates.txt`, read.

use std::fmt;

/// What stands in one pair of brackets and under it.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) section: String,
    /// Which certificate, and what it says that the usual one does not.
    pub(crate) changes: Vec<(String, String)>,
    /// Which certificates are shown, if not the usual ones.
    pub(crate) shown: Option<Vec<String>>,
    pub(crate) verdict: String,
    pub(crate) strict: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ({})", self.name, self.section)
    }
}

pub(crate) fn cases(file: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            cases.push(Case { name: name.into(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().expect("a name before all else");
        let (key, value) = line.split_once(' ').expect("a key and a value");
        // Texts may begin with a space: only the columns are padded.
        match key {
            "section" => case.section = value.trim().into(),
            "verdict" => case.verdict = value.trim().into(),
            "strict" => case.strict = value.trim().into(),
            "shown" => case.shown = Some(value.split_whitespace().map(Into::into).collect()),
            "intermediate" => {
                let (name, change) = value.split_once(' ').unwrap_or((value, ""));
                case.changes.push((name.into(), change.into()));
            }
            subject => case.changes.push((subject.into(), value.into())),
        }
    }
    for case in &mut cases {
        assert!(!case.section.is_empty() && !case.verdict.is_empty(), "{case} is not whole");
        if case.strict.is_empty() {
            case.strict.clone_from(&case.verdict);
        }
    }
    cases
}
