//! Plans and expressions as text, for EXPLAIN and for tests.
//!
//! ```text
//! Project: status, count
//!   ->  Aggregate: group by status; count(*)
//!         ->  Scan collection shop.orders: document->'status' AS status
//! ```
//!
//! # Not here
//! What runs at the source and what here: the engine knows the streams.

mod expr;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use expr::{aggregate_to_sql, sort_key_to_sql, window_to_sql};
pub use expr::{expr_to_sql, literal_to_sql};

use crate::plan::{Field, JoinKey, JoinKind, PathStep, Plan, ScanColumn, SetOperation, SortKey, Source, TableFunction};

/// The plan as PostgreSQL's EXPLAIN would indent it. A node read twice is printed once and named.
pub fn plan_to_text(plan: &Arc<Plan>) -> String {
    let mut printer = Printer { out: String::new(), readers: HashMap::new(), names: HashMap::new() };
    count_readers(plan, &mut printer.readers);
    printer.node(plan, 0);
    printer.out
}

/// The plan as EXPLAIN (FORMAT JSON) nests it: each node with its kind, the details that the text
/// form shows, its columns and its inputs under "Plans".
pub fn plan_to_json(plan: &Arc<Plan>) -> String {
    fn node(plan: &Plan, depth: usize, out: &mut String) {
        let pad = "  ".repeat(depth);
        let text = describe(plan);
        let (kind, detail) = text.split_once(": ").unwrap_or((&text, ""));
        let _ = write!(out, "{{\n{pad}  \"Node Type\": {}", json_string(kind));
        if !detail.is_empty() {
            let _ = write!(out, ",\n{pad}  \"Detail\": {}", json_string(detail));
        }
        let columns = list(plan.fields(), |field| json_string(&field.name));
        let _ = write!(out, ",\n{pad}  \"Output\": [{columns}]");
        let inputs = plan.inputs();
        if !inputs.is_empty() {
            let _ = write!(out, ",\n{pad}  \"Plans\": [");
            for (i, input) in inputs.iter().enumerate() {
                let _ = write!(out, "{}\n{pad}    ", if i == 0 { "" } else { "," });
                node(input, depth + 2, out);
            }
            let _ = write!(out, "\n{pad}  ]");
        }
        let _ = write!(out, "\n{pad}}}");
    }
    let mut out = String::new();
    node(plan, 1, &mut out);
    out
}

/// A JSON string of some text.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn count_readers(plan: &Arc<Plan>, readers: &mut HashMap<*const Plan, usize>) {
    let count = readers.entry(Arc::as_ptr(plan)).or_insert(0);
    *count += 1;
    if *count == 1 {
        plan.inputs().into_iter().for_each(|input| count_readers(input, readers));
    }
}

struct Printer {
    out: String,
    readers: HashMap<*const Plan, usize>,
    /// Shared nodes already printed.
    names: HashMap<*const Plan, usize>,
}

