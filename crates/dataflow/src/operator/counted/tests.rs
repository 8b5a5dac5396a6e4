//! The tree against a sorted list.

use base::Random;

use super::Counted;

/// Every question, answered by the list.
fn check(tree: &Counted<u64>, list: &[(u64, i64)]) {
    let rows: Vec<u64> = list.iter().flat_map(|(item, n)| std::iter::repeat_n(*item, (*n).max(0) as usize)).collect();
    assert_eq!((tree.rows(), tree.entries()), (rows.len() as u64, list.len()));
    for (i, item) in rows.iter().enumerate() {
        assert_eq!(tree.at(i as u64), Some(item));
    }
    assert_eq!(tree.at(rows.len() as u64), None);
    assert_eq!(tree.last(), rows.last());
    for (i, (item, _)) in list.iter().enumerate() {
        assert_eq!(tree.entry(i as u64), Some(item));
    }
    assert_eq!(tree.entry(list.len() as u64), None);
    for from in 0..=rows.len() {
        let ahead: Vec<u64> =
            tree.forward(from as u64).flat_map(|(x, n)| std::iter::repeat_n(*x, n as usize)).collect();
        assert_eq!(ahead, rows[from..]);
        let mut behind: Vec<u64> =
            tree.backward(from as u64).flat_map(|(x, n)| std::iter::repeat_n(*x, n as usize)).collect();
        behind.reverse();
        assert_eq!(behind, rows[..from]);
    }
    for item in 0..20 {
        let before =
            (rows.iter().filter(|x| **x < item).count() as u64, list.iter().filter(|(x, _)| *x < item).count() as u64);
        assert_eq!(tree.before(|x| *x < item), before);
        assert_eq!(tree.get(&item).map(|(_, n)| n), list.iter().find(|(x, _)| *x == item).map(|(_, n)| *n));
    }
}

#[test]
fn it_answers_as_a_sorted_list() {
    for seed in 0..60 {
        let mut random = Random::seeded(seed);
        let mut tree = Counted::default();
        let mut list: Vec<(u64, i64)> = Vec::new();
        for _ in 0..60 {
            let (item, count) = (random.below(20), random.below(5) as i64 - 2);
            match list.binary_search_by_key(&item, |(x, _)| *x) {
                Ok(at) => list[at].1 += count,
                Err(at) => list.insert(at, (item, count)),
            }
            list.retain(|(_, n)| *n != 0);
            let after = list.iter().find(|(x, _)| *x == item).map_or(0, |(_, n)| *n);
            assert_eq!(tree.add(item, count), after, "seed {seed}");
            check(&tree, &list);
        }
    }
}

#[test]
fn it_stays_shallow_whatever_comes_in() {
    let mut tree = Counted::default();
    for item in 0..100_000u64 {
        tree.add(item, 1);
    }
    let mut compared = 0;
    tree.before(|x| {
        compared += 1;
        *x < 77_777
    });
    assert!(compared < 80, "{compared} comparisons for 100,000 entries in order");
}
