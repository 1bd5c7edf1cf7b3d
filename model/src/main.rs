//! scratch
use trellis_model::check::*;
use trellis_model::world::*;
use trellis_model::*;
use trellis_spec::flaw::Flaw;
use trellis_spec::register::WriteMode;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let script = script::Script::parse(&args[1]).unwrap();
    let has = |x: &str| args.iter().any(|a| a == x);
    let val = |x: &str| {
        args.iter()
            .find_map(|a| a.strip_prefix(x))
            .map(|v| v.parse::<usize>().unwrap())
    };
    let mut w = World::new(script, val("n=").unwrap_or(3) as u8);
    if has("strict") {
        w.mode = WriteMode::Strict;
    }
    if has("inorder") {
        w.clocks = Clocks::InOrder;
    }
    if has("far") {
        w.restamp = Restamp::CloseOrFar;
    }
    if has("apart") {
        w.fusion = Fusion::Apart;
    }
    if has("unsorted") {
        w.sorted = false;
    }
    if has("body") {
        w.body = value::Body::Here;
        w.sorted = false;
    }
    if has("resend") {
        w.resend = Resend::Allowed;
    }
    if has("raw") {
        w.entropy = Entropy::Raw;
    }
    if has("guarded") {
        w.entropy = Entropy::Guarded;
    }
    if has("reuse") {
        w.stamps = Stamps::Reused;
    }
    if has("dirty") {
        w.disks = Disks::Dirty { crashes: 1 };
    }
    if has("grouped") {
        w.disks = Disks::Grouped { crashes: 1 };
    }
    if has("afterw") {
        w.witness = Witness::AfterWrites;
    }
    if has("afterr") {
        w.witness = Witness::AfterReads;
    }
    if has("page") {
        w.page_limit = 1;
    }
    if let Some(r) = val("r=") {
        w.retries = r as u8;
    }
    if let Some(f) = val("flaw=") {
        w.protocol = rules::without(FL[f]);
    }
    let s = if let Some(b) = val("bfs=") {
        Search::Nearest(b)
    } else if let Some(b) = val("walk=") {
        Search::Walks { seed: 1, states: b }
    } else {
        Search::Exhaustive
    };
    let t = std::time::Instant::now();
    let r = search(&w, s);
    println!(
        "unique {} depth {} complete {} never {:?} {:.1}s fail {:?}",
        r.unique,
        r.depth,
        r.complete,
        r.never,
        t.elapsed().as_secs_f32(),
        r.failure.as_ref().map(|f| f.0)
    );
    if let Some((_, path)) = r.failure {
        let mut names = Names::plain(w.replicas);
        for (st, act) in path.into_vec() {
            if let Some(a) = act {
                let (text, _, n) = w.step(&st, a, &names);
                println!("  {text}");
                names = n;
            } else {
                println!("{st:?}");
            }
        }
    }
}
use Flaw::*;
const FL: &[Flaw] = &[
    WriteBelowQuorum,
    ReadBelowQuorum,
    NoWriteBack,
    WriteBackBelowQuorum,
    WriteIgnoresPromise,
    WriteBackIgnoresPromise,
    AcceptIgnoresPromise,
    PrepareBelowQuorum,
    RefusesUnsettled,
    StrictWriteRetries,
    EarlierMajorityCounts,
    ForgetsOwnProposal,
    RepeatsReplacedProposal,
    SettleRenames,
    AcceptLeavesPromise,
    WriteIgnoresNewer,
    FilterBeforeMerge,
    ListingWithoutRepair,
    RepairLiveRowsOnly,
    MergeBeyondBound,
    ListingFromOne,
    GateUnchecked,
    ListBeforeGate,
    DeletionNotOwned,
];
