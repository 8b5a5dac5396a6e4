//! Why a document does not satisfy a filter, in the server's words: one entry per clause that
//! does not hold, with what was expected and what was found.

use document::matcher::Matcher;
use document::path::Path;
use document::{Context, Doc, DocWriter, Raw, RawDoc, Value};

/// The `details` of a validation error. The document does not match the filter.
pub fn explain(filter: RawDoc<'_>, document: RawDoc<'_>) -> Doc {
    let clauses = clauses(filter);
    match clauses.as_slice() {
        [only] => explain_clause(only, document),
        _ => list("$and", &clauses, document),
    }
}

/// One condition of a filter, standing alone.
struct Clause<'a> {
    /// The field, or the top-level operator.
    name: &'a str,
    /// `None` for an implicit equality or a top-level operator.
    operator: Option<&'a str>,
    argument: Raw<'a>,
}

fn clauses(filter: RawDoc<'_>) -> Vec<Clause<'_>> {
    let mut out = Vec::new();
    for (name, value) in filter.iter() {
        match value {
            Raw::Document(operators)
                if !name.starts_with('$') && document::matcher::is_operator_document(operators) =>
            {
                for (operator, argument) in operators.iter() {
                    out.push(Clause { name, operator: Some(operator), argument });
                }
            }
            argument => out.push(Clause { name, operator: None, argument }),
        }
    }
    out
}

impl Clause<'_> {
    fn as_filter(&self) -> document::DocBuf {
        let mut filter = DocWriter::new();
        match self.operator {
            None => filter.raw(self.name, self.argument),
            Some(operator) => {
                filter.begin_document(self.name);
                filter.raw(operator, self.argument);
                filter.end();
            }
        }
        filter.finish()
    }

    /// Whether it holds. A clause that cannot be judged alone (`$options`) counts as holding.
    fn holds(&self, document: RawDoc<'_>) -> bool {
        match Matcher::parse(self.as_filter().as_doc(), &Context::default()) {
            Ok(matcher) => matcher.matches(document).unwrap_or(true),
            Err(_) => true,
        }
    }
}

