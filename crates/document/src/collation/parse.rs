//! The `collation` document, with the server's refusals.

use icu_collator::options::{AlternateHandling, CaseLevel, CollatorOptions, MaxVariable, Strength};
use icu_collator::preferences::{CollationCaseFirst, CollationNumericOrdering};
use icu_collator::{Collator, CollatorPreferences};
use icu_locale_core::Locale;

use super::Collation;
use crate::error::{Error, Result};
use crate::raw::{Raw, RawDoc};

/// Languages the server has collation data for (its manual, "Collation Locales").
const LANGUAGES: [&str; 104] = [
    "af", "am", "ar", "as", "az", "be", "bg", "bn", "bo", "bs", "ca", "chr", "cs", "cy", "da", "de", "dsb", "dz", "ee",
    "el", "en", "eo", "es", "et", "fa", "fi", "fil", "fo", "fr", "ga", "gl", "gu", "ha", "haw", "he", "hi", "hr",
    "hsb", "hu", "hy", "id", "ig", "is", "it", "ja", "ka", "kk", "kl", "km", "kn", "ko", "kok", "ky", "lb", "lkt",
    "ln", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "mt", "my", "nb", "ne", "nl", "nn", "no", "om", "or", "pa",
    "pl", "ps", "pt", "ro", "ru", "se", "si", "sk", "sl", "smn", "sq", "sr", "sv", "sw", "ta", "te", "th", "to", "tr",
    "ug", "uk", "ur", "vi", "wae", "yi", "yo", "zh", "zu", "root", "und",
];

/// ICU's long names of collation types and their BCP 47 values.
const VARIANTS: [(&str, &str); 15] = [
    ("compat", "compat"),
    ("dictionary", "dict"),
    ("emoji", "emoji"),
    ("eor", "eor"),
    ("gb2312han", "gb2312"),
    ("phonebook", "phonebk"),
    ("phonetic", "phonetic"),
    ("pinyin", "pinyin"),
    ("reformed", "reformed"),
    ("search", "search"),
    ("searchjl", "searchjl"),
    ("standard", "standard"),
    ("stroke", "stroke"),
    ("traditional", "trad"),
    ("zhuyin", "zhuyin"),
];

/// The options as given.
#[derive(Default)]
struct Given<'a> {
    locale: Option<&'a str>,
    case_first: Option<CollationCaseFirst>,
    numeric_ordering: Option<bool>,
    normalization: bool,
    backwards: Option<bool>,
    options: CollatorOptions,
}

impl Collation {
    /// `None` for `{locale: "simple"}` and for the empty document. Errors with 2, 9, 14, 40414 or
    /// 40415.
    pub fn parse(doc: RawDoc<'_>) -> Result<Option<Collation>> {
        if doc.is_empty() {
            return Ok(None);
        }
        let mut given = Given::default();
        for (name, value) in doc.iter() {
            given.option(name, value)?;
        }
        let Some(locale) = given.locale else {
            return Err(Error::new(40414, "BSON field 'collation.locale' is missing but a required field"));
        };
        if locale == "simple" {
            if doc.iter().count() > 1 {
                return Err(Error::bad_value(format!(
                    "If locale=simple, no other fields may be set in: {}",
                    crate::json::to_plain_string(Raw::Document(doc))
                )));
            }
            return Ok(None);
        }
        given.build(locale, doc).map(Some)
    }
}

impl<'a> Given<'a> {
    fn option(&mut self, name: &str, value: Raw<'a>) -> Result<()> {
        match name {
            "locale" => self.locale = Some(text(name, value)?),
            "caseLevel" => {
                self.options.case_level = Some(if flag(name, value)? { CaseLevel::On } else { CaseLevel::Off });
            }
            "caseFirst" => {
                self.case_first = Some(match text(name, value)? {
                    "upper" => CollationCaseFirst::Upper,
                    "lower" => CollationCaseFirst::Lower,
                    "off" => CollationCaseFirst::False,
                    other => return Err(not_listed(name, other)),
                });
            }
            "strength" => self.options.strength = Some(strength(value)?),
            "numericOrdering" => self.numeric_ordering = Some(flag(name, value)?),
            "alternate" => {
                self.options.alternate_handling = Some(match text(name, value)? {
                    "non-ignorable" => AlternateHandling::NonIgnorable,
                    "shifted" => AlternateHandling::Shifted,
                    other => return Err(not_listed(name, other)),
                });
            }
            "maxVariable" => {
                self.options.max_variable = Some(match text(name, value)? {
                    "punct" => MaxVariable::Punctuation,
                    "space" => MaxVariable::Space,
                    other => return Err(not_listed(name, other)),
                });
            }
            "normalization" => self.normalization = flag(name, value)?,
            "backwards" => self.backwards = Some(flag(name, value)?),
            "version" => {
                let version = text(name, value)?;
                if version != "57.1" {
                    return Err(Error::new(
                        161,
                        format!("Requested collator version {version}, which is incompatible with this server's 57.1"),
                    ));
                }
            }
            _ => return Err(Error::new(40415, format!("BSON field 'collation.{name}' is an unknown field."))),
        }
        Ok(())
    }

