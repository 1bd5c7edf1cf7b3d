//! Scans give every key once, in byte order, and exactly those that are there.

use std::ops::Bound;

use super::{Bench, Finding, Suite, ok, same};
use crate::listing::{Entry, Query, list_objects};
use crate::scan::{Scan, UploadBound};
use crate::store::ObjectStore;

pub(super) async fn run<S: ObjectStore>(suite: &mut Suite<'_, S>) {
    suite.case("any key is kept", odd_keys).await;
    suite.case("scans are ordered", ordered).await;
    suite.case("scans see writes and deletes", fresh).await;
    suite.case("scans pass over what is gone", sparse).await;
}

async fn odd_keys<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let long = "\u{e9}".repeat(512);
    let mut names = vec![
        "/",
        "//",
        "//a",
        ".",
        "..",
        "../a",
        "a",
        "a/",
        "a//b",
        "a\u{0}b",
        "a\nb",
        " ",
        "%2f",
        "a+b",
        "?x=y",
        "#",
        "<&>\"'",
        "\u{7f}",
        "\u{ff}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{10000}",
        "\u{10ffff}",
        "\u{1f333}",
        "e\u{301}",
        "\u{e9}",
        long.as_str(),
    ];
    for name in &names {
        ok(
            &format!("write {name:?}"),
            bench.put(name, name.as_bytes().to_vec()).await,
        )?;
    }
    for name in &names {
        let bytes = ok(&format!("read {name:?}"), bench.get(name).await)?;
        same("bytes", bytes, name.as_bytes().to_vec())?;
    }
    names.sort_unstable();
    for limit in [1, 7, 1000] {
        same(
            "keys in byte order",
            ok("list", bench.keys("", limit).await)?,
            owned(&names),
        )?;
    }
    Ok(())
}

async fn ordered<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let names = ["a", "a/1", "a/2", "a0", "b", "b/1", "c"];
    for name in names.iter().rev() {
        ok("write", bench.put(name, *name).await)?;
    }
    same("everything", ok("list", bench.keys("", 2).await)?, owned(&names))?;
    same(
        "a prefix",
        ok("list", bench.keys("a/", 1).await)?,
        owned(&["a/1", "a/2"]),
    )?;
    same("an unused prefix", ok("list", bench.keys("x", 10).await)?, Vec::new())?;
    let bound = |key: &str| key.to_owned();
    let cases: [(&str, Bound<String>, &[&str]); 6] = [
        ("", Bound::Included(bound("a0")), &["a0", "b", "b/1", "c"]),
        ("", Bound::Excluded(bound("a0")), &["b", "b/1", "c"]),
        ("", Bound::Excluded(bound("a1")), &["b", "b/1", "c"]),
        ("b", Bound::Excluded(bound("a")), &["b", "b/1"]),
        ("a/", Bound::Excluded(bound("a/1")), &["a/2"]),
        ("a", Bound::Excluded(bound("c")), &[]),
    ];
    for (prefix, from, wanted) in cases {
        let scan = Scan {
            prefix: prefix.to_owned(),
            from,
            limit: 100,
        };
        let what = format!("{scan:?}");
        let page = ok(&what, bench.store.scan(&bench.bucket, scan).await)?;
        let keys: Vec<String> = page.entries.iter().map(|entry| entry.key.as_str().to_owned()).collect();
        same(&what, keys, owned(wanted))?;
    }
    Ok(())
}

async fn fresh<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    let mut present: Vec<String> = Vec::new();
    for step in 0..30_usize {
        let name = format!("key-{:02}", step * 7 % 10);
        if let Ok(place) = present.binary_search(&name) {
            ok("delete", bench.delete(&name).await)?;
            present.remove(place);
        } else {
            let written = ok("write", bench.put(&name, name.clone()).await)?;
            present.insert(present.partition_point(|other| *other < name), name.clone());
            let scan = Scan {
                prefix: name,
                from: Bound::Unbounded,
                limit: 1,
            };
            let page = ok("list", bench.store.scan(&bench.bucket, scan).await)?;
            let line = page
                .entries
                .first()
                .map(|entry| (entry.size, entry.etag.clone(), entry.modified));
            same(
                "the line of the listing",
                line,
                Some((written.size, written.etag, written.modified)),
            )?;
        }
        same("keys", ok("list", bench.keys("", 3).await)?, present.clone())?;
    }
    Ok(())
}

/// A store may remember what was deleted, so that whole pages of a scan are empty and yet not the last.
async fn sparse<S: ObjectStore>(bench: Bench<'_, S>) -> Finding {
    const KEYS: usize = 40;
    const STEP: usize = 13;
    let name = |number: usize| format!("folder-{}/{number:02}", number / 20);
    for number in 0..KEYS {
        ok("write", bench.put(&name(number), "x").await)?;
    }
    for number in (0..KEYS).filter(|number| number % STEP != STEP - 1) {
        ok("delete", bench.delete(&name(number)).await)?;
    }
    let left: Vec<String> = (0..KEYS).filter(|number| number % STEP == STEP - 1).map(name).collect();
    for limit in [1, 2, 5] {
        same("keys", ok("scan", bench.keys("", limit).await)?, left.clone())?;
        let page = |delimiter: Option<&str>| Query {
            prefix: String::new(),
            delimiter: delimiter.map(str::to_owned),
            from: UploadBound::Key(Bound::Unbounded),
            limit,
        };
        let listing = ok("list", list_objects(bench.store, &bench.bucket, page(None)).await)?;
        let names: Vec<String> = listing.entries.iter().map(|entry| entry.name().to_owned()).collect();
        same("a page", names, left.iter().take(limit).cloned().collect())?;
        same("more follows", listing.truncated, limit < left.len())?;
        let folded = ok("fold", list_objects(bench.store, &bench.bucket, page(Some("/"))).await)?;
        let folders: Vec<&str> = folded.entries.iter().filter_map(Entry::prefix).collect();
        let wanted: Vec<&str> = ["folder-0/", "folder-1/"].into_iter().take(limit).collect();
        same("folders", (folders, folded.truncated), (wanted, limit < 2))?;
    }
    Ok(())
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