fn list(operator: &str, clauses: &[Clause<'_>], document: RawDoc<'_>) -> Doc {
    let failing = clauses.iter().enumerate().filter(|(_, clause)| !clause.holds(document));
    let entries: Vec<Value> = failing.map(|(index, clause)| entry(index, explain_clause(clause, document))).collect();
    Doc::new().with("operatorName", operator).with("clausesNotSatisfied", entries)
}

fn entry(index: usize, details: Doc) -> Value {
    Value::Document(Doc::new().with("index", index as i32).with("details", details))
}

fn explain_clause(clause: &Clause<'_>, document: RawDoc<'_>) -> Doc {
    match (clause.name, clause.argument) {
        ("$and", Raw::Array(branches)) => explain_branches("$and", branches, document, false),
        ("$or", Raw::Array(branches)) => explain_branches("$or", branches, document, false),
        ("$nor", Raw::Array(branches)) => explain_branches("$nor", branches, document, true),
        ("$expr", expression) => Doc::new()
            .with("operatorName", "$expr")
            .with("specifiedAs", Doc::new().with("$expr", expression.to_value()))
            .with("reason", "expression did not match")
            .with("expressionResult", false),
        ("$jsonSchema", Raw::Document(schema)) => super::schema::explain(schema, document),
        _ => explain_field(clause, document),
    }
}

fn explain_branches(operator: &str, branches: RawDoc<'_>, document: RawDoc<'_>, negated: bool) -> Doc {
    let mut entries = Vec::new();
    for (index, branch) in branches.values().enumerate() {
        let Raw::Document(branch) = branch else { continue };
        let holds = Matcher::parse(branch, &Context::default()).and_then(|matcher| matcher.matches(document));
        let holds = holds.unwrap_or(false);
        if holds == negated {
            let details = match negated {
                false => explain(branch, document),
                true => satisfied(branch, document),
            };
            entries.push(entry(index, details));
        }
    }
    let name = if negated { "clausesSatisfied" } else { "clausesNotSatisfied" };
    Doc::new().with("operatorName", operator).with(name, entries)
}

/// A branch of `$nor` that should not hold and does.
fn satisfied(branch: RawDoc<'_>, document: RawDoc<'_>) -> Doc {
    let clauses = clauses(branch);
    let Some(clause) = clauses.first() else { return Doc::new() };
    let mut details = head(clause);
    details.push("reason", positive_reason(clause.operator.unwrap_or("$eq")));
    if let Some(value) = Path::new(clause.name).get(document) {
        details.push("consideredValue", value.to_value());
    }
    details
}

fn head(clause: &Clause<'_>) -> Doc {
    Doc::new().with("operatorName", clause.operator.unwrap_or("$eq")).with("specifiedAs", clause.as_filter().to_doc())
}

fn explain_field(clause: &Clause<'_>, document: RawDoc<'_>) -> Doc {
    let operator = clause.operator.unwrap_or("$eq");
    let mut details = head(clause);
    if operator == "$not" {
        let mut inner = Doc::new().with("operatorName", "$not");
        inner.push("details", satisfied_not(clause, document));
        return inner;
    }
    let values = considered(clause.name, document);
    if operator == "$exists" {
        details.push("reason", if values.is_empty() { "path does not exist" } else { "path does exist" });
        return details;
    }
    if values.is_empty() {
        details.push("reason", "field was missing");
        return details;
    }
    details.push("reason", reason(operator));
    if let [only] = values.as_slice() {
        details.push("consideredValue", only.to_value());
        if operator == "$type" {
            details.push("consideredType", only.type_name());
        }
    } else {
        details.push("consideredValues", values.iter().map(|value| value.to_value()).collect::<Vec<_>>());
        if operator == "$type" {
            let types: Vec<Value> = values.iter().map(|value| value.type_name().into()).collect();
            details.push("consideredTypes", types);
        }
    }
    details
}

fn satisfied_not(clause: &Clause<'_>, document: RawDoc<'_>) -> Doc {
    let Raw::Document(inner) = clause.argument else { return Doc::new() };
    let Some((operator, argument)) = inner.iter().next() else { return Doc::new() };
    let inner = Clause { name: clause.name, operator: Some(operator), argument };
    let mut details = head(&inner);
    details.push("reason", positive_reason(operator));
    if let Some(value) = Path::new(clause.name).get(document) {
        details.push("consideredValue", value.to_value());
    }
    details
}

/// What the condition was asked of: the elements of an array and the array itself.
fn considered<'a>(path: &str, document: RawDoc<'a>) -> Vec<Raw<'a>> {
    match Path::new(path).get(document) {
        None => Vec::new(),
        Some(Raw::Array(elements)) => elements.values().chain([Raw::Array(elements)]).collect(),
        Some(value) => vec![value],
    }
}

fn reason(operator: &str) -> &'static str {
    match operator {
        "$type" => "type did not match",
        "$in" => "no matching value found in array",
        "$nin" => "matching value found in array",
        "$ne" => "comparison succeeded",
        "$regex" => "regular expression did not match",
        "$mod" => "$mod did not evaluate to expected remainder",
        "$size" => "array length was not equal to given size",
        "$all" => "array did not contain all specified values",
        "$elemMatch" => "array did not satisfy the child predicate",
        "$bitsAllSet" | "$bitsAllClear" | "$bitsAnySet" | "$bitsAnyClear" => "bitwise operator failed to match",
        _ => "comparison failed",
    }
}

fn positive_reason(operator: &str) -> &'static str {
    match operator {
        "$type" => "type did match",
        "$in" => "matching value found in array",
        "$regex" => "regular expression did match",
        "$exists" => "path does exist",
        "$size" => "array length was equal to given size",
        "$mod" => "$mod did evaluate to expected remainder",
        _ => "comparison succeeded",
    }
}
