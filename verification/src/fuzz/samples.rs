//! Valid messages, made by the program that reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Serialize;
use trellis_model::trace::Part;
use trellis_node::cluster::encode;
use trellis_node::folder::NodeName;
use trellis_node::link::PeerId;
use trellis_node::membership::{Book, Hint, Written};
use trellis_spec::gate::{Gate, GateState};
use trellis_spec::layout::{Layout, LayoutMark, LayoutVersion, Member, Partition, View, Wanted, initial, successor};
use trellis_spec::leaves::{Digest, Extent, Leaf, Tree};
use trellis_spec::listing::Scanned;
use trellis_spec::peer::{Answer, Call, Envelope};
use trellis_spec::register::{Accepted, Cell, Content, Fetch, OpId, Purpose, Reply, Request};
use trellis_spec::row::{
    Address, Block, BlockName, BlockReference, Body, Bucket, BucketId, BucketState, Grant, Inline, Object, PageRef,
    Row, UploadId, VersionId,
};
use trellis_spec::stamp::Stamp;
use trellis_spec::trace::MAGIC;

use super::repository;
use crate::simulation::{Scale, Setup, run_recorded};

/// Bytes of a trace that are mutated; a whole one is much longer.
const TRACE_MAX_BYTES: usize = 8 << 10;

fn encoded<T: Serialize>(values: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    values.into_iter().map(|value| encode(&value).to_vec()).collect()
}

fn object(body: Body) -> Object {
    Object {
        version: VersionId([4; 16]),
        modified_ms: 1_700_000_000_000,
        size: 5,
        etag: "5d41402abc4b2a76b9719d911017c592".to_owned(),
        headers: BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]),
        body,
    }
}

fn block() -> Block {
    Block {
        name: BlockName::of(b"hello"),
        length: 5,
    }
}

fn values() -> [Row; 4] {
    let inline = Inline {
        digest: BlockName::of(b"hello"),
        bytes: Some(b"hello".as_slice().into()),
    };
    let pages = PageRef {
        manifest: VersionId([4; 16]),
        page_bytes: vec![1 << 30, 5],
    };
    let bucket = Bucket {
        id: BucketId([2; 16]),
        name: "bucket".to_owned(),
        created_ms: 1,
        owner: "KEY".to_owned(),
        grants: BTreeMap::from([("GUEST".to_owned(), Grant::Read)]),
        shards: 1,
        state: BucketState::Active,
    };
    [
        Row::Object(object(Body::Inline(inline))),
        Row::Object(object(Body::Blocks(vec![block(); 3]))),
        Row::Object(object(Body::Paged(pages))),
        Row::Bucket(bucket),
    ]
}

fn accepted(content: Content<Row>) -> Accepted<Row> {
    Accepted {
        ballot: Stamp::new(1_700_000_000_000_000, 3),
        op: OpId([9; 16]),
        base: Some(Stamp::new(7, 2)),
        content,
    }
}

fn all_accepted() -> Vec<Accepted<Row>> {
    let contents = values().map(Content::Value).into_iter().chain([Content::Tombstone]);
    contents.map(accepted).collect()
}

fn reference() -> BlockReference {
    BlockReference {
        block: block().name,
        owner: Address::object(BucketId([2; 16]), 1, b"key"),
        version: VersionId([4; 16]),
        until: 1 << 50,
    }
}

fn some_leaves() -> Extent {
    Extent::Leaves([&b"key"[..], b"another"].map(Leaf::of).into_iter().collect())
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.add(b"key", &[&[9; 16]]);
    tree
}

pub(super) fn rows() -> Vec<Vec<u8>> {
    let cell = |accepted: Accepted<Row>| Cell {
        promised: accepted.ballot,
        accepted: Some(accepted),
    };
    let mut rows = encoded(all_accepted().into_iter().map(cell));
    rows.extend(encoded([reference()]));
    rows
}

pub(super) fn questions() -> Vec<Vec<u8>> {
    let key = Address::object(BucketId([2; 16]), 1, b"key").key;
    let requests = all_accepted().into_iter().flat_map(|accepted| {
        let ballot = accepted.ballot;
        let read = Request::Read(Fetch::Full);
        let prepare = Request::Prepare {
            ballot,
            purpose: Purpose::Propose,
        };
        [
            read,
            prepare,
            Request::Write(accepted.clone()),
            Request::Accept(accepted),
        ]
    });
    let row = |request| Call::Row {
        key: key.clone(),
        gate: Some(b"g".to_vec()),
        request,
    };
    let upload = UploadId([3; 16]);
    let calls = requests.map(row).chain([
        Call::Scan {
            from: key.clone(),
            to: upload.0.to_vec(),
            limit: 1000,
            gate: None,
        },
        Call::StoreBlock(reference()),
        Call::FetchBlock(block().name),
        Call::Pull {
            extent: some_leaves(),
            from: Some(key.clone()),
            limit: 10,
        },
        Call::Digest {
            tombstones_since_us: 1 << 50,
        },
        Call::Leaves(Digest([7; 8])),
        Call::PullReferences {
            extent: Extent::Everything,
            after: Some((block().name, VersionId([4; 16]))),
            limit: 10,
        },
        Call::Report(vec![b"key".to_vec()]),
        Call::Forget(vec![(b"key".to_vec(), Stamp::new(3, 4))]),
    ]);
    let envelope = |call| Envelope {
        partition: Partition(7),
        view: View {
            lo: LayoutVersion(1),
            hi: LayoutVersion(2),
        },
        newest: LayoutMark(9),
        call,
    };
    let mut questions = encoded(calls.map(envelope));
    // Tidings are private to the node, but this is how they are written: newest, its hash, epoch, heard,
    // layouts, dates, announcements.
    questions.extend(encoded([(
        0_u8,
        2_u64,
        [5_u8; 32],
        0_u64,
        77_u64,
        all_layouts(),
        [0_u8; 2],
    )]));
    questions
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let replies = all_accepted().into_iter().flat_map(|accepted| {
        let row = Reply::Row {
            accepted: Some(accepted.clone()),
        };
        [row, Reply::Nack { seen: accepted.ballot }]
    });
    let row = |reply| Answer::Row {
        reply,
        gate: Gate::Open,
    };
    let scanned = Scanned {
        rows: all_accepted()
            .into_iter()
            .map(|accepted| (b"key".to_vec(), accepted))
            .collect(),
        bound: Some(b"l".to_vec()),
        gate: GateState::default(),
    };
    let mut answers = encoded(
        replies
            .map(row)
            .chain([Answer::Scanned(scanned), Answer::Digest(Digest([7; 8]))])
            .chain([Answer::Leaves(None), Answer::Leaves(Some(tree()))])
            .chain([Answer::Reported(vec![Stamp::new(3, 4)]), Answer::Forgotten(1)]),
    );
    answers.extend(encoded([(0_u8, 2_u64, 77_u64, all_layouts(), Vec::<u8>::new())]));
    answers
}

