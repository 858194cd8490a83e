//! Base64 with padding (RFC 4648, section 4): bytes inside text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The text is not base64, or has bits left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not base64")]
pub struct NotBase64;

/// Returns the text for `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Returns the bytes of `text`, which has its padding and nothing else in it.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    STANDARD.decode(text).map_err(|_| NotBase64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_in_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("a:ÿ", "YTrDvw==")]
        {
            assert_eq!(encode(bytes.as_bytes()), text, "{bytes}");
            assert_eq!(decode(text).expect(text), bytes.as_bytes(), "{text}");
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Zg===", "====", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zg==Zg==", "Zm-v"] {
            assert_eq!(decode(text), Err(NotBase64), "{text}");
        }
    }
}
