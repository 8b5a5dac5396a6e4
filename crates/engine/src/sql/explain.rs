//! EXPLAIN: the plan as text, and for a stream what is filtered where.

use std::sync::Arc;

use ::sql::parser::Statement;
use ::sql::parser::statement::{Explain, ExplainFormat, Name, Query, Rows as RowsStatement, SubscribeSource};
use ::sql::{Datum, EvalContext, Field, Notice, Plan, Row, Source, SqlError, Type};
use views::StreamScope;
use views::runtime::{ViewStatus, store_error};
use views::source_filter;

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
    let query = explained(explain)?;
    if query.as_of.is_some() {
        return Err(SqlError::unsupported("EXPLAIN of a query AS OF TOKEN"));
    }
    let bound = session.bind(&query, types)?;
    notices.extend(bound.notices);
    let plan = bound.plan;
    let eval = EvalContext { now_us: session.now_us(), parameters: &parameters, time_zone: session.time_zone() };
    let snapshot = session.engine().store().snapshot().map_err(store_error)?;
    let sources = source_filter::describe(&source_filter::source_filters(&plan, &eval), &snapshot);
    let ran = match explain.analyze {
        false => None,
        true => {
            let before_us = session.now_us();
            let result = session.run_plan(Arc::clone(&plan), parameters).await?;
            let took_ms = (session.now_us() - before_us) as f64 / 1000.0;
            Some(Ran { rows: result.rows.len(), took_ms, views: views_read(session, &plan).await? })
        }
    };
    match explain.format {
        ExplainFormat::Text => {
            let mut text = ::sql::explain::plan_to_text(&plan);
            sources.iter().for_each(|line| text.push_str(&format!("{line}\n")));
            if let Some(ran) = ran {
                ran.views.iter().for_each(|view| view_text(view, &mut text));
                text.push_str(&format!("\nRows: {}\nExecution Time: {:.3} ms\n", ran.rows, ran.took_ms));
            }
            Ok(lines(&text))
        }
        ExplainFormat::Json => {
            let mut text = format!("[\n  {{\n    \"Plan\": {}", ::sql::explain::plan_to_json(&plan));
            let sources: Vec<String> = sources.iter().map(|line| ::sql::explain::json_string(line)).collect();
            text.push_str(&format!(",\n    \"Sources\": [{}]", sources.join(", ")));
            if let Some(ran) = ran {
                let views: Vec<String> = ran.views.iter().map(view_json).collect();
                text.push_str(&format!(",\n    \"Actual Rows\": {},\n    \"Views\": [{}]", ran.rows, views.join(", ")));
                text.push_str(&format!(",\n    \"Execution Time\": {:.3}", ran.took_ms));
            }
            text.push_str("\n  }\n]");
            let rows = vec![Row::from([Datum::text(text)])];
            Ok(Outcome::Rows { fields: fields(), rows, tag: "EXPLAIN".to_owned() })
        }
    }
}

/// What ANALYZE adds.
struct Ran {
    rows: usize,
    took_ms: f64,
    /// The views that the query read.
    views: Vec<ViewStatus>,
}

async fn views_read(session: &SqlSession, plan: &Plan) -> Result<Vec<ViewStatus>, SqlError> {
    let read = |view: &ViewStatus| {
        plan.sources()
            .iter()
            .any(|source| matches!(source, Source::View { db, name } if *db == view.db && *name == view.name))
    };
    let mut status = session.engine().sql().views.status(true).await?;
    status.retain(read);
    Ok(status)
}

/// A view's upkeep so far: what each operator gave, holds and took.
fn view_text(view: &ViewStatus, text: &mut String) {
    text.push_str(&format!(
        "\nMaterialized View {}.{}: rows={} events={} changes={} failures={} state={} bytes, {} of them rows\n",
        view.db,
        view.name,
        view.rows,
        view.counters.events,
        view.counters.changes,
        view.counters.failures,
        view.state_bytes,
        view.rows_bytes
    ));
    for (number, operator) in view.operators.iter().enumerate() {
        let inputs: Vec<String> = operator.inputs.iter().map(|input| format!("#{input}")).collect();
        let inputs = if inputs.is_empty() { String::new() } else { format!(" of {}", inputs.join(", ")) };
        text.push_str(&format!(
            "  #{number} {}{inputs}: rows={} time={:.3} ms state={} bytes in {} entries\n",
            operator.name,
            operator.rows,
            operator.time.as_secs_f64() * 1000.0,
            operator.state_bytes,
            operator.state_entries
        ));
    }
}

fn view_json(view: &ViewStatus) -> String {
    let name = ::sql::explain::json_string(&format!("{}.{}", view.db, view.name));
    let operators: Vec<String> = view
        .operators
        .iter()
        .map(|operator| {
            format!(
                "{{\"Node Type\": {}, \"Inputs\": {:?}, \"Rows\": {}, \"Time\": {:.3}, \"State Bytes\": {}, \"State Entries\": {}}}",
                ::sql::explain::json_string(operator.name),
                operator.inputs,
                operator.rows,
                operator.time.as_secs_f64() * 1000.0,
                operator.state_bytes,
                operator.state_entries
            )
        })
        .collect();
    format!(
        "{{\"Name\": {name}, \"Rows\": {}, \"Events\": {}, \"Changes\": {}, \"Failures\": {}, \"State Bytes\": {}, \"Operators\": [{}]}}",
        view.rows,
        view.counters.events,
        view.counters.changes,
        view.counters.failures,
        view.state_bytes,
        operators.join(", ")
    )
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
