//! Plain http through an HTTP proxy in the ordinary way: `GET http://host/path`.
//!
//! The HTTP crate always asks proxies for a tunnel (`CONNECT`), which those made for it (squid, as installed; apt-cacher-ng)
//! allow to port 443 only, and which would hide from them what they are there to cache. So requests are sent to the
//! proxy's address instead of the server's, with the whole address in their first line (RFC 9112, section 3.2.2).

use std::fmt;

use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};
use ureq::{Agent, Error, Proxy, config::Config};

use crate::base::base64;

/// Returns an agent that sends everything to `proxy`. Only for http.
pub fn agent(config: Config, proxy: &Proxy) -> Result<Agent, Error> {
    let address = format!("http://{}:{}/", proxy.host(), proxy.port());
    let address = address.parse::<Uri>().map_err(|_| Error::InvalidProxyUrl)?;
    let login = proxy.username().map(|user| {
        let words = format!("{user}:{}", proxy.password().unwrap_or_default());
        format!("Proxy-Authorization: Basic {}\r\n", base64::encode(words.as_bytes()))
    });
    let connector = ().chain(TcpConnector::default()).chain(Forward { login: login.unwrap_or_default() });
    Ok(Agent::with_parts(config, connector, ToProxy { address, inner: DefaultResolver::default() }))
}

/// Finds the proxy, whatever is asked for.
#[derive(Debug)]
struct ToProxy {
    address: Uri,
    inner: DefaultResolver,
}

impl Resolver for ToProxy {
    fn resolve(&self, _: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        self.inner.resolve(&self.address, config, timeout)
    }
}

/// Wraps connections to the proxy.
struct Forward {
    login: String,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forward")
    }
}

impl<In: Transport> Connector<In> for Forward {
    type Out = Forwarded<In>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Forwarded<In>>, Error> {
        let authority = details.uri.authority().map(|authority| authority.as_str());
        // Who logs in at the server does so in a header, never in the address that a proxy writes into its log.
        let host = authority.and_then(|text| text.rsplit('@').next()).unwrap_or_default();
        let (start, login) = (format!("GET http://{host}"), self.login.clone());
        Ok(chained.map(|inner| Forwarded { inner, start, login }))
    }
}

/// A connection to the proxy on which requests get their whole address.
struct Forwarded<In> {
    inner: In,
    start: String,
    login: String,
}

impl<In> fmt::Debug for Forwarded<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarded")
    }
}

impl<In: Transport> Transport for Forwarded<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let output = self.inner.buffers().output();
        // Only requests without a body are made, so what begins so is the head of one.
        let amount = match output[..amount].strip_prefix(b"GET /") {
            None => amount,
            Some(rest) => {
                let head = rest.to_vec();
                let line = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |end| end + 1);
                let parts = [self.start.as_bytes(), b"/", &head[..line], self.login.as_bytes(), &head[line..]];
                let whole = parts.concat();
                let place = output.get_mut(..whole.len()).ok_or(Error::BodyExceedsLimit(whole.len() as u64))?;
                place.copy_from_slice(&whole);
                whole.len()
            }
        };
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}
