//! Scripts: what the clients of a world do.
//!
//! `W|INM|RR` is three clients in parallel: one writes, one creates if nothing is there, one reads twice. `;` separates
//! operations of one client where letters alone would not do.

use std::fmt;

use crate::value::{Condition, Key, OpIndex};

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `W`: an unconditional write.
    Write,
    /// `DEL`: an unconditional delete.
    Delete,
    /// `INM`, `IM`, `ANY`: a conditional write.
    Put(Condition),
    /// `CDEL`: a conditional delete.
    Remove(Condition),
    /// `AGAIN0`: operation 0, sent once more to another coordinator, under the same operation id.
    Again(OpIndex),
    /// `R`: a read.
    Read,
    /// `H`: a read of the head.
    Head,
    /// `LIST`: a listing of all objects, page by page.
    List,
    /// `DROP`: a deletion of the bucket.
    DropBucket,
    /// `ELECT`: a candidate stands for the next layout.
    Elect,
}

/// One operation of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deed {
    /// Who.
    pub client: u8,
    /// What.
    pub kind: Kind,
    /// On which object.
    pub key: Key,
}

/// All operations of all clients. Those of one client follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// In the order in which they are written.
    pub deeds: Vec<Deed>,
    text: String,
}

/// Why a script could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError(String);

impl Script {
    /// Reads the notation. `@1` behind an operation names the object with key 1; without it, it is key 0.
    pub fn parse(text: &str) -> Result<Script, ScriptError> {
        let mut deeds = Vec::new();
        for (client, line) in (0u8..).zip(text.split('|')) {
            for word in line.split(';') {
                let (name, key) = word.split_once('@').unwrap_or((word, "0"));
                let key = Key(number(key)?);
                for kind in kinds(name.trim())? {
                    deeds.push(Deed { client, kind, key });
                }
            }
        }
        aim(&mut deeds);
        for (op, deed) in deeds.iter().enumerate() {
            if matches!(deed.kind, Kind::Again(first) if usize::from(first.0) >= op) {
                return Err(ScriptError("only an earlier operation can be sent again".to_owned()));
            }
        }
        Ok(Script {
            deeds,
            text: text.to_owned(),
        })
    }

    /// What an operation does, whoever carries it out.
    pub fn kind(&self, op: OpIndex) -> Kind {
        self.deeds[usize::from(self.author(op).0)].kind
    }

    /// The operation whose value an operation writes: itself, but for one that is sent again.
    pub fn author(&self, op: OpIndex) -> OpIndex {
        if let Kind::Again(first) = self.deeds[usize::from(op.0)].kind {
            self.author(first)
        } else {
            op
        }
    }

    /// How many objects there are.
    pub fn keys(&self) -> u8 {
        self.deeds.iter().map(|deed| deed.key.0 + 1).max().unwrap_or(1)
    }

    /// Is it about the next layout?
    pub fn is_election(&self) -> bool {
        self.deeds.iter().any(|deed| deed.kind == Kind::Elect)
    }

    /// Does anybody delete the bucket?
    pub fn has_gate(&self) -> bool {
        self.deeds.iter().any(|deed| deed.kind == Kind::DropBucket)
    }
}

impl Kind {
    /// Does the operation need a stamp of its own from the beginning?
    pub fn is_stamped(self) -> bool {
        match self {
            Kind::Write | Kind::Delete | Kind::Put(_) | Kind::Remove(_) => true,
            Kind::Again(_) | Kind::DropBucket | Kind::Elect => true,
            Kind::Read | Kind::Head | Kind::List => false,
        }
    }
}

fn kinds(name: &str) -> Result<Vec<Kind>, ScriptError> {
    let unaimed = Condition::WrittenBy(OpIndex(u8::MAX));
    Ok(match name {
        "W" => vec![Kind::Write],
        "DEL" => vec![Kind::Delete],
        "INM" => vec![Kind::Put(Condition::Absent)],
        "IM" => vec![Kind::Put(unaimed)],
        "ANY" => vec![Kind::Put(Condition::Present)],
        "CDEL" => vec![Kind::Remove(unaimed)],
        "LIST" => vec![Kind::List],
        "DROP" => vec![Kind::DropBucket],
        "ELECT" => vec![Kind::Elect],
        "H" => vec![Kind::Head],
        _ if !name.is_empty() && name.bytes().all(|letter| letter == b'R') => vec![Kind::Read; name.len()],
        _ => match name.strip_prefix("AGAIN") {
            Some(first) => vec![Kind::Again(OpIndex(number(first)?))],
            None => return Err(ScriptError(format!("`{name}` is no operation"))),
        },
    })
}

/// `IM` and `CDEL` ask for the value of the first other operation of the script that writes one.
fn aim(deeds: &mut [Deed]) {
    let writes = |deed: &Deed| matches!(deed.kind, Kind::Write | Kind::Put(_));
    let writers: Vec<u8> = (0u8..)
        .zip(deeds.iter())
        .filter(|(_, deed)| writes(deed))
        .map(|(op, _)| op)
        .collect();
    for (op, deed) in (0u8..).zip(deeds.iter_mut()) {
        if let Kind::Put(condition @ Condition::WrittenBy(_)) | Kind::Remove(condition @ Condition::WrittenBy(_)) =
            &mut deed.kind
        {
            let target = writers.iter().copied().find(|writer| *writer != op).unwrap_or(op);
            *condition = Condition::WrittenBy(OpIndex(target));
        }
    }
}

fn number(text: &str) -> Result<u8, ScriptError> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| *number < 16)
        .ok_or_else(|| ScriptError(format!("`{text}` is no number below 16")))
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScriptError {}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Write => f.write_str("write"),
            Kind::Delete => f.write_str("delete"),
            Kind::Put(Condition::Absent) => f.write_str("write if absent"),
            Kind::Put(Condition::Present) => f.write_str("write if present"),
            Kind::Put(Condition::WrittenBy(op)) => write!(f, "write if it is #{}'s", op.0),
            Kind::Remove(Condition::Absent) => f.write_str("delete if absent"),
            Kind::Remove(Condition::Present) => f.write_str("delete if present"),
            Kind::Remove(Condition::WrittenBy(op)) => write!(f, "delete if it is #{}'s", op.0),
            Kind::Again(op) => write!(f, "#{} again at another coordinator", op.0),
            Kind::Read => f.write_str("read"),
            Kind::Head => f.write_str("read the head"),
            Kind::List => f.write_str("list"),
            Kind::DropBucket => f.write_str("delete the bucket"),
            Kind::Elect => f.write_str("stand for election"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_read() {
        let script = Script::parse("W|IM|RR|DEL@1;AGAIN1").unwrap();
        let kinds: Vec<Kind> = script.deeds.iter().map(|deed| deed.kind).collect();
        let aimed = Kind::Put(Condition::WrittenBy(OpIndex(0)));
        assert_eq!(
            kinds,
            [
                Kind::Write,
                aimed,
                Kind::Read,
                Kind::Read,
                Kind::Delete,
                Kind::Again(OpIndex(1))
            ]
        );
        assert_eq!((script.keys(), script.deeds[4].client), (2, 3));
        assert_eq!(script.kind(OpIndex(5)), aimed);
        assert!(Script::parse("W|X").is_err() && Script::parse("AGAIN0").is_err());
    }
}
