//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over
//! `id.timestamp.body`, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A secret, ready.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// `whsec_` and base64, or any text.
    pub fn new(secret: &str) -> Result<Self, String> {
        if secret.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        match secret.strip_prefix("whsec_") {
            Some(encoded) => {
                STANDARD.decode(encoded).map(Key).map_err(|e| format!("the secret after whsec_ is not base64: {e}"))
            }
            None => Ok(Key(secret.as_bytes().to_vec())),
        }
    }

    /// The value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// One name for several events: the same for the same events.
pub fn batch_id<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for id in ids {
        hash.update(id.as_bytes());
        hash.update([0]);
    }
    document::json::hex(&hash.finalize())
}
