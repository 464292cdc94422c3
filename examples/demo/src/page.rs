//! Page: how steps and facts look.

use std::io::{self, IsTerminal, Write};

use crate::evidence::Fact;

/// Width of a claim; what proves it begins in one column.
const CLAIM: usize = 44;

/// Where the story is written.
pub(crate) struct Page<W> {
    out: W,
    style: Style,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Coloured,
}

/// What a piece of text is, and so how it looks in colour (ECMA-48, SGR).
#[derive(Debug, Clone, Copy)]
enum Role {
    Heading,
    Check,
}

impl<W: Write + IsTerminal> Page<W> {
    /// Coloured on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn new(out: W) -> Self {
        let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let style = if out.is_terminal() && !declined { Style::Coloured } else { Style::Plain };
        Self { out, style }
    }
}

impl<W: Write> Page<W> {
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    pub(crate) fn heading(&mut self, number: usize, title: &str) -> io::Result<()> {
        let title = self.style.dress(Role::Heading, title);
        writeln!(self.out, "\n {number}  {title}")?;
        // A step takes a while; its title is there to be read meanwhile.
        self.out.flush()
    }

    pub(crate) fn fact(&mut self, Fact { claim, proof }: &Fact) -> io::Result<()> {
        let mark = self.style.dress(Role::Check, "✓");
        writeln!(self.out, "    {mark} {claim:<CLAIM$}  {proof}")
    }
}

impl Style {
    fn dress(self, role: Role, text: &str) -> String {
        let code = match role {
            Role::Heading => "1",
            Role::Check => "32",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(style: Style) -> String {
        let mut page = Page { out: Vec::new(), style };
        page.heading(1, "Title").unwrap();
        page.fact(&Fact { claim: "it is so".to_owned(), proof: "look".to_owned() }).unwrap();
        String::from_utf8(page.out).unwrap()
    }

    #[test]
    fn proofs_begin_in_one_column() {
        let claim = format!("{:<CLAIM$}", "it is so");
        assert_eq!(page(Style::Plain), format!("\n 1  Title\n    ✓ {claim}  look\n"));
    }

    #[test]
    fn colour_changes_nothing_else() {
        let coloured = page(Style::Coloured);
        let plain = ["\x1b[1m", "\x1b[32m", "\x1b[0m"];
        let plain = plain.iter().fold(coloured.clone(), |text, code| text.replace(code, ""));
        assert_ne!(coloured, plain);
        assert_eq!(plain, page(Style::Plain));
    }
}
