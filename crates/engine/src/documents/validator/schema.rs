//! The `$jsonSchema` part of a validation error.

use document::matcher::Matcher;
use document::{Context, Doc, DocWriter, Raw, RawDoc, Value};

/// Which keywords of a schema an object breaks.
pub fn explain(schema: RawDoc<'_>, object: RawDoc<'_>) -> Doc {
    Doc::new().with("operatorName", "$jsonSchema").with("schemaRulesNotSatisfied", rules(schema, object))
}

/// Whether an object obeys a schema that consists of these keywords.
fn obeys(schema: &Doc, object: RawDoc<'_>) -> bool {
    let mut filter = DocWriter::new();
    filter.value("$jsonSchema", &Value::Document(schema.clone()));
    match Matcher::parse(filter.finish().as_doc(), &Context::default()) {
        Ok(matcher) => matcher.matches(object).unwrap_or(true),
        Err(_) => true,
    }
}

fn rules(schema: RawDoc<'_>, object: RawDoc<'_>) -> Vec<Value> {
    let mut broken = Vec::new();
    for (keyword, argument) in schema.iter() {
        if matches!(keyword, "title" | "description") {
            continue;
        }
        let mut alone = Doc::new().with(keyword, argument.to_value());
        if keyword == "additionalProperties" {
            for other in ["properties", "patternProperties"] {
                if let Some(value) = schema.get(other) {
                    // Only their names matter here; any value will do.
                    alone.push(other, anything(value));
                }
            }
        }
        if obeys(&alone, object) {
            continue;
        }
        broken.push(Value::Document(rule(keyword, argument, schema, object)));
    }
    broken
}

fn anything(properties: Raw<'_>) -> Doc {
    let Raw::Document(properties) = properties else { return Doc::new() };
    properties.iter().map(|(name, _)| (name.to_owned(), Value::Document(Doc::new()))).collect()
}

fn rule(keyword: &str, argument: Raw<'_>, schema: RawDoc<'_>, object: RawDoc<'_>) -> Doc {
    let specified = Doc::new().with(keyword, argument.to_value());
    match (keyword, argument) {
        ("required", Raw::Array(names)) => {
            let missing: Vec<Value> =
                names.values().filter_map(Raw::as_str).filter(|name| !object.contains(name)).map(Value::from).collect();
            Doc::new().with("operatorName", keyword).with("specifiedAs", specified).with("missingProperties", missing)
        }
        ("properties", Raw::Document(properties)) => {
            let mut broken = Vec::new();
            for (name, property) in properties.iter() {
                let (Raw::Document(property), Some(value)) = (property, object.get(name)) else { continue };
                let details = property_rules(property, value);
                if details.is_empty() {
                    continue;
                }
                let mut entry = Doc::new().with("propertyName", name);
                if let Some(description) = property.get("description") {
                    entry.push("description", description.to_value());
                }
                entry.push("details", details);
                broken.push(Value::Document(entry));
            }
            Doc::new().with("operatorName", keyword).with("propertiesNotSatisfied", broken)
        }
        ("additionalProperties", _) => {
            let known = schema.get("properties").and_then(Raw::as_document).unwrap_or(RawDoc::EMPTY);
            let extra: Vec<Value> =
                object.iter().map(|(name, _)| name).filter(|name| !known.contains(name)).map(Value::from).collect();
            Doc::new().with("operatorName", keyword).with("specifiedAs", specified).with("additionalProperties", extra)
        }
        _ => Doc::new()
            .with("operatorName", keyword)
            .with("specifiedAs", specified)
            .with("reason", reason(keyword))
            .with("consideredValue", object.to_doc()),
    }
}

/// What one property's value breaks.
fn property_rules(schema: RawDoc<'_>, value: Raw<'_>) -> Vec<Value> {
    let mut broken = Vec::new();
    for (keyword, argument) in schema.iter() {
        if matches!(keyword, "title" | "description") {
            continue;
        }
        let property = Doc::new().with("v", Doc::new().with(keyword, argument.to_value()));
        let mut wrapped = DocWriter::new();
        wrapped.raw("v", value);
        if obeys(&Doc::new().with("properties", property), wrapped.finish().as_doc()) {
            continue;
        }
        if let (Raw::Document(object), "properties" | "required" | "additionalProperties") = (value, keyword) {
            broken.push(Value::Document(rule(keyword, argument, schema, object)));
            continue;
        }
        let mut details = Doc::new()
            .with("operatorName", keyword)
            .with("specifiedAs", Doc::new().with(keyword, argument.to_value()))
            .with("reason", reason(keyword))
            .with("consideredValue", value.to_value());
        if matches!(keyword, "bsonType" | "type") {
            details.push("consideredType", value.type_name());
        }
        broken.push(Value::Document(details));
    }
    broken
}

fn reason(keyword: &str) -> &'static str {
    match keyword {
        "bsonType" | "type" => "type did not match",
        "enum" => "value was not found in enum",
        "pattern" => "regular expression did not match",
        "minLength" | "maxLength" => "specified string length was not satisfied",
        "minItems" | "maxItems" => "array did not match specified length",
        "uniqueItems" => "found a duplicate item",
        "multipleOf" => "considered value is not a multiple of the specified value",
        "minProperties" | "maxProperties" => "specified number of properties was not satisfied",
        _ => "comparison failed",
    }
}