impl Printer {
    fn node(&mut self, plan: &Arc<Plan>, depth: usize) {
        let indent = if depth == 0 { String::new() } else { format!("{}->  ", " ".repeat(depth * 6 - 4)) };
        let pointer = Arc::as_ptr(plan);
        if let Some(name) = self.names.get(&pointer) {
            let _ = writeln!(self.out, "{indent}Shared #{name}");
            return;
        }
        let mut label = String::new();
        // A scan is as short as a reference to it.
        if self.readers.get(&pointer).is_some_and(|n| *n > 1) && !plan.inputs().is_empty() {
            let name = self.names.len() + 1;
            self.names.insert(pointer, name);
            label = format!("#{name} ");
        }
        let _ = writeln!(self.out, "{indent}{label}{}", describe(plan));
        for input in plan.inputs() {
            self.node(input, depth + 1);
        }
    }
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn keys(keys: &[SortKey], fields: &[Field]) -> String {
    list(keys, |key| sort_key_to_sql(key, fields))
}

/// One node, without its inputs.
fn describe(plan: &Plan) -> String {
    let inputs = plan.inputs();
    let input: &[Field] = inputs.first().map_or(&[], |input| input.fields());
    match plan {
        Plan::Scan { source, columns, fields } => {
            let columns: Vec<String> =
                columns.iter().zip(fields).map(|(column, field)| scan_column(source, column, field)).collect();
            format!("Scan {}: {}", source_name(source), columns.join(", "))
        }
        Plan::Values { rows, fields } => match (&rows[..], fields.len()) {
            ([_], 0) => "Result".into(),
            _ => format!("Values: {}", list(rows, |row| format!("({})", list(row, |e| expr_to_sql(e, &[]))))),
        },
        Plan::Filter { predicate, .. } => format!("Filter: {}", expr_to_sql(predicate, input)),
        Plan::Project { exprs, fields, .. } => {
            let columns: Vec<String> = exprs.iter().zip(fields).map(|(e, field)| named(e, field, input)).collect();
            format!("Project: {}", columns.join(", "))
        }
        Plan::Aggregate { groups, sets, aggregates, .. } => {
            let mut text = String::from("Aggregate");
            if sets.len() > 1 {
                let set = |set: &Vec<usize>| format!("({})", list(set, |g| expr_to_sql(&groups[*g], input)));
                let _ = write!(text, ": grouping sets {}", list(sets, set));
            } else if !groups.is_empty() {
                let _ = write!(text, ": group by {}", list(groups, |g| expr_to_sql(g, input)));
            }
            if !aggregates.is_empty() {
                let separator = if groups.is_empty() && sets.len() <= 1 { ": " } else { "; " };
                let _ = write!(text, "{separator}{}", list(aggregates, |a| aggregate_to_sql(a, input)));
            }
            text
        }
        Plan::Distinct { .. } => "Distinct".into(),
        Plan::TopN { partition, order, offset, limit, .. } => {
            let mut parts = Vec::new();
            if let Some(limit) = limit {
                parts.push(format!("first {limit}"));
            }
            if *offset > 0 {
                parts.push(format!("after {offset}"));
            }
            if !partition.is_empty() {
                parts.push(format!("per {}", list(partition, |e| expr_to_sql(e, input))));
            }
            if !order.is_empty() {
                parts.push(format!("by {}", keys(order, input)));
            }
            format!("TopN: {}", parts.join(" "))
        }
        Plan::SetOp { operation, all, .. } => {
            let name = match operation {
                SetOperation::Union => "Union",
                SetOperation::Intersect => "Intersect",
                SetOperation::Except => "Except",
            };
            if *all { format!("{name} All") } else { name.into() }
        }
        Plan::Join { left, right, kind, keys, residual, .. } => {
            let both: Vec<Field> = left.fields().iter().chain(right.fields()).cloned().collect();
            let mut conditions: Vec<String> =
                keys.iter().map(|key| join_key(key, left.fields(), right.fields())).collect();
            conditions.extend(residual.iter().map(|e| expr_to_sql(e, &both)));
            let name = join_name(*kind);
            if conditions.is_empty() {
                format!("{name} (cross)")
            } else {
                format!("{name}: {}", conditions.join(" AND "))
            }
        }
        Plan::FlatMap { function, args, outer, ordinality, .. } => {
            let call = format!("{}({})", table_function_name(*function), list(args, |e| expr_to_sql(e, input)));
            let outer = if *outer { " outer" } else { "" };
            let ordinality = if *ordinality { " with ordinality" } else { "" };
            format!("FlatMap{outer}: {call}{ordinality}")
        }
        Plan::Window { exprs, .. } => format!("Window: {}", list(exprs, |w| window_to_sql(w, input))),
        Plan::Sort { keys: order, .. } => format!("Sort: {}", keys(order, input)),
        Plan::Limit { offset, limit, .. } => {
            let mut parts = Vec::new();
            parts.extend(limit.iter().map(|e| expr_to_sql(e, &[])));
            parts.extend(offset.iter().map(|e| format!("offset {}", expr_to_sql(e, &[]))));
            format!("Limit: {}", parts.join(" "))
        }
    }
}

fn named(expr: &crate::expr::Expr, field: &Field, input: &[Field]) -> String {
    let text = expr_to_sql(expr, input);
    let name = expr::identifier(&field.name);
    if text == name { text } else { format!("{text} AS {name}") }
}

fn join_name(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "Join",
        JoinKind::Left => "Left Join",
        JoinKind::Right => "Right Join",
        JoinKind::Full => "Full Join",
        JoinKind::Semi => "Semi Join",
        JoinKind::Anti => "Anti Join",
        JoinKind::NullAwareAnti => "Not In Join",
        JoinKind::Single => "Single Join",
    }
}

