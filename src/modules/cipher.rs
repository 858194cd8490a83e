//! Which algorithms the kernel asks for when a volume is opened with a cipher as cryptsetup writes it: `aes-xts-plain64`.
//!
//! Facts: `crypt_ctr_cipher_old` and `crypt_ctr_cipher_new` of `drivers/md/dm-crypt.c`, and the names that templates in `crypto/` grab.

/// What a template or an initialisation vector uses beside what its name says.
const IMPLIED: [(&str, &[&str]); 13] = [
    ("xts", &["ecb"]),
    ("lrw", &["ecb", "gf128mul"]),
    ("adiantum", &["nhpoly1305", "chacha20", "poly1305"]),
    ("hctr2", &["xctr", "polyval"]),
    ("gcm", &["ctr", "ghash"]),
    ("ccm", &["ctr", "cbcmac"]),
    ("rfc7539", &["chacha20", "poly1305"]),
    // Initialisation vectors.
    ("essiv", &["essiv"]),
    ("lmk", &["md5"]),
    ("tcw", &["crc32"]),
    ("eboiv", &["ecb"]),
    ("elephant", &["ecb"]),
    // A random vector is stored beside the data, with a checksum that authenticates: dm-integrity below, `hmac(sha256)` by default.
    ("random", &["authenc", "hmac", "sha256"]),
];

/// Returns the aliases that are asked for, each with whether the volume cannot be opened without an answer.
pub fn requests(spec: &str) -> Vec<(String, bool)> {
    let Cipher { whole, iv } = parse(spec);
    let (iv_name, iv_option) = iv.split_once(':').map_or((iv, None), |(name, option)| (name, Some(option)));
    let mut names: Vec<(String, bool)> = Vec::new();
    let mut add = |name: &str, vital: bool| {
        if !name.is_empty() && names.iter().all(|(known, _)| known != name) {
            names.push((name.to_owned(), vital));
        }
    };
    let parts: Vec<&str> = whole.split(['(', ')', ',']).filter(|part| !part.is_empty()).collect();
    parts.iter().for_each(|part| add(part, true));
    if iv_name == "essiv" {
        add("essiv", true);
        add(iv_option.unwrap_or_default(), true);
    }
    for part in parts.iter().copied().chain([iv_name]) {
        let implied = IMPLIED.iter().filter(|(of, _)| *of == part).flat_map(|(_, names)| names.iter());
        implied.for_each(|name| add(name, false));
    }
    // An implementation of the whole, in assembler or a device, has the whole name as its alias.
    add(&whole, false);
    if iv_name == "essiv" {
        add(&format!("essiv({whole},{})", iv_option.unwrap_or_default()), false);
    }
    names.into_iter().map(|(name, vital)| (format!("crypto-{name}"), vital)).collect()
}

/// Returns the aliases that are asked for when sectors are authenticated: `hmac(sha256)`, `poly1305`, or `aead` for a cipher that does it.
pub fn of_integrity(spec: &str) -> Vec<(String, bool)> {
    if spec == "aead" {
        return Vec::new();
    }
    let parts = spec.split(['(', ')', ',', '-']).filter(|part| !part.is_empty());
    std::iter::once("authenc").chain(parts).map(|name| (format!("crypto-{name}"), name != "random")).collect()
}

struct Cipher<'a> {
    /// As the kernel's crypto API calls it: `xts(aes)`.
    whole: String,
    /// The initialisation vector: `plain64`, `essiv:sha256`.
    iv: &'a str,
}

fn parse(spec: &str) -> Cipher<'_> {
    if let Some(api) = spec.strip_prefix("capi:") {
        // The vector's name has no bracket: the last dash behind the last bracket parts it from the cipher.
        let end = api.rfind(')').map_or(0, |close| close + 1);
        let (whole, iv) = api[end..].split_once('-').map_or((api, ""), |(rest, iv)| (&api[..end + rest.len()], iv));
        return Cipher { whole: whole.to_owned(), iv };
    }
    let mut words = spec.splitn(3, '-');
    // `aes:64-cbc-lmk` has 64 keys.
    let cipher = words.next().unwrap_or_default().split(':').next().unwrap_or_default();
    let (mode, iv) = (words.next().unwrap_or("cbc"), words.next());
    match (mode, iv) {
        // A cipher that authenticates by itself has no mode.
        ("random", None) => return Cipher { whole: cipher.to_owned(), iv: mode },
        ("plain", None) => return Cipher { whole: format!("cbc({cipher})"), iv: mode },
        _ => {}
    }
    let iv = iv.unwrap_or("plain");
    Cipher { whole: format!("{mode}({cipher})"), iv }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_name_their_algorithms() {
        for (spec, vital, others) in [
            ("aes-xts-plain64", "xts aes", "ecb xts(aes)"),
            ("xchacha20,aes-adiantum-plain64", "adiantum xchacha20 aes", "nhpoly1305 chacha20 poly1305 adiantum(xchacha20,aes)"),
            ("serpent-cbc-essiv:sha256", "cbc serpent essiv sha256", "cbc(serpent) essiv(cbc(serpent),sha256)"),
            ("aes:64-cbc-lmk", "cbc aes", "md5 cbc(aes)"),
            ("twofish", "cbc twofish", "cbc(twofish)"),
            ("capi:authenc(hmac(sha256),xts(aes))-random", "authenc hmac sha256 xts aes", "ecb authenc(hmac(sha256),xts(aes))"),
            ("capi:xts(aes)-plain64", "xts aes", "ecb xts(aes)"),
            ("aegis128-random", "aegis128", "authenc hmac sha256"),
            ("aes-plain", "cbc aes", "cbc(aes)"),
            ("aes-xts-random", "xts aes", "ecb authenc hmac sha256 xts(aes)"),
        ] {
            let found = requests(spec);
            let names = |wanted: bool| {
                let of = found.iter().filter(|(_, vital)| *vital == wanted);
                of.map(|(name, _)| name.strip_prefix("crypto-").expect("a prefix")).collect::<Vec<_>>().join(" ")
            };
            assert_eq!((names(true).as_str(), names(false).as_str()), (vital, others), "{spec}");
        }
    }
}
