//! `to_char` and `to_number` for numbers.

use crate::datetime::format::ordinal_suffix;
use crate::error::{Result, SqlError};
use crate::numeric::Numeric;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// `9` (false) or `0` (true).
    Digit(bool),
    Point,
    Group,
    /// `S`: the sign, at the number's side.
    Sign,
    Minus,
    Plus,
    PlusMinus,
    Ordinal(bool),
    Text(char),
}

/// A template, taken apart.
#[derive(Debug, Default)]
struct Template {
    pieces: Vec<Piece>,
    fill: bool,
    brackets: bool,
    roman: Option<bool>,
    exponent: bool,
    shift: u32,
    before: usize,
    after: usize,
}

fn parse(text: &str) -> Result<Template> {
    let mut template = Template { fill: true, ..Template::default() };
    let mut rest = text;
    let (mut after_point, mut shifting) = (false, false);
    while let Some(c) = rest.chars().next() {
        let upper = rest.get(..4).or(rest.get(..3)).or(rest.get(..2)).unwrap_or(rest).to_ascii_uppercase();
        let mut take = c.len_utf8();
        if upper.starts_with("FM") {
            template.fill = false;
            take = 2;
        } else if upper.starts_with("EEEE") {
            template.exponent = true;
            take = 4;
        } else if upper.starts_with("PR") {
            template.brackets = true;
            take = 2;
        } else if upper.starts_with("RN") {
            template.roman = Some(c == 'r');
            take = 2;
        } else if upper.starts_with("MI") {
            template.pieces.push(Piece::Minus);
            take = 2;
        } else if upper.starts_with("PL") {
            template.pieces.push(Piece::Plus);
            take = 2;
        } else if upper.starts_with("SG") {
            template.pieces.push(Piece::PlusMinus);
            take = 2;
        } else if upper.starts_with("TH") {
            template.pieces.push(Piece::Ordinal(c == 'T'));
            take = 2;
        } else if c == '"' {
            let end = rest[1..].find('"').map_or(rest.len() - 1, |i| i + 1);
            template.pieces.extend(rest[1..end].chars().map(Piece::Text));
            take = (end + 1).min(rest.len());
        } else {
            match c.to_ascii_uppercase() {
                '9' | '0' => {
                    template.pieces.push(Piece::Digit(c == '0'));
                    if shifting {
                        template.shift += 1;
                        template.before += 1;
                    } else if after_point {
                        template.after += 1;
                    } else {
                        template.before += 1;
                    }
                }
                '.' | 'D' => {
                    if after_point {
                        return Err(SqlError::syntax("multiple decimal points"));
                    }
                    after_point = true;
                    template.pieces.push(Piece::Point);
                }
                ',' | 'G' => template.pieces.push(Piece::Group),
                'S' => template.pieces.push(Piece::Sign),
                'V' => shifting = true,
                'L' => template.pieces.push(Piece::Text(' ')),
                _ => template.pieces.push(Piece::Text(c)),
            }
        }
        rest = &rest[take..];
    }
    Ok(template)
}

/// Fills a template with a number.
pub fn write(number: &Numeric, text: &str) -> Result<String> {
    let template = parse(text)?;
    if let Some(lower) = template.roman {
        return Ok(roman(number, lower, template.fill));
    }
    if template.exponent {
        return Ok(scientific(number, &template));
    }
    let shifted = if template.shift > 0 {
        number.multiply(&Numeric::new(crate::numeric::power_of_ten(template.shift), 0))?
    } else {
        number.clone()
    };
    let rounded = shifted.round(template.after as i32)?;
    let negative = rounded.signum() < 0;
    let shown = rounded.abs().to_string();
    let (whole, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    let whole = whole.trim_start_matches('0');
    let overflow = !number.is_finite() || whole.len() > template.before;
    Ok(Writer { template: &template, negative, whole, fraction, overflow, out: String::new(), signed: false }.run())
}

struct Writer<'a> {
    template: &'a Template,
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    overflow: bool,
    out: String,
    /// Has the sign before the number been written?
    signed: bool,
}

