//! Queries once over the present, and queries that follow it.

use std::sync::Arc;

use ::sql::parser::statement::{Query, Rows as RowsStatement, Subscribe, SubscribeSource};
use ::sql::parser::{self, Statement};
use ::sql::plan::SetOperation;
use ::sql::{Catalog, Datum, Field, Notice, Plan, Source, SqlError, Type};
use views::ViewDefinition;
use views::names::SessionCatalog;
use views::read::{QueryContext, QueryResult};

use super::binding::{self, Bound};
use super::client_queries;
use super::feed::{Feed, feed_fields};
use super::interest::PlanInterest;
use super::presentation::presented;
use super::session::SqlSession;
use super::system::SystemCatalog;
use super::view_ddl::maintained;

/// A query's rows or its feed.
#[derive(Debug)]
pub(super) enum Answer {
    Rows(QueryResult),
    Feed(Feed),
}

/// What a SUBSCRIBE follows.
enum Followed {
    View { db: String, name: String, fields: Vec<Field> },
    Query(Bound),
}

impl SqlSession {
    /// The names that this session's statements see now.
    pub(super) fn catalog(&self) -> SessionCatalog {
        SessionCatalog {
            database: self.database().to_owned(),
            definitions: self.engine().sql().views.definitions(),
            collections: self.engine().store().catalog(),
            system: Arc::new(SystemCatalog::new(self.engine().clone(), self.identity())),
            absent_collections: false,
        }
    }

    pub(super) fn bind(&self, query: &Query, types: &[Option<Type>]) -> Result<Bound, SqlError> {
        if let Some(instead) = client_queries::instead_of(query)? {
            return binding::query(&instead, &self.catalog(), types, self.bind_options());
        }
        let bound = binding::query(query, &self.catalog(), types, self.bind_options())
            .map_err(|error| super::source::explain_missing(self.engine(), error))?;
        super::source::check_plan(self.engine(), &bound.plan)?;
        let plan = presented(bound.plan, &self.engine().sql().views.definitions());
        Ok(Bound { plan, ..bound })
    }

    pub(super) fn query_context(&self, parameters: Vec<Datum>) -> QueryContext {
        QueryContext { now_us: self.now_us(), time_zone: self.time_zone().to_owned(), parameters }
    }

    /// Runs a bound plan over the present.
    pub(super) async fn run_plan(&self, plan: Arc<Plan>, parameters: Vec<Datum>) -> Result<QueryResult, SqlError> {
        let views = &self.engine().sql().views;
        let system = Arc::new(SystemCatalog::new(self.engine().clone(), self.identity()));
        let ctx = self.query_context(parameters);
        self.within_timeout(async {
            self.await_read_after().await?;
            views::read::query(views, system, self.database().to_owned(), plan, ctx).await
        })
        .await
    }

    /// Answers a query: rows, or with EMIT CHANGES a feed.
    pub(super) async fn answer_query(
        &self,
        query: &Query,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
        notices: &mut Vec<Notice>,
    ) -> Result<Answer, SqlError> {
        let bound = self.bind(query, types)?;
        notices.extend(bound.notices.iter().cloned());
        if let Some(token) = &query.as_of {
            if query.emit_changes {
                return Err(SqlError::syntax("a query has either AS OF TOKEN or EMIT CHANGES"));
            }
            let ctx = self.query_context(parameters);
            let views = &self.engine().sql().views;
            let read = views::read::query_as_of(views, self.database().to_owned(), bound.plan, ctx, token);
            return Ok(Answer::Rows(self.within_timeout(read).await?));
        }
        if query.emit_changes {
            let feed = self.follow_plan(&bound, parameters, &query.text, (true, false)).await?;
            return Ok(Answer::Feed(feed));
        }
        Ok(Answer::Rows(self.run_plan(bound.plan, parameters).await?))
    }

    pub(super) async fn answer(
        &self,
        rows: &RowsStatement,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
        notices: &mut Vec<Notice>,
    ) -> Result<Answer, SqlError> {
        match rows {
            RowsStatement::Query(query) => self.answer_query(query, parameters, types, notices).await,
            RowsStatement::Subscribe(subscribe) => {
                Ok(Answer::Feed(self.subscribe(subscribe, parameters, types, notices).await?))
            }
        }
    }

    /// The columns of what `answer` gives, and the parameters it takes.
    pub(super) fn describe_rows(
        &self,
        rows: &RowsStatement,
        types: &[Option<Type>],
    ) -> Result<(Vec<Type>, Vec<Field>), SqlError> {
        match rows {
            RowsStatement::Query(query) => {
                let bound = self.bind(query, types)?;
                let fields = match query.emit_changes {
                    true => feed_fields(bound.plan.fields(), false),
                    false => bound.plan.fields().to_vec(),
                };
                Ok((bound.parameters, fields))
            }
            RowsStatement::Subscribe(subscribe) => {
                let (parameters, fields) = match self.followed(subscribe, types)? {
                    Followed::View { fields, .. } => (Vec::new(), fields),
                    Followed::Query(bound) => (bound.parameters, bound.plan.fields().to_vec()),
                };
                Ok((parameters, feed_fields(&fields, subscribe.progress)))
            }
        }
    }

    /// SUBSCRIBE.
    pub(super) async fn subscribe(
        &self,
        subscribe: &Subscribe,
        parameters: Vec<Datum>,
        types: &[Option<Type>],
        notices: &mut Vec<Notice>,
    ) -> Result<Feed, SqlError> {
        self.within_timeout(self.await_read_after()).await?;
        match self.followed(subscribe, types)? {
            Followed::View { db, name, .. } => {
                let views = &self.engine().sql().views;
                let subscription = views.subscribe_view(&db, &name, subscribe.snapshot).await?;
                Ok(Feed::new(subscription, subscribe.progress, None))
            }
            Followed::Query(bound) => {
                notices.extend(bound.notices.iter().cloned());
                let text = match &subscribe.source {
                    SubscribeSource::Query(query) => query.text.as_str(),
                    SubscribeSource::Name(name) => name.name.as_str(),
                };
                // After a token, what is there already is what was missed.
                let snapshot = subscribe.snapshot || subscribe.as_of.is_some();
                self.follow_plan(&bound, parameters, text, (snapshot, subscribe.progress)).await
            }
        }
    }