fn member(node: u8) -> Member {
    Member::storage([node; 32], [node; 16], format!("zone {}", node % 3), 1 << 40)
}

fn all_layouts() -> Vec<Layout> {
    let first = initial((1..=4).map(member).collect(), 3, 8).expect("four nodes hold three replicas");
    let wanted = Wanted {
        members: (2..=6).map(member).collect(),
        replication_factor: 2,
        ..first.wanted()
    };
    let barred = BTreeMap::from([(Partition(1), BTreeSet::from([member(2).id]))]);
    let second = successor(&first, wanted, barred).expect("five nodes hold two replicas");
    vec![first, second]
}

pub(super) fn layouts() -> Vec<Vec<u8>> {
    encoded(all_layouts())
}

pub(super) fn frames() -> Vec<Vec<u8>> {
    let frame = |kind: u8, head: &[u8], body: &[u8]| {
        let lengths = [head, body].map(|part| u32::try_from(part.len()).unwrap_or_default().to_le_bytes());
        [&[kind][..], &7_u64.to_le_bytes(), &lengths[0], &lengths[1], head, body].concat()
    };
    let one = |frames: &[Vec<u8>]| [&[0][..], &frames.concat()].concat();
    let request = frame(1, b"question", b"block");
    let small = [
        frame(3, &[1; 8], b""),
        frame(4, b"", b""),
        frame(5, b"", b""),
        frame(6, b"", b""),
    ];
    vec![
        one(&[request.clone(), frame(2, b"answer", b"")]),
        one(&[small.as_slice(), &[request]].concat()),
        one(&[frame(2, b"", &[8; 5000])]),
    ]
}

pub(super) fn log() -> Vec<Vec<u8>> {
    trellis_node::fuzzing::logs()
}

pub(super) fn contacts() -> Vec<Vec<u8>> {
    let name = |node: u8| NodeName {
        key: PeerId([node; 32]),
        disk: [node; 16],
    };
    let open = |node| {
        let addresses = vec!["192.0.2.7:3901".to_owned(), "[2001:db8::1]:3901".to_owned()];
        Book::open(Written::default(), name(node), addresses, "host".to_owned(), Vec::new())
    };
    let mut book = open(1);
    book.hear(open(2).mine().clone());
    let hint = Hint {
        name: name(3),
        address: "three.example.org:3901".to_owned(),
    };
    book.introduce(hint).expect("this is an address");
    let written = serde_json::to_vec(&book.written()).expect("a book has only texts as keys");
    let mut contacts = encoded(book.contacts());
    contacts.extend([
        written,
        name(4).to_string().into_bytes(),
        block().name.to_string().into_bytes(),
    ]);
    contacts
}

/// The beginning of what a short run recorded, and a record of each kind that a longer one has.
pub(super) fn traces() -> Vec<Vec<u8>> {
    let mut setup = Setup::new(1, 1);
    setup.scale = Scale {
        safety_max_s: 2,
        ..Scale::default()
    };
    let (_, parts) = run_recorded(setup);
    let beginnings = parts.into_iter().take(2).map(|mut part| {
        part.bytes.truncate(TRACE_MAX_BYTES);
        part.bytes
    });
    let (_, longer) = run_recorded(Setup::new(2, 3));
    beginnings.chain(one_of_each_kind(&longer)).collect()
}

fn one_of_each_kind(parts: &[Part]) -> Vec<Vec<u8>> {
    let mut kinds = BTreeMap::new();
    for part in parts {
        let (mut rest, mut opening) = (part.bytes.get(MAGIC.len()..).unwrap_or_default(), None);
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (frame, next) = rest.split_at((length.len() + u32::from_le_bytes(*length) as usize).min(rest.len()));
            let opening = *opening.get_or_insert(frame);
            // A record begins with its kind.
            if let Some(kind) = behind.first().filter(|_| frame.len() <= TRACE_MAX_BYTES) {
                kinds
                    .entry(*kind)
                    .or_insert_with(|| [&MAGIC[..], opening, frame].concat());
            }
            rest = next;
        }
    }
    kinds.into_values().collect()
}

pub(super) fn scenarios() -> Vec<Vec<u8>> {
    let entries = fs::read_dir(repository().join("model/scenarios")).into_iter().flatten();
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.into_iter().filter_map(|file| fs::read(file).ok()).collect()
}

pub(super) fn configs() -> Vec<Vec<u8>> {
    fs::read(repository().join("deploy/trellis.example.toml"))
        .into_iter()
        .collect()
}
