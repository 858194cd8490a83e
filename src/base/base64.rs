//! Base64 with padding (RFC 4648, section 4): bytes inside text.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text is not base64, or has bits left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not base64")]
pub struct NotBase64;

/// Returns the text for `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { digit as char });
        }
    }
    text
}

/// Returns the bytes of `text`, which has its padding and nothing else in it.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return Err(NotBase64);
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    let mut decoded = Vec::with_capacity(bytes.len() / 4 * 3);
    for group in bytes[..bytes.len().checked_sub(padding).filter(|_| padding <= 2).ok_or(NotBase64)?].chunks(4) {
        let bits = group.iter().try_fold(0_u32, |bits, byte| Ok(bits << 6 | value(*byte)?))? << (6 * (4 - group.len()));
        let kept = group.len() - 1;
        if bits & (0xff_ffff >> (8 * kept)) != 0 {
            return Err(NotBase64);
        }
        decoded.extend_from_slice(&bits.to_be_bytes()[1..=kept]);
    }
    Ok(decoded)
}

fn value(digit: u8) -> Result<u32, NotBase64> {
    match digit {
        b'A'..=b'Z' => Ok(u32::from(digit - b'A')),
        b'a'..=b'z' => Ok(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Ok(u32::from(digit - b'0') + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(NotBase64),
    }
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
