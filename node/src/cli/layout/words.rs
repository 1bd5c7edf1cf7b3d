//! Small pieces of what is said about layouts.

use trellis_spec::layout::assign::ZoneRedundancy;

use crate::admin::layout::Role;
use crate::cli::output::bytes;
use crate::config::Redundancy;

/// What a node does.
pub(super) fn role(role: Role) -> String {
    match role {
        Role::Storage { capacity_bytes } => bytes(capacity_bytes),
        Role::Gateway => "gateway".to_owned(),
    }
}

/// How everything is kept.
pub(super) fn keeping(replication_factor: u8, redundancy: Redundancy) -> String {
    let zones = match redundancy.0 {
        ZoneRedundancy::Maximum => "as many zones as there are".to_owned(),
        ZoneRedundancy::AtLeast(1) => "any zones".to_owned(),
        ZoneRedundancy::AtLeast(zones) => format!("at least {zones} zones"),
    };
    format!(
        "{}, in {zones}",
        counted(u64::from(replication_factor), "replica", "replicas")
    )
}

/// A number and what it counts.
pub(super) fn counted(count: u64, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    }
}

/// How a number changes.
pub(super) fn change(gains: u64, loses: u64) -> String {
    match (gains, loses) {
        (0, 0) => "-".to_owned(),
        (gains, 0) => format!("+{gains}"),
        (0, loses) => format!("-{loses}"),
        (gains, loses) => format!("+{gains} -{loses}"),
    }
}
