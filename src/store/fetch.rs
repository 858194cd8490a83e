//! Fetching: http, https and local files behind one function. The only door to the HTTP crate.
//!
//! Certificates are the platform's. Nothing that a server says is believed: the size is capped before a byte is read,
//! redirects stay on http and https and never weaken the one to the other, and the caller's digest decides.

mod forward;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use super::{Incoming, Stored};
use crate::base::digest::Sha256;
use crate::base::error::{Diagnostic, ErrorKind};
use crate::base::fs::FileError;
use crate::base::trust::hide_password as show;
use crate::package::Location;

/// Redirects followed for one file.
const REDIRECTS_MAX: u32 = 5;
/// All headers of one response.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// The longest that a server's `Retry-After` is obeyed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the first or the next byte comes.
    pub silence: Duration,
    /// The time over which the speed is measured.
    pub window: Duration,
    /// Bytes that must come in each such time.
    pub window_bytes_min: u64,
    /// Tries for one file.
    pub tries: u32,
    /// Pause before the second try; it doubles for each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            window: Duration::from_secs(30),
            window_bytes_min: 30 * 1_024,
            tries: 3,
            pause: Duration::from_millis(500),
        }
    }
}

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The network may not be used.
    #[error("`{0}` is not in the cache")]
    Offline(String),
    /// The server has no such file (404, 410), or the directory has none.
    #[error("`{url}` does not exist: {answer}")]
    Absent {
        /// The address.
        url: String,
        /// What the server or the system said.
        answer: String,
    },
    /// The server refuses or cannot.
    #[error("the server would not send `{url}`: {answer}")]
    Status {
        /// The address.
        url: String,
        /// Status and its name.
        answer: String,
        /// Whether another try may help.
        transient: bool,
    },
    /// No connection, or one that broke.
    #[error("cannot reach the server of `{url}`")]
    Connect {
        /// The address.
        url: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The server was silent or sent too slowly.
    #[error("the server of `{url}` is too slow: {got} bytes in {} s", .waited.as_secs())]
    Slow {
        /// The address.
        url: String,
        /// Bytes that came in that time.
        got: u64,
        /// How long.
        waited: Duration,
    },
    /// It ended early.
    #[error("`{url}` ended after {got} bytes of {wanted}")]
    Short {
        /// The address.
        url: String,
        /// Bytes received.
        got: u64,
        /// Bytes announced or signed.
        wanted: u64,
    },
    /// It is larger than it may be.
    #[error("`{url}` is larger than the {limit} bytes that it may have")]
    Large {
        /// The address.
        url: String,
        /// The signed size, or a limit of `base::limit`.
        limit: u64,
    },
    /// A web page came instead: a portal, a proxy's error page.
    #[error("`{url}` is not what was asked for: got {content_type}")]
    Page {
        /// The address.
        url: String,
        /// The type that the server gave.
        content_type: String,
    },
    /// It has the right size and other content.
    #[error("`{url}` has the SHA-256 {found}, signed was {wanted}")]
    Differs {
        /// The address.
        url: String,
        /// The signed digest.
        wanted: Sha256,
        /// The digest of what came.
        found: Sha256,
    },
    /// A redirect is not followed.
    #[error("`{url}` sends us to `{to}`, which is refused: {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it sends us.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// The server's certificate or the encryption is not accepted.
    #[error("no secure connection for `{url}`: {reason}")]
    Tls {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The answer is not HTTP, or beyond its limits.
    #[error("the server of `{url}` answers in a way that cannot be understood: {reason}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A proxy variable holds no address of a proxy.
    #[error("`{variable}` does not name an HTTP proxy")]
    Proxy {
        /// The variable.
        variable: String,
    },
    /// A file of this machine cannot be read, or a temporary one not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl FetchError {
    /// Tells whether the file is not there, as opposed to out of reach.
    pub fn is_absent(&self) -> bool {
        matches!(self, FetchError::Absent { .. })
    }

    fn is_transient(&self) -> bool {
        match self {
            FetchError::Status { transient, .. } => *transient,
            FetchError::Connect { .. } | FetchError::Slow { .. } | FetchError::Short { .. } => true,
            _ => false,
        }
    }
}

impl Diagnostic for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            FetchError::Differs { .. } | FetchError::Large { .. } | FetchError::Redirect { .. } | FetchError::Tls { .. } => {
                ErrorKind::Untrusted
            }
            FetchError::Proxy { .. } => ErrorKind::Config,
            _ => ErrorKind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            FetchError::Offline(_) => "run once without `--offline`",
            FetchError::Connect { .. } => {
                "check the network, name another mirror with `--mirror URL`, or use what is cached with `--offline`"
            }
            FetchError::Page { .. } => {
                "log in to the network in a browser if it asks for that, or name another mirror with `--mirror URL`"
            }
            FetchError::Slow { .. } | FetchError::Short { .. } | FetchError::Status { .. } | FetchError::Differs { .. } => {
                "try again later, or name another mirror with `--mirror URL`"
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Fetches files.
pub struct Fetcher {
    direct: Agent,
    proxies: Vec<(&'static str, Agent)>,
    no_proxy: Vec<String>,
    offline: bool,
    patience: Patience,
}

impl Fetcher {
    /// Returns a fetcher with the proxies that the environment names. With `offline` only local files can be had.
    ///
    /// `http_proxy`, `https_proxy` and `all_proxy` (and in capitals, but not `HTTP_PROXY`, which a CGI caller can set) give
    /// the proxy of a scheme; `no_proxy` is a list of hosts and domains, or `*`.
    pub fn new(offline: bool, patience: Patience, variable: impl Fn(&str) -> Option<String>) -> Result<Self, FetchError> {
        let first = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.is_empty()).map(|value| ((*name).to_owned(), value)))
        };
        let mut proxies = Vec::new();
        for (scheme, names) in [
            ("http", ["http_proxy", "all_proxy", "ALL_PROXY"].as_slice()),
            ("https", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].as_slice()),
        ] {
            if let Some((variable, value)) = first(names) {
                let wrong = |_| FetchError::Proxy { variable: variable.clone() };
                let proxy = Proxy::new(&value).map_err(wrong)?;
                let agent = match (scheme, proxy.protocol()) {
                    ("http", ProxyProtocol::Http) => forward::agent(config(None, &patience), &proxy).map_err(wrong)?,
                    _ => config(Some(proxy), &patience).new_agent(),
                };
                proxies.push((scheme, agent));
            }
        }
        let no_proxy = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| value).unwrap_or_default();
        let no_proxy = no_proxy.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
        Ok(Self { direct: config(None, &patience).new_agent(), proxies, no_proxy, offline, patience })
    }

    /// Tells whether the network is left alone.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Returns a file of unknown content in memory, of at most `size_bytes_max` bytes.
    pub fn fetch(&self, from: &Location, size_bytes_max: u64) -> Result<Vec<u8>, FetchError> {
        let url = match from {
            Location::File(path) => return read_local(path, size_bytes_max),
            Location::Url(url) => url,
            // It has no file that could be fetched.
            Location::Installed => return Err(FetchError::Offline(from.to_string())),
        };
        let mut bytes = Vec::new();
        let content_type = self.transfer(url, &Wanted { size_bytes_max, exact: None }, &mut bytes)?;
        // A page in place of a release file: those begin with a dash or a letter. Metadata may be XML, and say so.
        let text = bytes.trim_ascii_start();
        let is_markup = |kind: &String| text.starts_with(b"<") && (is_page(kind) || !text.starts_with(b"<?xml"));
        match content_type.filter(is_markup) {
            Some(content_type) => Err(FetchError::Page { url: show(url), content_type }),
            None => Ok(bytes),
        }
    }

    /// Fetches a file whose digest and size are known into `incoming`, and verifies it.
    pub fn fetch_exact(
        &self,
        from: &Location,
        sha256: &Sha256,
        size_bytes: u64,
        mut incoming: Incoming,
    ) -> Result<Stored, FetchError> {
        let wanted = Wanted { size_bytes_max: size_bytes, exact: Some(size_bytes) };
        match from {
            Location::Installed => Err(FetchError::Offline(from.to_string())),
            Location::File(path) => {
                copy_local(path, size_bytes, &mut incoming)?;
                incoming.finish(sha256).map_err(|found| FetchError::Differs { url: from.to_string(), wanted: *sha256, found })
            }
            Location::Url(url) => {
                let content_type = self.transfer(url, &wanted, &mut incoming)?;
                incoming.finish(sha256).map_err(|found| match content_type.filter(|name| is_page(name)) {
                    Some(content_type) => FetchError::Page { url: show(url), content_type },
                    None => FetchError::Differs { url: show(url), wanted: *sha256, found },
                })
            }
        }
    }

    /// Fetches a file whose size is known into `incoming`, and leaves it to the caller to prove it.
    pub fn fetch_sized(&self, from: &Location, size_bytes: u64, incoming: &mut Incoming) -> Result<(), FetchError> {
        match from {
            Location::Installed => Err(FetchError::Offline(from.to_string())),
            Location::File(path) => copy_local(path, size_bytes, incoming),
            Location::Url(url) => {
                let wanted = Wanted { size_bytes_max: size_bytes, exact: Some(size_bytes) };
                self.transfer(url, &wanted, incoming).map(|_| ())
            }
        }
    }

    /// Transfers with retries; what came is continued where the server can. Returns the content type.
    fn transfer(&self, url: &str, wanted: &Wanted, sink: &mut dyn Sink) -> Result<Option<String>, FetchError> {
        if self.offline {
            return Err(FetchError::Offline(show(url)));
        }
        let mut attempt = Attempt::default();
        let mut pause = self.patience.pause;
        for left in (0..self.patience.tries.max(1)).rev() {
            match self.attempt(url, wanted, sink, &mut attempt) {
                Ok(()) => return Ok(attempt.content_type),
                Err(err) if left == 0 || !err.is_transient() => return Err(err),
                Err(_) => {
                    std::thread::sleep(attempt.retry_after.take().unwrap_or(pause).min(RETRY_AFTER_MAX));
                    pause *= 2;
                }
            }
        }
        unreachable!("the last try returns")
    }

    fn attempt(&self, url: &str, wanted: &Wanted, sink: &mut dyn Sink, attempt: &mut Attempt) -> Result<(), FetchError> {
        let resume = attempt.validator.clone().filter(|_| sink.size_bytes() > 0);
        let mut response = self.request(url, sink.size_bytes(), resume.as_deref())?;
        let status = response.status();
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        attempt.retry_after = text(header::RETRY_AFTER).and_then(|value| value.parse().ok()).map(Duration::from_secs);
        attempt.content_type = text(header::CONTENT_TYPE).map(|name| name.chars().filter(|c| !c.is_control()).take(80).collect());
        let continues =
            status == StatusCode::PARTIAL_CONTENT && resume.is_some() && range_start(headers) == Some(sink.size_bytes());
        if !continues {
            sink.restart().map_err(FileError::on("write", "a temporary file"))?;
            attempt.validator = None;
        }
        if !(status == StatusCode::OK || continues) {
            return Err(refusal(url, status, resume.is_some()));
        }
        if !continues {
            attempt.validator = validator(headers);
        }
        let length = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let announced = length.map(|length: u64| sink.size_bytes().saturating_add(length));
        let page = attempt.content_type.clone().filter(|name| is_page(name));
        // Say what it is rather than that its size is wrong.
        let check = |err: FetchError| match (&page, wanted.exact) {
            (Some(content_type), Some(_)) => FetchError::Page { url: show(url), content_type: content_type.clone() },
            _ => err,
        };
        if announced.is_some_and(|total| total > wanted.size_bytes_max) {
            return Err(check(FetchError::Large { url: show(url), limit: wanted.size_bytes_max }));
        }
        self.body(url, wanted, announced, response.body_mut(), sink).map_err(check)
    }

    fn body(
        &self,
        url: &str,
        wanted: &Wanted,
        announced: Option<u64>,
        body: &mut Body,
        sink: &mut dyn Sink,
    ) -> Result<(), FetchError> {
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 64 << 10];
        let mut window = (Instant::now(), sink.size_bytes());
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(err) => return Err(self.broken(url, err, sink.size_bytes(), wanted.exact.or(announced))),
            };
            if sink.size_bytes() + count as u64 > wanted.size_bytes_max {
                return Err(FetchError::Large { url: show(url), limit: wanted.size_bytes_max });
            }
            sink.write_all(&buffer[..count]).map_err(FileError::on("write", "a temporary file"))?;
            let (waited, got) = (window.0.elapsed(), sink.size_bytes() - window.1);
            if waited >= self.patience.window {
                if got < self.patience.window_bytes_min {
                    return Err(FetchError::Slow { url: show(url), got, waited });
                }
                window = (Instant::now(), sink.size_bytes());
            }
        }
        match wanted.exact.or(announced) {
            Some(size) if sink.size_bytes() < size => {
                Err(FetchError::Short { url: show(url), got: sink.size_bytes(), wanted: size })
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, url: &str, err: io::Error, got: u64, wanted: Option<u64>) -> FetchError {
        match (ureq::Error::from(err), wanted) {
            (ureq::Error::Timeout(_), _) => FetchError::Slow { url: show(url), got: 0, waited: self.patience.silence },
            (ureq::Error::Io(err), Some(wanted)) if err.kind() == io::ErrorKind::UnexpectedEof => {
                FetchError::Short { url: show(url), got, wanted }
            }
            (ureq::Error::Protocol(_), Some(wanted)) if got < wanted => FetchError::Short { url: show(url), got, wanted },
            (err, _) => self.translate(url, err),
        }
    }

    /// Asks, and follows redirects.
    fn request(&self, url: &str, from: u64, validator: Option<&str>) -> Result<Response<Body>, FetchError> {
        let mut at = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.agent(&at).get(&at);
            if let Some(validator) = validator {
                request = request.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, validator);
            }
            let response = request.call().map_err(|err| self.translate(&at, err))?;
            let moved = [301, 302, 303, 307, 308].contains(&response.status().as_u16());
            if !moved {
                return Ok(response);
            }
            let to = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
            at = redirect(&at, to)?;
        }
        Err(FetchError::Redirect { url: show(url), to: show(&at), reason: "there were too many before it" })
    }

    fn agent(&self, url: &str) -> &Agent {
        let Some((scheme, host)) =
            url.parse::<Uri>().ok().and_then(|uri| Some((uri.scheme_str()?.to_owned(), uri.host()?.to_ascii_lowercase())))
        else {
            return &self.direct;
        };
        let excepted = self.no_proxy.iter().any(|entry| {
            let domain = entry.trim_start_matches("*.").trim_start_matches('.').split(':').next().unwrap_or_default();
            entry == "*" || host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        });
        let proxy = self.proxies.iter().find(|(name, _)| *name == scheme).filter(|_| !excepted);
        proxy.map_or(&self.direct, |(_, agent)| agent)
    }

    fn translate(&self, url: &str, err: ureq::Error) -> FetchError {
        let url = show(url);
        match err {
            // What the TLS layer refuses arrives as data that makes no sense.
            ureq::Error::Io(err) if err.kind() == io::ErrorKind::InvalidData && url.starts_with("https:") => {
                FetchError::Tls { url, reason: err.to_string() }
            }
            ureq::Error::Io(source) => FetchError::Connect { url, source },
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let text = format!("no connection within {} s", self.patience.connect.as_secs());
                FetchError::Connect { url, source: io::Error::new(io::ErrorKind::TimedOut, text) }
            }
            ureq::Error::Timeout(_) => FetchError::Slow { url, got: 0, waited: self.patience.silence },
            ureq::Error::HostNotFound => {
                FetchError::Connect { url, source: io::Error::new(io::ErrorKind::NotFound, "its name cannot be resolved") }
            }
            ureq::Error::ConnectionFailed => {
                FetchError::Connect { url, source: io::Error::new(io::ErrorKind::ConnectionRefused, "the connection failed") }
            }
            ureq::Error::ConnectProxyFailed(text) => {
                FetchError::Connect { url, source: io::Error::other(format!("the proxy refused: {text}")) }
            }
            ureq::Error::Tls(text) => FetchError::Tls { url, reason: text.to_owned() },
            ureq::Error::Rustls(err) => FetchError::Tls { url, reason: err.to_string() },
            other => FetchError::Protocol { url, reason: other.to_string() },
        }
    }
}

