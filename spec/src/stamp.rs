//! Stamps: the total order in which a register's values replace each other.
//!
//! A stamp is a version number and a ballot at once. It is never used for two attempts: its second half is new at
//! every process start, its first half rises within one process. It orders operations; it is not a time to show.

use serde::{Deserialize, Serialize};

/// One run of one node's process. Drawn at random at every start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// A version number and ballot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// Microseconds of the issuing node's clock, raised above everything it had seen.
    pub time: u64,
    /// Who issued it; breaks ties.
    pub by: Incarnation,
}

impl Stamp {
    /// Below every stamp that is ever issued.
    pub const ZERO: Stamp = Stamp {
        time: 0,
        by: Incarnation(0),
    };

    /// The stamp with this time and issuer.
    pub const fn new(time: u64, by: u64) -> Self {
        Stamp {
            time,
            by: Incarnation(by),
        }
    }
}

/// Issues the stamps of one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Issuer {
    incarnation: Incarnation,
    last: u64,
}

impl Issuer {
    /// The issuer of a process that starts now.
    pub const fn new(incarnation: Incarnation) -> Self {
        Issuer { incarnation, last: 0 }
    }

    /// A stamp that nobody else issues and this issuer never issued, above `above` and everything observed.
    pub fn issue(&mut self, clock_us: u64, above: Stamp) -> Stamp {
        self.observe(above);
        self.last = self.last.max(clock_us).saturating_add(1);
        Stamp {
            time: self.last,
            by: self.incarnation,
        }
    }

    /// Whose stamps these are.
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The time of the last stamp that was issued or observed.
    pub const fn last_us(&self) -> u64 {
        self.last
    }

    /// Learns of a stamp in a message, so that later ones are above it.
    pub fn observe(&mut self, seen: Stamp) {
        self.last = self.last.max(seen.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_one_issuer_rise_whatever_the_clock_does() {
        let mut issuer = Issuer::new(Incarnation(7));
        let first = issuer.issue(1000, Stamp::ZERO);
        let second = issuer.issue(3, Stamp::ZERO);
        let third = issuer.issue(3, Stamp::new(5000, 9));
        assert!(first < second && second < third && third > Stamp::new(5000, 9));
    }
}
