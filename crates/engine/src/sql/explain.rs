//! EXPLAIN: the plan as text, and for a stream what is filtered where.

use ::sql::parser::Statement;
use ::sql::parser::statement::{Explain, ExplainFormat, Name, Query, Rows as RowsStatement, SubscribeSource};
use ::sql::{Datum, Field, Notice, Row, SqlError, Type};
use views::StreamScope;

use super::Outcome;
use super::queries::only_query;
use super::session::SqlSession;

pub(super) fn fields() -> Vec<Field> {
    vec![Field::new("QUERY PLAN", Type::Text)]
}

fn lines(text: &str) -> Outcome {
    let rows: Vec<Row> = text.lines().map(|line| Row::from([Datum::text(line)])).collect();
    Outcome::Rows { fields: fields(), rows, tag: "EXPLAIN".to_owned() }
}

/// The query whose plan is shown.
fn explained(explain: &Explain) -> Result<Query, SqlError> {
    let unsupported = || Err(SqlError::unsupported("EXPLAIN of this statement"));
    match &explain.statement {
        Statement::Query(query) => Ok(query.clone()),
        Statement::CreateMaterializedView(create) => Ok(create.query.clone()),
        Statement::DeclareCursor { rows: RowsStatement::Query(query), .. } => Ok(query.clone()),
        Statement::Subscribe(subscribe) => match &subscribe.source {
            SubscribeSource::Query(query) => Ok(query.clone()),
            SubscribeSource::Name(name) => {
                let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let db = name.db.as_deref().map(|db| quote(db) + ".").unwrap_or_default();
                only_query(&format!("SELECT * FROM {db}{}", quote(&name.name)))
            }
        },
        _ => unsupported(),
    }
}

pub(super) fn parameters(
    session: &SqlSession,
    explain: &Explain,
    types: &[Option<Type>],
) -> Result<Vec<Type>, SqlError> {
    Ok(session.bind(&explained(explain)?, types)?.parameters)
}

/// EXPLAIN [ANALYZE].
pub(super) async fn explain(
    session: &SqlSession,
    explain: &Explain,
    types: &[Option<Type>],
    parameters: Vec<Datum>,
    notices: &mut Vec<Notice>,
) -> Result<Outcome, SqlError> {
    if explain.format == ExplainFormat::Json {
        return Err(SqlError::unsupported("EXPLAIN (FORMAT JSON)"));
    }
    let bound = session.bind(&explained(explain)?, types)?;
    notices.extend(bound.notices);
    let mut text = ::sql::explain::plan_to_text(&bound.plan);
    if explain.analyze {
        let before_us = session.now_us();
        let result = session.run_plan(bound.plan, parameters).await?;
        let took_ms = (session.now_us() - before_us) as f64 / 1000.0;
        text.push_str(&format!("\nRows: {}\nExecution Time: {took_ms:.3} ms\n", result.rows.len()));
    }
    Ok(lines(&text))
}

/// EXPLAIN CHANGE STREAM.
pub(super) fn stream(session: &SqlSession, name: &Name) -> Result<Outcome, SqlError> {
    let definitions = session.engine().sql().views.definitions();
    let db = name.db.as_deref().unwrap_or(session.database());
    let stream = definitions
        .stream(db, &name.name)
        .ok_or_else(|| views::build::missing("change stream", &name.name).at(name.position))?;
    let mut text = format!("Change Stream {}.{}\n", stream.db, stream.name);
    text.push_str("  At the source (change log of this server)\n");
    text.push_str(&match &stream.scope {
        StreamScope::Collection { db, name } => format!("    Scope: collection {db}.{name}\n"),
        StreamScope::Database(db) => format!("    Scope: database {db}\n"),
        StreamScope::Cluster => "    Scope: cluster\n".to_owned(),
    });
    text.push_str(&format!(
        "    Operations: {}\n",
        match stream.operation_types.as_slice() {
            [] if stream.show_expanded_events => "all, expanded".to_owned(),
            [] => "all".to_owned(),
            some => some.join(", "),
        }
    ));
    text.push_str(&format!("    After: {}\n", stream.start));
    if stream.images.before_change {
        text.push_str("    Pre-images: kept\n");
    }
    if let Some(filter) = &stream.filter_text {
        text.push_str("  Per event\n");
        text.push_str(&format!("    Filter: {}\n", filter.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    for view in
        definitions.readers(|s| matches!(s, ::sql::Source::Stream { db: d, name: n, .. } if d == db && *n == name.name))
    {
        text.push_str(&format!("  Read by materialized view {}.{}\n", view.db, view.name));
    }
    Ok(lines(&text))
}
