//! `SET headwater.read_after`: a session reads nothing older than a moment that it knows of.
//!
//! A driver's operationTime, an event's change_id or cluster_time, or a resume token. What this server
//! has acknowledged is in every read anyway; the setting is for a moment learned elsewhere.

use std::time::Duration;

use ::sql::SqlError;
use base::ClusterTime;
use changes::ResumeToken;

use crate::Headwater;

/// In lower case, as settings are kept.
pub(super) const SETTING: &str = "headwater.read_after";
/// Longest wait for a moment that has not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A resume token, `seconds.increment` as `cluster_time` shows it, or `Timestamp(seconds, increment)`.
pub(super) fn parse(text: &str) -> Result<ClusterTime, SqlError> {
    let invalid = || {
        SqlError::new("22023", format!("invalid value for parameter \"{SETTING}\": \"{text}\""))
            .with_hint("It is a resume token, a cluster_time, or Timestamp(seconds, increment).")
    };
    let text = text.trim();
    if let Ok(token) = ResumeToken::parse_data(text, Vec::new()) {
        return Ok(token.cluster_time());
    }
    let bare = text.strip_prefix("Timestamp(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    if let Some((seconds, increment)) = bare.split_once(',') {
        let part = |digits: &str| digits.trim().parse::<u32>().map_err(|_| invalid());
        return Ok(ClusterTime::new(part(seconds)?, part(increment)?));
    }
    // The increment is the last ten decimals.
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    let seconds = seconds.parse::<u32>().map_err(|_| invalid())?;
    if decimals.len() > 10 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let increment = format!("{decimals:0<10}").parse::<u32>().map_err(|_| invalid())?;
    Ok(ClusterTime::new(seconds, increment))
}

/// Returns once everything up to the time is durable here.
pub(super) async fn wait(engine: &Headwater, time: ClusterTime) -> Result<(), SqlError> {
    let growth = engine.growth();
    let reached = async {
        loop {
            let grown = growth.notified();
            tokio::pin!(grown);
            // Before looking, so that nothing becomes durable unseen between the two.
            grown.as_mut().enable();
            if engine.store().durable() >= time {
                return;
            }
            grown.await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.map_err(|_| {
        SqlError::new("57014", format!("the server has not reached {time} in time"))
            .with_hint("RESET headwater.read_after to read what is there.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_all_their_spellings() {
        let wanted = ClusterTime::new(1_700_000_000, 12);
        let token = ResumeToken::high_water_mark(wanted).data();
        for text in ["1700000000.0000000012", "Timestamp(1700000000, 12)", "1700000000,12", token.as_str()] {
            assert_eq!(parse(text).expect(text), wanted, "{text}");
        }
        for text in ["", "yesterday", "1.2.3", "Timestamp(1)", "82zz", "-1", "5000000000.1"] {
            assert_eq!(parse(text).expect_err(text).code, "22023", "{text}");
        }
    }
}