/// What may come.
struct Wanted {
    size_bytes_max: u64,
    /// The size in bytes, if known.
    exact: Option<u64>,
}

/// What one try leaves for the next.
#[derive(Default)]
struct Attempt {
    /// `ETag` or `Last-Modified` of what was received in part.
    validator: Option<String>,
    content_type: Option<String>,
    retry_after: Option<Duration>,
}

/// Takes bytes; can forget them.
trait Sink: Write {
    fn restart(&mut self) -> io::Result<()>;
    fn size_bytes(&self) -> u64;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl Sink for Incoming {
    fn restart(&mut self) -> io::Result<()> {
        Incoming::restart(self)
    }

    fn size_bytes(&self) -> u64 {
        Incoming::size_bytes(self)
    }
}

fn config(proxy: Option<Proxy>, patience: &Patience) -> Config {
    // The platform's certificates; ureq's own list would not know a company's proxy.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_response_header_size(HEADER_BYTES_MAX)
        .user_agent(concat!("mkinitrd-pkg/", env!("CARGO_PKG_VERSION")))
        // A compressed transfer would break sizes and ranges.
        .accept_encoding("identity")
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.silence))
        .timeout_per_read(Some(patience.silence))
        .build()
}

fn is_page(content_type: &str) -> bool {
    content_type.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// A strong `ETag`, else `Last-Modified`: what `If-Range` accepts.
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(header::ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(header::LAST_MODIFIED))
}

