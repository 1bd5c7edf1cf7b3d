//! How results and errors are written.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

/// Writes to the standard output. Nobody may listen there any more, as in `trellis status | head -1`.
pub(super) fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes an error and what caused it, unless it says so itself, to the standard error.
pub(super) fn say_error(error: &(dyn Error + 'static)) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    let _ = writeln!(io::stderr(), "error: {text}");
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_path_for_one_word() {
        assert_eq!(quoted(Path::new("/var/lib/trellis-1")), "/var/lib/trellis-1");
        assert_eq!(quoted(Path::new("/my data")), "'/my data'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
