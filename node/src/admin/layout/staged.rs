//! Changes that were asked for and not made yet. They lie in a file of this node alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::{Layout, Member, Wanted};

use super::report::{Change, NewRole, Role, StagedReport};
use super::words::{listed, short};
use crate::config::Redundancy;
use crate::folder::NodeName;
use crate::secret_file::{self, SecretFileError};

const NAME_MAX_BYTES: usize = 64;
const TAGS_MAX: usize = 16;

/// Changes that were asked for and not made yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staged {
    /// What becomes of nodes.
    pub nodes: BTreeMap<NodeName, StagedNode>,
    /// Replicas of everything.
    pub replication_factor: Option<u8>,
    /// In how many zones.
    pub zone_redundancy: Option<Redundancy>,
}

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum StagedNode {
    /// It gets this role.
    Assign {
        /// Its zone.
        zone: String,
        /// What it does.
        role: Role,
        /// Words for people.
        tags: Vec<String>,
    },
    /// It leaves.
    Remove,
}

/// Why a change was not staged. What was staged before still is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StagedError {
    /// Nobody is called like that.
    #[error(
        "no node is known whose id begins with {0}. `trellis node list` shows all that are; to make another one known, run \
         `trellis node id` on it and then `trellis node connect ID@HOST:PORT` here"
    )]
    UnknownNode(String),
    /// Several are.
    #[error(
        "the ids of several nodes begin with {prefix}: {}; write more of it",
        listed(candidates)
    )]
    Ambiguous {
        /// What was written.
        prefix: String,
        /// Who may be meant.
        candidates: Vec<NodeName>,
    },
    /// It is the key of a node of the layout, with another disk.
    #[error(
        "node {} has the key of node {}, which the layout names with another disk; make a new node with `trellis node init` \
         in an empty folder, or stage the removal of the old one, apply, and try again",
        short(new),
        short(old)
    )]
    SameKey {
        /// Whom the layout names.
        old: NodeName,
        /// Who is to be assigned.
        new: NodeName,
    },
    /// A node without a role needs all of one.
    #[error("node {} has no role yet: say --zone ZONE and --capacity SIZE, or --gateway", short(.0))]
    Incomplete(NodeName),
    /// A node that is not in the layout cannot leave it.
    #[error("node {} has no role in the layout, so there is nothing to remove", short(.0))]
    NotAMember(NodeName),
    /// A node that has a role of its own cannot take another one's.
    #[error(
        "node {} has a role already; to replace a node by it, stage the removal of the old one, and give this one more \
         capacity with `trellis layout assign`",
        short(.0)
    )]
    HasRole(NodeName),
    /// A text is too long, or odd.
    #[error("{0:?} is not a name of 1 to {NAME_MAX_BYTES} bytes without control characters")]
    Name(String),
    /// There are too many tags.
    #[error("a node has at most {TAGS_MAX} tags")]
    Tags,
    /// Nothing would change.
    #[error("say what to change: --replication-factor N, --zone-redundancy K, or both")]
    Nothing,
}

