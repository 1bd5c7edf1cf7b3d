//! What a reader should never meet in this repository, and what must be where a document says.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::path::{Path, PathBuf};

/// Longer files hide a second noun.
const LINES_MAX: usize = 500;

/// Files that are longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Folders that are not ours to judge.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// Words split in two, so that this file does not contain them.
const FORBIDDEN_IN_CODE: [(&str, &str); 5] = [
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[ign", "ore"),
    ("// TO", "DO"),
    ("// FIX", "ME"),
];
const MACHINE_PATHS: [(&str, &str); 3] = [("/ro", "ot/"), ("/ho", "me/"), ("/wo", "rk/")];

/// Everything untidy about one file, named by its path from the root of the repository.
fn untidy(path: &str, text: &str, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if path.ends_with(".rs") {
        found.extend(containing(text, &FORBIDDEN_IN_CODE));
        found.extend(too_long(path, text));
        found.extend(glob_imports(path, text));
    }
    found.extend(containing(text, &MACHINE_PATHS));
    if path.ends_with(".md") {
        found.extend(dead_links(path, text, root));
    }
    found.into_iter().map(|what| format!("{path}: {what}")).collect()
}

fn containing(text: &str, words: &[(&str, &str)]) -> Vec<String> {
    let words = words.iter().map(|(start, end)| format!("{start}{end}"));
    words
        .filter(|word| text.contains(word))
        .map(|word| format!("contains {word}"))
        .collect()
}

fn too_long(path: &str, text: &str) -> Option<String> {
    let (lines, excuse) = (text.lines().count(), LONG_FILES.iter().find(|(name, _)| *name == path));
    match (lines > LINES_MAX, excuse) {
        (true, None) => Some(format!(
            "has {lines} lines, more than {LINES_MAX}, and no reason is given"
        )),
        (false, Some(_)) => Some("has become short and needs no excuse any more".to_owned()),
        (true, Some(_)) | (false, None) => None,
    }
}

/// Names arrive one by one, but for a test that looks at its own module or needs a prelude.
fn glob_imports(path: &str, text: &str) -> Option<String> {
    let is_test_file = path.contains("/tests/") || path.ends_with("/tests.rs");
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let is_glob = |line: &&str| line.trim_start().starts_with("use ") && line.ends_with("::*;");
    let first = before_tests.lines().find(is_glob).filter(|_| !is_test_file)?;
    Some(format!("imports without naming: {first}"))
}

/// Relative links of a document whose file does not exist.
fn dead_links(path: &str, text: &str, root: &Path) -> Vec<String> {
    let folder = root.join(path).parent().map(Path::to_owned).unwrap_or_default();
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    let files = files
        .filter_map(|target| target.split('#').next())
        .filter(|file| !file.is_empty());
    files
        .filter(|file| !folder.join(file).exists())
        .map(|file| format!("links to {file}, which is not there"))
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file below a folder, with its path from the root.
fn files(folder: &Path, root: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files(&path, root, found);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            found.push((path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text));
        }
    }
}

#[test]
fn the_repository_is_tidy() {
    let (root, mut all) = (root(), Vec::new());
    files(&root, &root, &mut all);
    assert!(
        all.iter().any(|(path, _)| path == "verification/tests/tidy.rs"),
        "the walk misses files"
    );
    let untidy: Vec<String> = all.iter().flat_map(|(path, text)| untidy(path, text, &root)).collect();
    assert!(untidy.is_empty(), "{}", untidy.join("\n"));
    for (path, reason) in LONG_FILES {
        assert!(
            root.join(path).exists() && !reason.is_empty(),
            "{path} is excused but not there"
        );
    }
}

#[test]
fn untidiness_is_found() {
    let (root, word) = (root(), |(start, end): (&str, &str)| format!("{start}{end}"));
    for forbidden in FORBIDDEN_IN_CODE.map(word) {
        assert_eq!(untidy("x/src/a.rs", &forbidden, &root).len(), 1);
    }
    for path in MACHINE_PATHS.map(word) {
        assert_eq!(untidy("README.md", &path, &root).len(), 1);
    }
    assert_eq!(untidy("x/src/a.rs", &"\n".repeat(LINES_MAX + 1), &root).len(), 1);
    assert_eq!(untidy("x/src/a.rs", "use crate::b::*;\n", &root).len(), 1);
    assert_eq!(
        untidy("x/src/a.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}", &root).len(),
        0
    );
    assert_eq!(
        untidy("README.md", "[a](deny.toml) [b](https://example.org/x)", &root).len(),
        0
    );
    assert_eq!(untidy("verification/x.md", "[a](deny.toml#licences)", &root).len(), 1);
    assert_eq!(
        untidy("verification/x.md", "[a](../deny.toml#licences)", &root).len(),
        0
    );
}