/// The first byte of a partial answer: `bytes 100-199/200`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    text.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn refusal(url: &str, status: StatusCode, resumed: bool) -> FetchError {
    let (url, answer) = (show(url), status.to_string());
    match status.as_u16() {
        404 | 410 => FetchError::Absent { url, answer },
        // A range that does not fit any more (416), or one that was not asked for: the next try begins anew.
        206 | 416 if resumed => FetchError::Status { url, answer, transient: true },
        code => FetchError::Status { url, answer, transient: code >= 500 || code == 429 || code == 408 },
    }
}

/// Returns where a redirect leads, if it may be followed.
fn redirect(from: &str, to: &str) -> Result<String, FetchError> {
    let refused = |reason| {
        let shown = show(to).chars().filter(|c| !c.is_control()).take(200).collect();
        Err(FetchError::Redirect { url: show(from), to: shown, reason })
    };
    if to.is_empty() || to.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        return refused("it is no address");
    }
    let Some((scheme, rest)) = from.split_once("://") else { return refused("it is no address") };
    let authority = rest.split('/').next().unwrap_or_default();
    let next = if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else if to.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
        to.to_owned()
    } else {
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        format!("{scheme}://{}/{to}", path.rsplit_once('/').map_or(path, |(dir, _)| dir))
    };
    let lower = next.to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return refused("only http and https are followed");
    }
    if scheme.eq_ignore_ascii_case("https") && lower.starts_with("http://") {
        return refused("it would leave the secure connection");
    }
    let host = |url: &str| url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    let (Some(new), old) = (host(&next), host(from)) else { return refused("it names no host") };
    if old.as_ref() != Some(&new) && is_local(&new) {
        return refused("it leads to this machine or its link");
    }
    Ok(next)
}

