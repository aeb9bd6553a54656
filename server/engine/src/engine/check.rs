//! What must hold after every step; called by tests and the simulator.

use std::collections::BTreeMap;

use super::Engine;

impl Engine {
    /// Compares the table with foca's own list and the queues with their bounds.
    ///
    /// # Errors
    /// The first thing that does not hold, in words.
    pub fn check(&self) -> Result<(), String> {
        let foca: BTreeMap<_, _> = self
            .swim
            .state()
            .map(|update| (update.id().hash, update))
            .collect();
        for peer in self.table.iter() {
            let Some(update) = foca.get(&peer.ident.hash) else {
                return Err(format!(
                    "{:?} is in the table, foca does not know it",
                    peer.ident
                ));
            };
            let ours = (peer.ident, peer.incarnation, peer.state);
            let theirs = (*update.id(), update.incarnation(), update.state());
            if ours != theirs {
                return Err(format!("the table has {ours:?}, foca has {theirs:?}"));
            }
        }
        if foca.len() != self.table.len() {
            let stranger = foca.keys().find(|hash| self.table.get(**hash).is_none());
            return Err(format!("foca knows {stranger:x?}, the table does not"));
        }
        if self.swim.me() != self.own.ident {
            return Err(format!(
                "{:?} is {:?} in foca",
                self.own.ident,
                self.swim.me()
            ));
        }
        Ok(())
    }
}