    fn build(self, locale: &str, doc: RawDoc<'_>) -> Result<Collation> {
        let invalid = || {
            Error::bad_value(format!(
                "Field 'locale' is invalid in: {}",
                crate::json::to_plain_string(Raw::Document(doc))
            ))
        };
        let (language, tag) = language_tag(locale).ok_or_else(invalid)?;
        let canadian = tag.starts_with("fr-CA");
        let backwards = self.backwards.unwrap_or(canadian);
        // Backward second-level weights exist in the data of Canadian French only.
        let tag = match (backwards, language) {
            (true, "fr") if !canadian => tag.replacen("fr", "fr-CA", 1),
            (false, "fr") if canadian => tag.replacen("fr-CA", "fr", 1),
            (true, language) if language != "fr" => {
                return Err(Error::new(238, "collation option 'backwards' is supported for French only"));
            }
            _ => tag,
        };
        let parsed = Locale::try_from_str(&tag).map_err(|_| invalid())?;
        let mut preferences = CollatorPreferences::from(&parsed);
        if self.case_first.is_some() {
            preferences.case_first = self.case_first;
        }
        preferences.numeric_ordering = self
            .numeric_ordering
            .map(|on| if on { CollationNumericOrdering::True } else { CollationNumericOrdering::False });
        let collator = Collator::try_new(preferences, self.options).map_err(|_| invalid())?;
        Ok(Collation { locale: locale.to_owned(), normalization: self.normalization, backwards, collator })
    }
}

/// Language and BCP 47 tag of an ICU locale name such as `de_AT@collation=phonebook`.
fn language_tag(locale: &str) -> Option<(&'static str, String)> {
    let (name, keywords) = locale.split_once('@').unwrap_or((locale, ""));
    let mut parts = name.split(['_', '-']);
    let first = parts.next()?;
    let language = LANGUAGES.into_iter().find(|known| *known == first)?;
    let mut tag = if language == "root" { "und".to_owned() } else { language.to_owned() };
    for part in parts {
        let alphabetic = part.bytes().all(|b| b.is_ascii_alphabetic());
        match part {
            "POSIX" => {}
            _ if alphabetic && matches!(part.len(), 2 | 4) => {
                tag.push('-');
                tag.push_str(part);
            }
            _ => return None,
        }
    }
    if !keywords.is_empty() {
        let variant = keywords.strip_prefix("collation=")?;
        let (_, value) = VARIANTS.into_iter().find(|(long, _)| *long == variant)?;
        tag.push_str("-u-co-");
        tag.push_str(value);
    }
    Some((language, tag))
}

fn text<'a>(name: &str, value: Raw<'a>) -> Result<&'a str> {
    value.as_str().ok_or_else(|| wrong_type(name, value, "string"))
}

fn flag(name: &str, value: Raw<'_>) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong_type(name, value, "bool"))
}

fn strength(value: Raw<'_>) -> Result<Strength> {
    if !value.is_number() {
        return Err(wrong_type("strength", value, "int"));
    }
    Ok(match value.as_whole() {
        Some(1) => Strength::Primary,
        Some(2) => Strength::Secondary,
        Some(3) => Strength::Tertiary,
        Some(4) => Strength::Quaternary,
        Some(5) => Strength::Identical,
        _ => {
            return Err(Error::bad_value(format!(
                "Field 'strength' must be an integer 1 through 5. Got: {}",
                crate::json::to_plain_string(value)
            )));
        }
    })
}

fn wrong_type(name: &str, value: Raw<'_>, expected: &str) -> Error {
    Error::type_mismatch(format!(
        "BSON field 'collation.{name}' is the wrong type '{}', expected type '{expected}'",
        value.type_name()
    ))
}

fn not_listed(name: &str, value: &str) -> Error {
    Error::bad_value(format!("Enumeration value '{value}' for field 'collation.{name}' is not a valid value."))
}
