//! The example and the documentation must name every key with its default, and mistakes must be named.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::*;

const EXAMPLE: &str = include_str!("../../../deploy/trellis.example.toml");
const MANUAL: &str = include_str!("../../../docs/operate.md");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("node.toml")).map_err(|error| error.to_string())
}

/// Every key with a default, by its full name, as TOML writes its value.
fn defaults() -> BTreeMap<String, String> {
    fn collect(prefix: &str, value: &impl Serialize, into: &mut BTreeMap<String, String>) {
        let serde_json::Value::Object(keys) = serde_json::to_value(value).unwrap() else {
            panic!("{prefix} is a table");
        };
        for (key, value) in keys {
            let name = format!("{prefix}.{key}");
            if value.is_object() {
                collect(&name, &value, into);
            } else if !value.is_null() {
                into.insert(name, value.to_string());
            }
        }
    }
    let mut keys = BTreeMap::from([
        ("trace_max_bytes".to_owned(), trace_max_bytes().to_string()),
        ("trace_percent".to_owned(), trace_percent().to_string()),
    ]);
    collect("s3", &S3Config::default(), &mut keys);
    collect("links", &LinksConfig::default(), &mut keys);
    collect("log", &LogConfig::default(), &mut keys);
    collect("limits", &Limits::default(), &mut keys);
    collect("storage", &RowsConfig::default(), &mut keys);
    collect("blocks", &BlocksConfig::default(), &mut keys);
    keys
}

#[test]
fn the_example_names_every_key_with_its_default() {
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(example.s3, S3Config::default());
    let table: toml::Table = EXAMPLE.parse().unwrap();
    for (key, default) in defaults() {
        let mut found = &toml::Value::Table(table.clone());
        for part in key.split('.') {
            found = found
                .get(part)
                .unwrap_or_else(|| panic!("the example does not name {key}"));
        }
        assert_eq!(serde_json::to_value(found).unwrap().to_string(), default, "{key}");
    }
}

fn is_number(text: &str) -> bool {
    text.trim().parse::<u64>().is_ok()
}

#[test]
fn the_manual_lists_every_number_with_its_default() {
    let numbers = defaults().into_iter().filter(|(_, value)| is_number(value));
    let numbers: Vec<(String, String)> = numbers.collect();
    assert!(numbers.len() > 30, "{numbers:?}");
    for (key, default) in &numbers {
        let row = format!("| `{key}` | {default} |");
        assert!(MANUAL.contains(&row), "docs/operate.md has no row {row}");
    }
    let is_limit = |line: &&str| line.starts_with("| `") && line.split('|').nth(2).is_some_and(is_number);
    let listed = MANUAL.lines().filter(is_limit).count();
    assert_eq!(listed, numbers.len(), "docs/operate.md lists a limit that there is not");
}

#[test]
fn no_number_is_without_bounds() {
    for (key, _) in defaults().into_iter().filter(|(_, value)| is_number(value)) {
        let name = key.rsplit('.').next().unwrap();
        let set = |line: &str| match line.strip_prefix(name) {
            Some(rest) if rest.starts_with(" = ") => format!("{name} = {}", i64::MAX),
            Some(_) | None => line.to_owned(),
        };
        let changed: Vec<String> = EXAMPLE.lines().map(set).collect();
        let error = parse(&changed.join("\n")).unwrap_err();
        assert!(error.contains(&key), "{error}");
    }
}

#[test]
fn a_misspelt_key_is_named_with_its_line() {
    let typo = EXAMPLE.replace("\nhedge_ms", "\nhegde_ms");
    let line = typo.lines().position(|line| line.starts_with("hegde_ms")).unwrap() + 1;
    let error = parse(&typo).unwrap_err();
    assert!(error.contains("node.toml"), "{error}");
    assert!(error.contains(&format!("line {line}")), "{error}");
    assert!(error.contains("unknown field `hegde_ms`"), "{error}");
}

#[test]
fn values_that_make_no_sense_are_named() {
    for (from, to, names) in [
        (
            "block_bytes = 1_048_576",
            "block_bytes = 5_000_000",
            "limits.block_bytes",
        ),
        ("beat_interval_ms = 400", "beat_interval_ms = 1_500", "beat_interval_ms"),
        ("reconnect_min_ms = 20", "reconnect_min_ms = 3_000", "reconnect_min_ms"),
        ("replication_factor = 3", "replication_factor = 4", "replication_factor"),
        (
            "zone_redundancy = \"maximum\"",
            "zone_redundancy = 4",
            "zone_redundancy",
        ),
        ("zone_redundancy = \"maximum\"", "zone_redundancy = \"most\"", "line"),
        ("partitions = 256", "partitions = 100", "initial_layout.partitions"),
        ("filter = \"info\"", "filter = \"trellis=loud\"", "log.filter"),
        ("region = \"us-east-1\"", "region = \"\"", "s3.region"),
        (
            "home.example.org:3901",
            "home.example.org",
            "initial_layout.nodes.address",
        ),
        (
            "upload_window_blocks = 8",
            "upload_window_blocks = 0",
            "limits.upload_window_blocks",
        ),
        ("format = \"human\"", "format = \"loud\"", "line"),
    ] {
        let changed = EXAMPLE.replace(from, to);
        assert_ne!(changed, EXAMPLE, "the example has no {from}");
        let error = parse(&changed).unwrap_err();
        assert!(error.contains(names), "{to}: {error}");
    }
}

#[test]
fn block_folders_have_paths_and_capacities() {
    let with = |folders: &str| parse(&format!("{EXAMPLE}\n{folders}"));
    let folder = |capacity: &str| format!("[[block_folder]]\npath = \"/mnt/a\"\ncapacity = {capacity}\n");
    assert_eq!(parse(EXAMPLE).unwrap().block_folder, []);
    let config = with(&(folder("\"2TB\"") + &folder("1_000"))).unwrap();
    let capacities = config.block_folder.iter().map(|folder| folder.capacity.0);
    assert_eq!(capacities.collect::<Vec<_>>(), [2_000_000_000_000, 1_000]);
    for (capacity, says) in [("\"2T\"", "500GB, 2TB"), ("-1", "500GB, 2TB"), ("\"0\"", "some folder")] {
        let error = with(&folder(capacity)).unwrap_err();
        assert!(error.contains("capacity") && error.contains(says), "{error}");
    }
    let error = with("[[block_folder]]\npath = \"/mnt/a\"\n").unwrap_err();
    assert!(error.contains("missing field `capacity`"), "{error}");
}

#[test]
fn paths_start_at_the_folder_of_the_configuration() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("node.toml");
    let text = EXAMPLE.replace("\"/var/lib/trellis\"", "\"data\"");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.data_folder, home.path().join("data"));
    assert_eq!(config.trace, None, "nothing is recorded unless somebody asks");
    let secret = config.cluster_secret_file.unwrap();
    assert_eq!(secret, Path::new("/etc/trellis/cluster.secret"), "absolute paths stay");
}
