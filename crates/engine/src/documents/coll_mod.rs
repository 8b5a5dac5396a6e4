//! What a `collMod` makes of a collection's options and indexes.

use document::{Context, Doc, DocBuf, RawDoc, Value};
use store::write::Modification;
use store::{Catalog, Collection, Index};

use super::collections::{CollMod, IndexChange, check_images};
use super::views;
use crate::{Error, Result};

/// The change for the store, and what the command answers.
pub fn plan(
    catalog: &Catalog,
    collection: &Collection,
    modify: &CollMod,
    context: &Context,
) -> Result<(Modification, Doc)> {
    let mut answer = Doc::new();
    let mut change = Modification { description: modify.description.clone(), ..Modification::default() };
    let mut before = Doc::new().with("collectionOptions", options_with_uuid(collection));
    if collection.is_view() {
        change.options = Some(view_options(catalog, collection, modify, context)?);
    } else {
        if modify.view_on.is_some() {
            return Err(Error::new(72, "'viewOn' option only supported on a view"));
        }
        if modify.pipeline.is_some() {
            return Err(Error::new(72, "'pipeline' option only supported on a view"));
        }
        change.options = Some(collection_options(collection, modify)?);
        if let Some(index) = &modify.index {
            let (name, spec, old) = index_change(collection, index, &mut answer)?;
            change.indexes.push((name, spec));
            before.push("indexOptions", old);
        }
    }
    change.before = before.to_buf();
    Ok((change, answer))
}

fn options_with_uuid(collection: &Collection) -> Doc {
    let mut options = Doc::new();
    if !collection.is_view() {
        options.push("uuid", collection.uuid);
    }
    options.0.extend(collection.options.to_doc().0);
    options
}

fn view_options(catalog: &Catalog, view: &Collection, modify: &CollMod, context: &Context) -> Result<DocBuf> {
    if modify.images.is_some() {
        check_images(&view.namespace, true)?;
    }
    if modify.index.is_some()
        || modify.validator.is_some()
        || modify.validation_level.is_some()
        || modify.validation_action.is_some()
    {
        return Err(Error::new(72, "option not supported on a view"));
    }
    let (view_on, pipeline) = match (&modify.view_on, &modify.pipeline) {
        (Some(view_on), Some(pipeline)) => (view_on, pipeline),
        (None, None) => return Ok(view.options.clone()),
        (None, Some(_)) => {
            return Err(Error::new(72, "Must specify 'viewOn' when modifying a view and 'pipeline' is present"));
        }
        (Some(_), None) => {
            return Err(Error::new(72, "Must specify 'pipeline' when modifying a view and 'viewOn' is present"));
        }
    };
    let collation = views::collation_of(view);
    let options = views::options(view_on, pipeline, collation.as_ref().map(DocBuf::as_doc));
    views::check_definition(catalog, &view.namespace, options.as_doc(), context)?;
    Ok(options)
}

fn collection_options(collection: &Collection, modify: &CollMod) -> Result<DocBuf> {
    let mut options = collection.options.to_doc();
    if let Some(images) = modify.images {
        check_images(&collection.namespace, false)?;
        match images {
            true => options.set("changeStreamPreAndPostImages", Doc::new().with("enabled", true)),
            false => drop(options.remove("changeStreamPreAndPostImages")),
        }
    }
    if let Some(validator) = &modify.validator {
        match validator.is_empty() {
            true => {
                for option in ["validator", "validationLevel", "validationAction"] {
                    options.remove(option);
                }
            }
            false => {
                options.set("validator", validator.to_doc());
                for (option, default) in [("validationLevel", "strict"), ("validationAction", "error")] {
                    if !options.contains(option) {
                        options.push(option, default);
                    }
                }
            }
        }
    }
    if let Some(level) = &modify.validation_level {
        options.set("validationLevel", level.as_str());
    }
    if let Some(action) = &modify.validation_action {
        options.set("validationAction", action.as_str());
    }
    for (option, value) in [("size", modify.capped_size), ("max", modify.capped_max)] {
        let Some(value) = value else { continue };
        if collection.capped.is_none() {
            return Err(Error::new(72, "Collection must be capped."));
        }
        options.set(option, value);
    }
    match &modify.expire_after_seconds {
        None => {}
        Some(_) if !options.contains("clusteredIndex") => {
            return Err(Error::new(72, "'expireAfterSeconds' is only supported on a clustered collection"));
        }
        Some(Value::String(off)) if off == "off" => drop(options.remove("expireAfterSeconds")),
        Some(value) if value.is_number() => {
            options.set("expireAfterSeconds", Value::Int64(value.as_whole().unwrap_or(0)));
        }
        Some(_) => return Err(Error::new(14, "'expireAfterSeconds' must be a number or \"off\"")),
    }
    Ok(options.to_buf())
}

/// The index's name, its new specification, and the old values of what changed.
fn index_change(collection: &Collection, change: &IndexChange, answer: &mut Doc) -> Result<(String, DocBuf, Doc)> {
    let index = find_index(collection, change)?;
    if change.unique.is_some() || change.prepare_unique.is_some() {
        return Err(Error::new(115, "converting an index to a unique one is not supported"));
    }
    let mut spec = index.spec.to_doc();
    let mut old = Doc::new();
    if let Some(seconds) = change.expire_after_seconds {
        let before = spec.get("expireAfterSeconds").cloned();
        let Some(before) = before else { return Err(Error::new(72, "no expireAfterSeconds field to update")) };
        if !(0..=i64::from(i32::MAX)).contains(&seconds) {
            return Err(Error::new(72, "TTL index 'expireAfterSeconds' option must be within an acceptable range"));
        }
        spec.set("expireAfterSeconds", Value::Int64(seconds));
        old.push("expireAfterSeconds", before.as_whole().map_or(before.clone(), Value::Int64));
        answer.push("expireAfterSeconds_old", before);
        let shown = i32::try_from(seconds).map_or(Value::Int64(seconds), Value::Int32);
        answer.push("expireAfterSeconds_new", shown);
    }
    if let Some(hidden) = change.hidden {
        if index.name == "_id_" {
            return Err(Error::new(2, "can't hide _id index"));
        }
        answer.push("hidden_old", index.hidden);
        answer.push("hidden_new", hidden);
        old.push("hidden", index.hidden);
        match hidden {
            true => spec.set("hidden", true),
            false => drop(spec.remove("hidden")),
        }
    }
    Ok((index.name.clone(), spec.to_buf(), old))
}

fn find_index<'a>(collection: &'a Collection, change: &IndexChange) -> Result<&'a Index> {
    let missing = |what: String| Error::new(27, format!("cannot find index {what} for ns {}", collection.namespace));
    if let Some(name) = &change.name {
        return collection.index(name).map(|index| &**index).ok_or_else(|| missing(name.clone()));
    }
    let pattern = change.key_pattern.as_ref().map_or(RawDoc::EMPTY, DocBuf::as_doc);
    let found = collection.indexes.iter().find(|index| super::indexes::has_key(index, pattern));
    found.map(|index| &**index).ok_or_else(|| missing(format!("{pattern:?}")))
}