impl Staged {
    /// What the file says; nothing if there is none.
    pub fn load(file: &Path) -> Result<Self, SecretFileError> {
        match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Staged::default()),
            Err(error) => Err(secret_file::failed(file)(error)),
            Ok(text) => serde_json::from_str(&text).map_err(|_| {
                secret_file::malformed(file, "staged changes of the layout; remove it, and stage them again")
            }),
        }
    }

    /// Writes the file.
    pub fn save(&self, file: &Path) -> Result<(), SecretFileError> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::from);
        secret_file::write_public(file, &text.map_err(secret_file::failed(file))?)
    }

    /// Whether nothing is staged.
    pub fn is_empty(&self) -> bool {
        *self == Staged::default()
    }

    /// Takes one change in. `known` are all nodes that it may name.
    pub fn take(&mut self, newest: &Layout, known: &BTreeSet<NodeName>, change: Change) -> Result<(), StagedError> {
        match change {
            Change::Assign { node, zone, role, tags } => {
                let name = self.find(known, &node)?;
                let assigned = self.assigned(newest, name, zone, role, tags)?;
                self.nodes.insert(name, assigned);
            }
            Change::Remove { node } => {
                let name = self.find(known, &node)?;
                let is_member = newest.member(name.id()).is_some();
                match self.nodes.remove(&name) {
                    Some(StagedNode::Assign { .. }) if !is_member => {}
                    _ if is_member => drop(self.nodes.insert(name, StagedNode::Remove)),
                    Some(StagedNode::Assign { .. } | StagedNode::Remove) | None => {
                        return Err(StagedError::NotAMember(name));
                    }
                }
            }
            Change::Replace { old, new } => self.replace(newest, self.find(known, &old)?, self.find(known, &new)?)?,
            Change::Config {
                replication_factor: None,
                zone_redundancy: None,
            } => return Err(StagedError::Nothing),
            Change::Config {
                replication_factor,
                zone_redundancy,
            } => {
                self.replication_factor = replication_factor.or(self.replication_factor);
                self.zone_redundancy = zone_redundancy.or(self.zone_redundancy);
            }
        }
        Ok(())
    }

    /// The new node becomes what the old one is, and the old one leaves.
    fn replace(&mut self, newest: &Layout, old: NodeName, new: NodeName) -> Result<(), StagedError> {
        let Some((zone, role, tags)) = self.before(newest, &old) else {
            return Err(StagedError::NotAMember(old));
        };
        if self.before(newest, &new).is_some() {
            return Err(StagedError::HasRole(new));
        }
        let assigned = self.assigned(newest, new, Some(zone), Some(role), Some(tags))?;
        self.nodes.insert(new, assigned);
        match newest.member(old.id()) {
            Some(_) => _ = self.nodes.insert(old, StagedNode::Remove),
            None => _ = self.nodes.remove(&old),
        }
        Ok(())
    }

    /// What is staged of a node, over what it is.
    fn before(&self, newest: &Layout, name: &NodeName) -> Option<(String, Role, Vec<String>)> {
        match self.nodes.get(name) {
            Some(StagedNode::Assign { zone, role, tags }) => Some((zone.clone(), *role, tags.clone())),
            Some(StagedNode::Remove) | None => newest
                .member(name.id())
                .map(|member| (member.zone.clone(), Role::of(member.role), member.tags.clone())),
        }
    }

    /// The node that is meant by a beginning of its id.
    pub(super) fn find(&self, known: &BTreeSet<NodeName>, prefix: &str) -> Result<NodeName, StagedError> {
        let all = known.iter().chain(self.nodes.keys());
        let meant: BTreeSet<NodeName> = all
            .filter(|name| name.to_string().starts_with(prefix))
            .copied()
            .collect();
        let mut meant = meant.into_iter();
        match (meant.next(), meant.next()) {
            (Some(name), None) if !prefix.is_empty() => Ok(name),
            (None, _) => Err(StagedError::UnknownNode(prefix.to_owned())),
            (Some(first), second) => Err(StagedError::Ambiguous {
                prefix: prefix.to_owned(),
                candidates: [first].into_iter().chain(second).chain(meant).collect(),
            }),
        }
    }

    /// What is given, over what is staged, over what is.
    fn assigned(
        &self,
        newest: &Layout,
        name: NodeName,
        zone: Option<String>,
        role: Option<Role>,
        tags: Option<Vec<String>>,
    ) -> Result<StagedNode, StagedError> {
        let same_key = |member: &&Member| member.key == name.key.0 && member.disk != name.disk;
        if let Some(old) = newest.members.iter().find(same_key).map(NodeName::of) {
            return Err(StagedError::SameKey { old, new: name });
        }
        let before = self.before(newest, &name);
        let (old_zone, old_role, old_tags) = match before {
            Some((zone, role, tags)) => (Some(zone), Some(role), tags),
            None => (None, None, Vec::new()),
        };
        let both = zone.or(old_zone).zip(role.or(old_role));
        let (zone, role) = both.ok_or(StagedError::Incomplete(name))?;
        let tags = tags.unwrap_or(old_tags);
        if tags.len() > TAGS_MAX {
            return Err(StagedError::Tags);
        }
        tags.iter().chain([&zone]).try_for_each(|text| check_name(text))?;
        Ok(StagedNode::Assign { zone, role, tags })
    }

    /// What the next layout is to provide.
    pub fn wanted(&self, newest: &Layout) -> Wanted {
        let stays = |member: &&Member| !self.nodes.contains_key(&NodeName::of(member));
        let mut members: Vec<Member> = newest.members.iter().filter(stays).cloned().collect();
        let assigned = self.nodes.iter().filter_map(|(name, node)| match node {
            StagedNode::Assign { zone, role, tags } => Some(Member {
                id: name.id(),
                key: name.key.0,
                disk: name.disk,
                zone: zone.clone(),
                role: role.in_layout(),
                tags: tags.clone(),
            }),
            StagedNode::Remove => None,
        });
        members.extend(assigned);
        Wanted {
            members,
            replication_factor: self.replication_factor.unwrap_or(newest.replication_factor),
            redundancy: self
                .zone_redundancy
                .map_or(newest.redundancy, |redundancy| redundancy.0),
        }
    }

    /// What is different from the layout that is.
    pub fn report(&self, newest: &Layout) -> StagedReport {
        let role = |(name, node): (&NodeName, &StagedNode)| match node.clone() {
            StagedNode::Assign { zone, role, tags } => NewRole::Assign {
                id: name.to_string(),
                zone,
                role,
                tags,
            },
            StagedNode::Remove => NewRole::Remove { id: name.to_string() },
        };
        StagedReport {
            nodes: self.nodes.iter().map(role).collect(),
            replication_factor: self.replication_factor.filter(|new| *new != newest.replication_factor),
            zone_redundancy: self.zone_redundancy.filter(|new| new.0 != newest.redundancy),
        }
    }
}

fn check_name(text: &str) -> Result<(), StagedError> {
    if text.is_empty() || text.len() > NAME_MAX_BYTES || text.chars().any(char::is_control) {
        return Err(StagedError::Name(text.to_owned()));
    }
    Ok(())
}
