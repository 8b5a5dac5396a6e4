//! Both backends, and overlays on them, answer like an ordered map.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Random;

use super::*;
use crate::overlay::{Overlaid, Overlay};

fn key(random: &mut Random) -> Vec<u8> {
    (0..random.below(3)).map(|_| [0, 1, 0xff][random.below(3) as usize]).collect::<Vec<u8>>()
}

fn range(random: &mut Random) -> KeyRange {
    match random.below(3) {
        0 => KeyRange::prefix(&key(random)),
        1 => KeyRange { from: key(random), to: None },
        _ => KeyRange::new(key(random), key(random)),
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn check(view: &dyn KvRead, model: &Model, random: &mut Random) {
    let range = range(random);
    let inside = |key: &Vec<u8>| *key >= range.from && range.to.as_ref().is_none_or(|to| key < to);
    let mut expected: Vec<_> =
        model.iter().filter(|(key, _)| inside(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for direction in [Direction::Forward, Direction::Backward] {
        let found = view.range(Space::Meta, range.clone(), direction);
        let found: Vec<_> = found.map(|entry| entry.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
        assert_eq!(found, expected, "{range:?} {direction:?}");
        expected.reverse();
    }
    let key = key(random);
    assert_eq!(view.get(Space::Meta, &key).unwrap().map(|v| v.to_vec()), model.get(&key).cloned());
}

fn law(kv: &dyn Kv) {
    let mut random = Random::seeded(3);
    let mut model = Model::new();
    for round in 0..60u8 {
        let (before, snapshot) = (model.clone(), kv.snapshot());
        let mut batch = Batch::default();
        let mut overlay = Overlay::default();
        let mut changed = model.clone();
        for _ in 0..3 {
            // An empty key is not a key for the trees.
            let key = [vec![7], key(&mut random)].concat();
            if random.below(3) == 0 {
                overlay.remove(Space::Meta, key.clone().into());
                changed.remove(&key);
            } else {
                overlay.put(Space::Meta, key.clone().into(), vec![round].into());
                changed.insert(key, vec![round]);
            }
        }
        let overlaid = Overlaid::new(kv.snapshot(), Arc::new(overlay.clone()));
        check(&overlaid, &changed, &mut random);
        overlay.into_batch(&mut batch);
        kv.commit(batch).unwrap();
        kv.sync().unwrap();
        model = changed;
        check(kv_read(kv), &model, &mut random);
        check(&*snapshot, &before, &mut random);
    }
}

fn kv_read(kv: &dyn Kv) -> &dyn KvRead {
    kv
}

#[test]
fn the_memory_backend_is_an_ordered_map() {
    law(&MemoryKv::default());
}

#[test]
fn the_disk_backend_is_an_ordered_map() {
    let dir = tempfile::tempdir().unwrap();
    law(&FjallKv::open(dir.path(), SyncMode::Buffered).unwrap());
}

#[test]
fn successors() {
    for (prefix, expected) in [(&b"a"[..], Some(&b"b"[..])), (b"a\xff", Some(b"b")), (b"\xff", None), (b"", None)] {
        assert_eq!(successor(prefix).as_deref(), expected);
    }
}