/// Tells whether a host is this machine or an address that only its own link knows, as metadata services of clouds have.
fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
        Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
    }
}

/// Opens a file of a local repository. It may be a symlink: the repository is the user's own, and digests decide.
fn open_local(path: &std::path::Path) -> Result<File, FetchError> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC).bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(FileError::on("open", path));
    let file = match file {
        Err(err) if err.is_absent() => {
            return Err(FetchError::Absent { url: path.display().to_string(), answer: err.source.to_string() });
        }
        file => file?,
    };
    if !file.metadata().map_err(FileError::on("look at", path))?.is_file() {
        return Err(FileError::on("read", path)(io::Error::other("it is not a file")).into());
    }
    Ok(file)
}

fn read_local(path: &std::path::Path, size_bytes_max: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    open_local(path)?.take(size_bytes_max + 1).read_to_end(&mut bytes).map_err(FileError::on("read", path))?;
    if bytes.len() as u64 > size_bytes_max {
        return Err(FetchError::Large { url: path.display().to_string(), limit: size_bytes_max });
    }
    Ok(bytes)
}

fn copy_local(path: &std::path::Path, size_bytes: u64, incoming: &mut Incoming) -> Result<(), FetchError> {
    let url = || path.display().to_string();
    let mut file = open_local(path)?.take(size_bytes + 1);
    let got = io::copy(&mut file, incoming).map_err(FileError::on("copy", path))?;
    match got {
        got if got < size_bytes => Err(FetchError::Short { url: url(), got, wanted: size_bytes }),
        got if got > size_bytes => Err(FetchError::Large { url: url(), limit: size_bytes }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c08_redirects_are_followed_only_where_it_is_safe() {
        let table = [
            ("http://a/x/y", "http://b/z", Some("http://b/z")),
            ("http://a/x/y", "https://b/z", Some("https://b/z")),
            ("http://a/x/y", "/z", Some("http://a/z")),
            ("http://a/x/y", "z", Some("http://a/x/z")),
            ("http://a:8/x/y?q=/", "//b/z", Some("http://b/z")),
            ("https://a/x", "http://a/x", None),
            ("http://a/x", "file:///etc/shadow", None),
            ("http://a/x", "FTP://b/x", None),
            ("http://a/x", "http://169.254.169.254/latest", None),
            ("http://a/x", "http://127.0.0.1:631/", None),
            ("http://a/x", "http://[::1]/", None),
            ("http://127.0.0.1:80/x", "http://127.0.0.1:81/", Some("http://127.0.0.1:81/")),
            ("http://a/x", "http://b/\r\nHost: evil", None),
            ("http://a/x", "http:///", None),
            ("http://a/x", "", None),
        ];
        for (from, to, expected) in table {
            assert_eq!(redirect(from, to).ok().as_deref(), expected, "{from} to {to}");
        }
    }

    #[test]
    fn c11_the_environment_names_proxies_and_exceptions() {
        let variable = |name: &str| match name {
            "http_proxy" => Some("http://user:secret@proxy:3128".to_owned()),
            "no_proxy" => Some("localhost,.example.org,10.0.0.1".to_owned()),
            "HTTP_PROXY" => Some("http://evil:1".to_owned()),
            _ => None,
        };
        let fetcher = Fetcher::new(false, Patience::default(), variable).expect("a proxy");
        for (url, proxied) in [
            ("http://deb.example.com/x", true),
            ("https://deb.example.com/x", false),
            ("http://deb.example.org/x", false),
            ("http://example.org/x", false),
            ("http://notexample.org/x", true),
            ("http://10.0.0.1/x", false),
        ] {
            assert_eq!(!std::ptr::eq(fetcher.agent(url), &fetcher.direct), proxied, "{url}");
        }
        let broken = Fetcher::new(false, Patience::default(), |name| (name == "https_proxy").then(|| "ftp://x".to_owned()));
        assert!(matches!(broken.err(), Some(FetchError::Proxy { variable }) if variable == "https_proxy"));
    }
}
