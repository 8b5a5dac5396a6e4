//! The shop's own books: what the views must show, computed without them.

use std::collections::BTreeMap;

/// An order as it stands.
#[derive(Clone, Debug)]
pub struct Order {
    pub status: &'static str,
    pub cents: i64,
}

/// Everything acknowledged so far.
#[derive(Debug, Default)]
pub struct Ledger {
    writes: u64,
    activity: BTreeMap<(&'static str, &'static str), i64>,
    orders: BTreeMap<i64, Order>,
    /// Per status: events, sum, largest.
    sales: BTreeMap<&'static str, (i64, i64, i64)>,
}

impl Ledger {
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// An event of any collection.
    pub fn event(&mut self, collection: &'static str, operation: &'static str) {
        self.writes += 1;
        *self.activity.entry((collection, operation)).or_default() += 1;
    }

    /// An order was inserted, or its status changed.
    pub fn order(&mut self, id: i64, order: Order) {
        let sales = self.sales.entry(order.status).or_default();
        *sales = (sales.0 + 1, sales.1 + order.cents, sales.2.max(order.cents));
        self.orders.insert(id, order);
    }

    pub fn delete_order(&mut self, id: i64) {
        self.orders.remove(&id);
    }

    pub fn orders(&self) -> &BTreeMap<i64, Order> {
        &self.orders
    }

    pub fn sales(&self) -> Vec<Vec<String>> {
        let row = |(status, (events, cents, largest)): (&&str, &(i64, i64, i64))| {
            vec![status.to_string(), events.to_string(), cents.to_string(), largest.to_string()]
        };
        self.sales.iter().map(row).collect()
    }

    pub fn activity(&self) -> Vec<Vec<String>> {
        let row = |((collection, operation), events): (&(&str, &str), &i64)| {
            vec![collection.to_string(), operation.to_string(), events.to_string()]
        };
        self.activity.iter().map(row).collect()
    }

    pub fn orders_now(&self) -> Vec<Vec<String>> {
        let mut by_status: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for order in self.orders.values() {
            let sums = by_status.entry(order.status).or_default();
            *sums = (sums.0 + 1, sums.1 + order.cents);
        }
        let row = |(status, (orders, cents)): (&str, (i64, i64))| {
            vec![status.to_owned(), orders.to_string(), cents.to_string()]
        };
        by_status.into_iter().map(row).collect()
    }
}
