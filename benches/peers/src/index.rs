//! otagate over its index: the same decision as over the memory store, from bytes to an artifact.
//!
//! Compared: [`Reader::decide`], which finds key, product, device and group in one revision, ranks the device with
//! BLAKE3 where its version is not the target, and decides. Unfair to us and to the others as in `memory`; besides,
//! verdicts are counted, and writers could publish meanwhile. It is the row that a large fleet gets.

use crate::question::{Ask, World};
use crate::{Quarter, Subject, memory};
use otagate::*;

/// A day after the rollout in [`memory::fleet`] started.
const NOW: Timestamp = Timestamp::from_millis(1_795_478_400_000);

pub(crate) struct Indexed {
    reader: Reader,
}

impl Indexed {
    pub(crate) fn new(world: &World) -> Self {
        Self { reader: Index::new(&memory::fleet(world)).reader() }
    }
}

impl Subject for Indexed {
    fn name(&self) -> &'static str {
        "index"
    }

    fn package(&self) -> Option<&'static str> {
        Some("otagate")
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        let ask =
            CheckIn { version: ask.version.as_bytes(), ..CheckIn::new(ask.key.as_bytes(), ask.serial.as_bytes()) };
        self.reader.decide(&ask, NOW, &mut NoTrace).firmware_offer().is_some()
    }
}
