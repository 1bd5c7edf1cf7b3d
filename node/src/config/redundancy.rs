//! In how many zones everything is to be, as people write it: a number, or `maximum`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trellis_spec::layout::assign::ZoneRedundancy;

const MAXIMUM: &str = "maximum";

/// Zones per partition: at least so many, or as many as there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Redundancy(pub ZoneRedundancy);

/// Neither a number nor the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("zone redundancy is a number of zones, or \"{MAXIMUM}\" for as many as there are")]
pub struct NotARedundancy;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Zones(u8),
    Word(String),
}

impl Default for Redundancy {
    fn default() -> Self {
        Redundancy(ZoneRedundancy::Maximum)
    }
}

impl fmt::Display for Redundancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ZoneRedundancy::Maximum => f.write_str(MAXIMUM),
            ZoneRedundancy::AtLeast(zones) => zones.fmt(f),
        }
    }
}

impl FromStr for Redundancy {
    type Err = NotARedundancy;

    fn from_str(text: &str) -> Result<Self, NotARedundancy> {
        if text == MAXIMUM {
            return Ok(Redundancy(ZoneRedundancy::Maximum));
        }
        let zones = text.parse().map_err(|_| NotARedundancy)?;
        Ok(Redundancy(ZoneRedundancy::AtLeast(zones)))
    }
}

impl TryFrom<Written> for Redundancy {
    type Error = NotARedundancy;

    fn try_from(written: Written) -> Result<Self, NotARedundancy> {
        match written {
            Written::Zones(zones) => Ok(Redundancy(ZoneRedundancy::AtLeast(zones))),
            Written::Word(word) if word == MAXIMUM => Ok(Redundancy::default()),
            Written::Word(_) => Err(NotARedundancy),
        }
    }
}

impl From<Redundancy> for Written {
    fn from(redundancy: Redundancy) -> Self {
        match redundancy.0 {
            ZoneRedundancy::Maximum => Written::Word(MAXIMUM.to_owned()),
            ZoneRedundancy::AtLeast(zones) => Written::Zones(zones),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redundancy_reads_back_as_written() {
        for (text, json) in [("maximum", "\"maximum\""), ("2", "2")] {
            let read: Redundancy = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert_eq!(serde_json::from_str::<Redundancy>(json).unwrap(), read);
        }
        assert_eq!("most".parse::<Redundancy>(), Err(NotARedundancy));
        assert!(serde_json::from_str::<Redundancy>("\"2\"").is_err());
    }
}
