//! What can be followed by one name: a view, a change stream, or the topic of a sink.

use ::sql::SqlError;
use ::sql::parser::statement::{Name, Subscribe, SubscribeSource};

use super::feed::Feed;
use super::session::SqlSession;
use crate::Headwater;
use crate::delivery::TopicReader;

/// What a topic's name means.
#[derive(Clone, Debug)]
pub enum Topic {
    /// The rows of a materialized view and how they change.
    View { db: String, name: String },
    /// The events of a change stream.
    Stream { db: String, name: String },
    /// What a sink writes into `topic:name`.
    Messages(TopicReader),
}

impl Headwater {
    /// Finds a sink's topic of this name, else the view or change stream `db.name`.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        if let Some(reader) = self.deliveries().topic(name) {
            return Some(Topic::Messages(reader));
        }
        let (db, name) = name.split_once('.')?;
        let definitions = self.sql().views.definitions();
        let (db, name) = (db.to_owned(), name.to_owned());
        if definitions.view(&db, &name).is_some() {
            return Some(Topic::View { db, name });
        }
        definitions.stream(&db, &name).is_some().then_some(Topic::Stream { db, name })
    }

    /// The events of a change stream: after a token, or from now on.
    ///
    /// # Errors
    /// 42P01 if there is no such stream; 22023 or 55000 for a token that cannot be resumed from.
    pub async fn follow_stream(&self, db: &str, name: &str, since: Option<&str>) -> Result<Feed, SqlError> {
        let session = SqlSession::new(self.clone(), db, "topics");
        let name = Name { db: Some(db.to_owned()), name: name.to_owned(), position: Default::default() };
        let subscribe = Subscribe {
            source: SubscribeSource::Name(name),
            snapshot: false,
            progress: false,
            as_of: since.map(str::to_owned),
        };
        session.subscribe(&subscribe, Vec::new(), &[], &mut Vec::new()).await
    }
}