    fn followed(&self, subscribe: &Subscribe, types: &[Option<Type>]) -> Result<Followed, SqlError> {
        let followed = self.followed_from_start(subscribe, types)?;
        let Some(token) = &subscribe.as_of else { return Ok(followed) };
        let resumed = match followed {
            Followed::Query(bound) => after(&bound.plan, token).map(|plan| Followed::Query(Bound { plan, ..bound })),
            Followed::View { .. } => None,
        };
        resumed.ok_or_else(|| {
            SqlError::unsupported("AS OF TOKEN over anything but the events of change streams")
                .with_hint("Subscribe with a snapshot, or to a query without aggregates over CHANGE_STREAM('s').")
        })
    }

    fn followed_from_start(&self, subscribe: &Subscribe, types: &[Option<Type>]) -> Result<Followed, SqlError> {
        let name = match &subscribe.source {
            SubscribeSource::Query(query) => {
                if query.as_of.is_some() {
                    return Err(SqlError::syntax("AS OF TOKEN stands behind the subscription, not inside its query"));
                }
                if query.emit_changes {
                    return Err(
                        SqlError::syntax("SUBSCRIBE follows its query already").with_hint("Leave EMIT CHANGES out.")
                    );
                }
                return Ok(Followed::Query(self.bind(query, types)?));
            }
            SubscribeSource::Name(name) => name,
        };
        let catalog = self.catalog();
        let db = name.db.as_deref().unwrap_or(self.database());
        if let Some(view) = catalog.definitions.view(db, &name.name) {
            let fields = view.plan.fields().to_vec();
            return Ok(Followed::View { db: db.to_owned(), name: name.name.clone(), fields });
        }
        let text = if catalog.relation(Some(db), &name.name).is_some() {
            let quote = |name: &str| name.replace('"', "\"\"");
            format!("SELECT * FROM \"{}\".\"{}\"", quote(db), quote(&name.name))
        } else if catalog.definitions.stream(db, &name.name).is_some() {
            format!("SELECT * FROM CHANGE_STREAM('{}')", format!("{db}.{}", name.name).replace('\'', "''"))
        } else {
            let message = format!("materialized view or change stream \"{}\" does not exist", name.name);
            return Err(SqlError::new("42P01", message).at(name.position));
        };
        Ok(Followed::Query(self.bind(&only_query(&text)?, &[])?))
    }

    async fn follow_plan(
        &self,
        bound: &Bound,
        parameters: Vec<Datum>,
        text: &str,
        (snapshot, progress): (bool, bool),
    ) -> Result<Feed, SqlError> {
        let plan = maintained(&bound.plan, &parameters)?;
        let engine = self.engine();
        let interest = PlanInterest::new(engine.store(), &plan);
        let definition = Arc::new(ViewDefinition {
            id: 0,
            db: self.database().to_owned(),
            name: "(subscription)".to_owned(),
            plan,
            on_error: dataflow::OnError::Fail,
            keeps_dead_letters: false,
            limits: views::StateLimits::default(),
            order: Vec::new(),
            parameters,
            query: text.to_owned(),
            statement: text.to_owned(),
            created_ms: engine.clock().now_ms(),
        });
        let subscription = engine.sql().views.subscribe_query(definition, snapshot).await?;
        Ok(Feed::new(subscription, progress, Some(interest)))
    }
}

/// The same query over the events after a token, where that gives exactly the rows that come after
/// it: every row stems from one event of a stream.
fn after(plan: &Arc<Plan>, token: &str) -> Option<Arc<Plan>> {
    let plan = match &**plan {
        Plan::Scan { source: Source::Stream { db, name, since: None, up_to }, columns, fields } => Plan::Scan {
            source: Source::Stream {
                db: db.clone(),
                name: name.clone(),
                since: Some(token.to_owned()),
                up_to: up_to.clone(),
            },
            columns: columns.clone(),
            fields: fields.clone(),
        },
        Plan::Filter { input, predicate } if !predicate.reads_now() => {
            Plan::Filter { input: after(input, token)?, predicate: predicate.clone() }
        }
        Plan::Project { input, exprs, fields } => {
            Plan::Project { input: after(input, token)?, exprs: exprs.clone(), fields: fields.clone() }
        }
        Plan::FlatMap { input, function, args, outer, ordinality, fields } => Plan::FlatMap {
            input: after(input, token)?,
            function: *function,
            args: args.clone(),
            outer: *outer,
            ordinality: *ordinality,
            fields: fields.clone(),
        },
        Plan::Sort { input, .. } => return after(input, token),
        Plan::SetOp { operation: SetOperation::Union, all: true, left, right, fields } => Plan::SetOp {
            operation: SetOperation::Union,
            all: true,
            left: after(left, token)?,
            right: after(right, token)?,
            fields: fields.clone(),
        },
        _ => return None,
    };
    Some(Arc::new(plan))
}

/// A text that we wrote ourselves, as a query.
pub(super) fn only_query(text: &str) -> Result<Query, SqlError> {
    match parser::parse(text)?.pop().map(|parsed| parsed.statement) {
        Some(Statement::Query(query)) => Ok(query),
        _ => Err(SqlError::internal("a query of our own is not a query")),
    }
}
