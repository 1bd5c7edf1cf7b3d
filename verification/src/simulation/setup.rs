//! Which run: its seed, its size, its bug.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use clap::ValueEnum;

use super::Sabotage;

/// Which run. Everything that chance decides follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What chance starts from.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// What kind of harm is done to them.
    pub weather: Weather,
    /// The bug that is put in, if one is.
    pub sabotage: Sabotage,
    /// How much there is of everything.
    pub scale: Scale,
}

/// What kind of harm is done in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Weather {
    /// Of every kind, with pauses, for as long as it takes to meet all that happens in life.
    #[default]
    Varied,
    /// A few seconds in which layouts follow each other as fast as they can, over links each of which is late in its own
    /// way, while everybody asks for a few keys.
    Storm,
}

/// Bounds on what a seed draws, to make the run that shows an anomaly smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Clients at most.
    pub clients_max: u32,
    /// Keys in use at a time, at most.
    pub keys_max: usize,
    /// How long harm is done at most, in seconds.
    pub safety_max_s: u64,
    /// What is left in peace.
    pub spared: BTreeSet<Field>,
}

/// A field of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Field {
    /// Nodes crash.
    Processes,
    /// Links are cut; messages are lost, doubled and late.
    Links,
    /// Disks are full, fail and rot.
    Disks,
    /// Clocks jump and drift.
    Clocks,
    /// Layouts follow each other.
    Layouts,
}

impl Setup {
    /// A run of full size without a bug, with a bit of everything.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Setup {
            seed,
            nodes,
            weather: Weather::Varied,
            sabotage: Sabotage::None,
            scale: Scale::default(),
        }
    }

    /// The same seed in a storm.
    pub fn storm(seed: u64, nodes: usize) -> Self {
        Setup {
            weather: Weather::Storm,
            ..Setup::new(seed, nodes)
        }
    }
}

impl Default for Scale {
    /// Whatever the seed draws.
    fn default() -> Self {
        Scale {
            clients_max: 10,
            keys_max: 10,
            safety_max_s: 30,
            spared: BTreeSet::new(),
        }
    }
}

impl Scale {
    /// Scales with a little less of something.
    pub fn smaller(&self) -> Vec<Scale> {
        let mut smaller: Vec<Scale> = Field::value_variants()
            .iter()
            .filter(|field| !self.spared.contains(field))
            .map(|field| self.sparing(*field))
            .collect();
        let (clients_max, keys_max) = (self.clients_max.div_ceil(2), self.keys_max.div_ceil(2));
        let safety_max_s = self.safety_max_s.div_ceil(2);
        smaller.push(Scale {
            safety_max_s,
            ..self.clone()
        });
        smaller.push(Scale {
            clients_max,
            ..self.clone()
        });
        smaller.push(Scale {
            keys_max,
            ..self.clone()
        });
        smaller.retain(|scale| scale != self);
        smaller
    }

    /// How long harm is done at most.
    pub(crate) fn safety_max(&self) -> Duration {
        Duration::from_secs(self.safety_max_s)
    }

    fn sparing(&self, field: Field) -> Scale {
        let mut scale = self.clone();
        scale.spared.insert(field);
        scale
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Processes => "processes",
            Field::Links => "links",
            Field::Disks => "disks",
            Field::Clocks => "clocks",
            Field::Layouts => "layouts",
        })
    }
}

impl Display for Weather {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Weather::Varied => "varied",
            Weather::Storm => "storm",
        })
    }
}

impl Display for Setup {
    /// As the arguments of `simulate` that repeat the run.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (scale, full) = (&self.scale, Scale::default());
        write!(
            f,
            "--seed {} --nodes {} --weather {}",
            self.seed, self.nodes, self.weather
        )?;
        if self.sabotage != Sabotage::None {
            write!(f, " --sabotage {}", self.sabotage)?;
        }
        if scale.clients_max != full.clients_max {
            write!(f, " --clients-max {}", scale.clients_max)?;
        }
        if scale.keys_max != full.keys_max {
            write!(f, " --keys-max {}", scale.keys_max)?;
        }
        if scale.safety_max_s != full.safety_max_s {
            write!(f, " --safety-max-s {}", scale.safety_max_s)?;
        }
        scale.spared.iter().try_for_each(|field| write!(f, " --spare {field}"))
    }
}