impl Writer<'_> {
    fn run(mut self) -> String {
        let template = self.template;
        let has_own_sign =
            template.pieces.iter().any(|p| matches!(p, Piece::Sign | Piece::Minus | Piece::Plus | Piece::PlusMinus));
        let first_digit = template.pieces.iter().position(|p| matches!(p, Piece::Digit(_) | Piece::Point));
        let leading_sign = template
            .pieces
            .iter()
            .position(|p| *p == Piece::Sign)
            .is_some_and(|at| first_digit.is_none_or(|first| at < first));
        // What stands directly before the first digit.
        let sign: &str = match (has_own_sign, leading_sign, template.brackets, self.negative) {
            (_, true, _, true) => "-",
            (_, true, _, false) => "+",
            (true, false, ..) => "",
            (false, false, true, true) => "<",
            (false, false, false, true) => "-",
            (false, false, _, false) if template.fill => " ",
            _ => "",
        };
        let zeros_from =
            template.pieces.iter().filter(|p| matches!(p, Piece::Digit(_))).position(|p| *p == Piece::Digit(true));
        let blank_before = template.before - self.whole.len().min(template.before);
        // Without digits after the point, a zero is written as one.
        let shows_zero = template.after == 0 && self.whole.is_empty();
        let keep_fraction = self.kept_fraction();
        let (mut position, mut places, mut past_point) = (0, 0, false);
        for piece in &template.pieces {
            match piece {
                Piece::Digit(_) if past_point => {
                    if places < keep_fraction {
                        self.begin(sign);
                        self.out.push(if self.overflow { '#' } else { char::from(self.fraction.as_bytes()[places]) });
                    }
                    places += 1;
                }
                Piece::Digit(_) => {
                    let zero = zeros_from.is_some_and(|from| position >= from);
                    let last = position + 1 == template.before;
                    if self.overflow {
                        self.begin(sign);
                        self.out.push('#');
                    } else if position >= blank_before {
                        self.begin(sign);
                        self.out.push(char::from(self.whole.as_bytes()[position - blank_before]));
                    } else if zero || last && shows_zero {
                        self.begin(sign);
                        self.out.push('0');
                    } else if template.fill {
                        self.out.push(' ');
                    }
                    position += 1;
                }
                Piece::Point => {
                    past_point = true;
                    self.begin(sign);
                    self.out.push('.');
                }
                Piece::Group => {
                    if self.signed {
                        self.out.push(',');
                    } else if template.fill {
                        self.out.push(' ');
                    }
                }
                Piece::Sign if leading_sign => {}
                Piece::Sign | Piece::PlusMinus => self.out.push(if self.negative { '-' } else { '+' }),
                Piece::Minus => match (self.negative, template.fill) {
                    (true, _) => self.out.push('-'),
                    (false, true) => self.out.push(' '),
                    _ => {}
                },
                Piece::Plus => match (self.negative, template.fill) {
                    (false, _) => self.out.push('+'),
                    (true, true) => self.out.push(' '),
                    _ => {}
                },
                Piece::Ordinal(upper) => {
                    if !self.negative && template.after == 0 {
                        let suffix = ordinal_suffix(&self.out);
                        self.out.push_str(&if *upper { suffix.to_uppercase() } else { suffix.to_owned() });
                    }
                }
                Piece::Text(c) => self.out.push(*c),
            }
        }
        if template.brackets {
            match (self.negative, template.fill) {
                (true, _) => self.out.push('>'),
                (false, true) => self.out.push(' '),
                _ => {}
            }
        }
        self.out
    }

    fn begin(&mut self, sign: &str) {
        if !self.signed {
            self.signed = true;
            self.out.push_str(sign);
        }
    }

    /// `FM` drops trailing zeros of the fraction, down to the last `0` of the template.
    fn kept_fraction(&self) -> usize {
        if self.template.fill || self.overflow {
            return self.template.after;
        }
        let digits: Vec<bool> = self
            .template
            .pieces
            .iter()
            .skip_while(|p| **p != Piece::Point)
            .filter_map(|p| if let Piece::Digit(zero) = p { Some(*zero) } else { None })
            .collect();
        let forced = digits.iter().rposition(|zero| *zero).map_or(0, |i| i + 1);
        self.fraction.trim_end_matches('0').len().max(forced)
    }
}

fn scientific(number: &Numeric, template: &Template) -> String {
    if !number.is_finite() {
        return " ".to_owned() + &"#".repeat(template.before + template.after + 5);
    }
    let places = template.after;
    let text = number.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = format!("{whole}{fraction}");
    let first = digits.find(|c| c != '0');
    let mut exponent = first.map_or(0, |first| whole.len() as i64 - 1 - first as i64);
    let significant = first.map_or("0", |first| &digits[first..]);
    let unscaled: num_bigint::BigInt = significant.parse().unwrap_or_default();
    let mantissa = Numeric::new(unscaled, (significant.len() - 1) as u16);
    let mut rounded = mantissa.round(places as i32).map_or_else(|_| mantissa.to_string(), |m| m.to_string());
    if rounded.starts_with("10") {
        exponent += 1;
        rounded = if places > 0 { format!("1.{}", "0".repeat(places)) } else { "1".to_owned() };
    }
    let sign = match (number.signum() < 0, template.fill) {
        (true, _) => "-",
        (false, true) => " ",
        _ => "",
    };
    format!("{sign}{rounded}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn roman(number: &Numeric, lower: bool, fill: bool) -> String {
    const PARTS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let Some(mut n) = number.to_i64().filter(|n| (1..4000).contains(n)) else { return "#".repeat(15) };
    let mut text = String::new();
    for (value, letters) in PARTS {
        while n >= value {
            text.push_str(letters);
            n -= value;
        }
    }
    if lower {
        text = text.to_lowercase();
    }
    if fill { format!("{text:>15}") } else { text }
}

/// Reads a number by a template: digits, sign and point count, the rest is passed over.
pub fn read(text: &str, template: &str) -> Result<Numeric> {
    let parsed = parse(template)?;
    let mut digits = String::new();
    let mut negative = false;
    let mut point = false;
    for c in text.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '.' if !point && parsed.pieces.contains(&Piece::Point) => {
                point = true;
                digits.push('.');
            }
            '.' => break,
            '-' => negative = true,
            '<' if parsed.brackets => negative = true,
            _ => {}
        }
    }
    let invalid = || SqlError::new("22P02", format!("invalid input syntax for type numeric: \"{}\"", text.trim()));
    let number = Numeric::parse(&digits).ok_or_else(invalid)??;
    let number = if parsed.shift > 0 {
        number.divide(&Numeric::new(crate::numeric::power_of_ten(parsed.shift), 0))?
    } else {
        number
    };
    Ok(if negative { number.negate() } else { number })
}