fn join_key(key: &JoinKey, left: &[Field], right: &[Field]) -> String {
    let operator = if key.null_safe { "IS NOT DISTINCT FROM" } else { "=" };
    format!("{} {operator} {}", expr_to_sql(&key.left, left), expr_to_sql(&key.right, right))
}

/// `collection shop.orders`.
pub fn source_name(source: &Source) -> String {
    match source {
        Source::Stream { db, name, since, up_to } => {
            let mut text = format!("change stream {db}.{name}");
            if let Some(since) = since {
                let _ = write!(text, " since '{since}'");
            }
            if let Some(up_to) = up_to {
                let _ = write!(text, " up to '{up_to}'");
            }
            text
        }
        Source::Collection { db, name } => format!("collection {db}.{name}"),
        Source::View { db, name } => format!("view {db}.{name}"),
        Source::Recursive(_) => "recursive query".into(),
        Source::Working(_) => "rows found last".into(),
        Source::System { schema, name } if schema.is_empty() => format!("system table {name}"),
        Source::System { schema, name } => format!("system table {schema}.{name}"),
    }
}

fn scan_column(source: &Source, column: &ScanColumn, field: &Field) -> String {
    match column {
        ScanColumn::Whole(_) => expr::identifier(&field.name),
        ScanColumn::Path { column, path, text } => {
            let base = match source {
                Source::Collection { .. } => crate::catalog::collection_columns(),
                Source::Stream { .. } => crate::catalog::stream_columns(),
                _ => vec![],
            };
            let base = base.get(*column).map_or_else(|| format!("column {}", column + 1), |f| f.name.clone());
            format!("{} AS {}", path_to_sql(&base, path, *text), expr::identifier(&field.name))
        }
    }
}

fn path_to_sql(base: &str, path: &[PathStep], text: bool) -> String {
    let mut out = base.to_string();
    for (n, step) in path.iter().enumerate() {
        let arrow = if text && n + 1 == path.len() { "->>" } else { "->" };
        let _ = match step {
            PathStep::Key(key) => write!(out, "{arrow}'{}'", key.replace('\'', "''")),
            PathStep::Index(index) => write!(out, "{arrow}{index}"),
        };
    }
    out
}

pub(crate) fn table_function_name(function: TableFunction) -> &'static str {
    match function {
        TableFunction::Unnest => "unnest",
        TableFunction::JsonArrayElements => "json_array_elements",
        TableFunction::JsonArrayElementsText => "json_array_elements_text",
        TableFunction::JsonEach => "json_each",
        TableFunction::JsonEachText => "json_each_text",
        TableFunction::JsonObjectKeys => "json_object_keys",
        TableFunction::GenerateSeries => "generate_series",
        TableFunction::RegexpMatches => "regexp_matches",
        TableFunction::StringToTable => "string_to_table",
        TableFunction::JsonPathQuery => "jsonb_path_query",
        TableFunction::HopWindows => "hop",
        TableFunction::GenerateSubscripts => "generate_subscripts",
        TableFunction::ExpandArray => "_pg_expandarray",
        TableFunction::Keywords => "pg_get_keywords",
    }
}
