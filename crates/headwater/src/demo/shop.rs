//! The shop: customers register, order, review; orders move on; stock falls. Through the official
//! driver, one acknowledged write a step, from a fixed seed.

use base::Random;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::{Collection, Database};

use super::ledger::{Ledger, Order};

type Result<T> = mongodb::error::Result<T>;

const PRODUCTS: [(&str, i64); 6] = [
    ("Kettle", 4590),
    ("Lantern", 2995),
    ("Field notebook", 1250),
    ("Wool blanket", 8900),
    ("Compass", 3499),
    ("Enamel mug", 1490),
];
/// How an order moves on.
const NEXT_STATUS: [(&str, &str); 3] = [("new", "paid"), ("paid", "shipped"), ("shipped", "delivered")];
/// Orders that the shop keeps moving; older ones are archived (deleted).
const OPEN_ORDERS: usize = 400;

pub struct Shop {
    users: Collection<Document>,
    orders: Collection<Document>,
    products: Collection<Document>,
    reviews: Collection<Document>,
    random: Random,
    ledger: Ledger,
    next_id: i64,
    user_count: i64,
}

impl Shop {
    /// Fills the shelves and registers the first customer.
    pub async fn open(db: Database) -> Result<Self> {
        let mut shop = Shop {
            users: db.collection("user_profiles"),
            orders: db.collection("orders"),
            products: db.collection("products"),
            reviews: db.collection("reviews"),
            random: Random::seeded(2026),
            ledger: Ledger::default(),
            next_id: 1,
            user_count: 0,
        };
        for (id, (name, cents)) in PRODUCTS.iter().enumerate() {
            let product = doc! {
                "_id": id as i64, "name": *name, "price_cents": *cents, "inventory_count": 500, "low_stock_threshold": 50
            };
            shop.products.insert_one(product).await?;
            shop.ledger.event("products", "insert");
        }
        shop.register().await?;
        Ok(shop)
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// One thing that happens in the shop.
    pub async fn step(&mut self) -> Result<()> {
        match self.random.below(100) {
            0..10 => self.register().await,
            10..45 => self.order().await,
            45..75 => self.advance().await,
            75..85 => self.review().await,
            85..95 => self.stock().await,
            _ => self.change_user().await,
        }
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    async fn register(&mut self) -> Result<()> {
        let id = self.user_count;
        let user = doc! {
            "_id": id, "username": format!("user{id}"), "email": format!("user{id}@example.com"), "status": "active",
            "profile_data": { "preferences": { "theme": "light" } }, "created_at": DateTime::now(),
        };
        self.users.insert_one(user).await?;
        self.user_count += 1;
        self.ledger.event("user_profiles", "insert");
        Ok(())
    }

    async fn change_user(&mut self) -> Result<()> {
        let id = self.random.below(self.user_count as u64) as i64;
        // The counter makes every update a change.
        let update = doc! { "$inc": { "profile_data.preferences.changes": 1 } };
        self.users.update_one(doc! { "_id": id }, update).await?;
        self.ledger.event("user_profiles", "update");
        Ok(())
    }

    async fn order(&mut self) -> Result<()> {
        let id = self.id();
        let (product, quantity) = (self.random.below(PRODUCTS.len() as u64) as usize, self.random.below(4) as i64 + 1);
        let cents = PRODUCTS[product].1 * quantity;
        let order = doc! {
            "_id": id, "customer_id": self.random.below(self.user_count as u64) as i64, "status": "new",
            "items": [{ "product_id": product as i64, "quantity": quantity }],
            "total_cents": cents, "created_at": DateTime::now(),
        };
        self.orders.insert_one(order).await?;
        self.ledger.event("orders", "insert");
        self.ledger.order(id, Order { status: "new", cents });
        Ok(())
    }

    /// Moves a random order on, or archives the oldest when there are many.
    async fn advance(&mut self) -> Result<()> {
        let count = self.ledger.orders().len();
        if count > OPEN_ORDERS && self.random.below(2) == 0 {
            let id = *self.ledger.orders().keys().next().expect("there are many");
            self.orders.delete_one(doc! { "_id": id }).await?;
            self.ledger.event("orders", "delete");
            self.ledger.delete_order(id);
            return Ok(());
        }
        if count == 0 {
            return self.order().await;
        }
        let at = self.random.below(count as u64) as usize;
        let (id, order) = self.ledger.orders().iter().nth(at).map(|(id, o)| (*id, o.clone())).expect("counted");
        let Some((_, next)) = NEXT_STATUS.iter().find(|(from, _)| *from == order.status) else {
            return self.order().await;
        };
        self.orders.update_one(doc! { "_id": id }, doc! { "$set": { "status": *next } }).await?;
        self.ledger.event("orders", "update");
        self.ledger.order(id, Order { status: next, cents: order.cents });
        Ok(())
    }

    async fn review(&mut self) -> Result<()> {
        let review = doc! {
            "_id": self.id(), "product_id": self.random.below(PRODUCTS.len() as u64) as i64,
            "rating": self.random.below(5) as i32 + 1,
        };
        self.reviews.insert_one(review).await?;
        self.ledger.event("reviews", "insert");
        Ok(())
    }

    async fn stock(&mut self) -> Result<()> {
        let id = self.random.below(PRODUCTS.len() as u64) as i64;
        let by = if self.random.below(20) == 0 { 60 } else { -3 };
        self.products.update_one(doc! { "_id": id }, doc! { "$inc": { "inventory_count": by } }).await?;
        self.ledger.event("products", "update");
        Ok(())
    }
}
