//! Who wants pre-images besides the collections that were created with them: our own streams and
//! views. Forgotten with the process; whoever keeps a view says so again when it starts.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::entry::Namespace;

/// Namespaces with how many want them. An empty collection name is the whole database, an empty
/// database name everything.
#[derive(Default)]
pub(crate) struct Interest(ArcSwap<FxHashMap<Namespace, usize>>);

impl Interest {
    pub fn set(&self, pattern: &Namespace, on: bool) {
        self.0.rcu(|patterns| {
            let mut patterns = FxHashMap::clone(patterns);
            let count = patterns.get(pattern).copied().unwrap_or(0);
            match if on { count + 1 } else { count.saturating_sub(1) } {
                0 => patterns.remove(pattern),
                wanted => patterns.insert(pattern.clone(), wanted),
            };
            Arc::new(patterns)
        });
    }

    pub fn covers(&self, namespace: &Namespace) -> bool {
        let patterns = self.0.load();
        !patterns.is_empty()
            && (patterns.contains_key(namespace)
                || patterns.contains_key(&Namespace::new(Arc::clone(&namespace.db), ""))
                || patterns.contains_key(&Namespace::new("", "")))
    }
}
