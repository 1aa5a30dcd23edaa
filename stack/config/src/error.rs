//! What is wrong with a configuration, and where.

use crate::read::Problems;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// All that is wrong with one configuration text: at least one problem.
///
/// Displays as one line per problem, `file:line:column: key: sentence`; as a [`Diagnostic`] each problem shows its snippet.
#[derive(Debug)]
pub struct ConfigError {
    file: String,
    problems: Vec<Problem>,
}

/// One thing that is wrong, with its place in the text.
#[derive(Debug)]
pub struct Problem {
    source: Arc<NamedSource<String>>,
    span: Range<usize>,
    line: usize,
    column: usize,
    key: String,
    message: String,
    help: Option<String>,
}

impl ConfigError {
    pub(crate) fn new(source: &Arc<NamedSource<String>>, text: &str, found: Problems) -> Self {
        let mut problems: Vec<Problem> = found
            .list
            .into_iter()
            .map(|raw| {
                let (line, column) = position(text, raw.span.start);
                let source = Arc::clone(source);
                Problem { source, span: raw.span, line, column, key: raw.key, message: raw.message, help: raw.help }
            })
            .collect();
        problems.sort_by_key(|problem| problem.span.start);
        Self { file: source.name().to_owned(), problems }
    }

    /// The problems, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems, each by itself a [`Diagnostic`] that can be rendered.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// The name of the file they are in.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl Problem {
    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// The path of the key, such as `route[0].backends[1]`; empty for a text that is no TOML.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, as a sentence that goes on from the key.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The key and the sentence, without the place.
    fn headline(&self) -> String {
        if self.key.is_empty() { self.message.clone() } else { format!("{}: {}", self.key, self.message) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.problems.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{}:{}: {}", self.file, problem.line, problem.column, problem.headline())?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_primary_with_span(Some("here".to_owned()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Line and column, both from 1, of the byte `offset`; the column counts characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one_and_in_characters() {
        for (text, offset, expected) in [
            ("", 0, (1, 1)),
            ("abc", 2, (1, 3)),
            ("a\nbc", 3, (2, 2)),
            ("é = 1", 3, (1, 3)),
            ("a\n", 2, (2, 1)),
            ("abc", 99, (1, 4)),
        ] {
            assert_eq!(position(text, offset), expected, "{text:?} at {offset}");
        }
    }
}
