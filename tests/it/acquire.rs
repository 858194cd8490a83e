//! Package files: where they are taken from, and what a server can do wrong.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mkinitrd_pkg::acquire::{self, Blob, Error, Origin, World};
use mkinitrd_pkg::base::digest::Sha256;
use mkinitrd_pkg::base::error::{Diagnostic, ErrorKind};
use mkinitrd_pkg::family::repo::Spec;
use mkinitrd_pkg::package::{Location, Package};
use mkinitrd_pkg::report::Silent;
use mkinitrd_pkg::store::Store;
use mkinitrd_pkg::store::fetch::{FetchError, Fetcher, Patience};

use crate::archive::{noise, run};
use crate::repository::{Machine, impatient, machines_own};
use crate::server::{Answer, Request, Server, Step, absent, answer, ok};

const SIZE: usize = 300_000;

fn package(location: Location) -> Package {
    let bytes = noise(SIZE);
    Package {
        name: "foo".to_owned(),
        version: "1:2.0-1".to_owned(),
        arch: "amd64".to_owned(),
        repo: "tester/main".to_owned(),
        location,
        sha256: Sha256::of(&bytes),
        size_bytes: SIZE as u64,
        proof: None,
        seal: None,
        installed_bytes: 0,
        source: "foo 1:2.0-1".to_owned(),
        rank: 0,
        requires: Vec::new(),
        recommends: Vec::new(),
        provides: Vec::new(),
        conflicts: Vec::new(),
    }
}

fn get(machine: &Machine, location: Location) -> Result<Blob, Error> {
    let package = package(location);
    machine.in_world(|world| acquire::acquire(&[&package], world)).map(|mut blobs| blobs.remove(0))
}

/// Gets the package from a server that answers so.
fn served(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Result<Blob, FetchError>, Vec<String>) {
    let server = Server::start(script);
    let machine = Machine::new();
    let outcome = get(&machine, Location::Url(server.url("/pool/foo.deb"))).map_err(|err| match err {
        Error::Package { source, .. } => source,
        other => panic!("{other:?}"),
    });
    if outcome.is_err() {
        assert_eq!(machine.store.usage().unwrap().files, 0, "what was not verified is not kept");
    }
    (outcome, server.asked())
}

fn read(blob: &Blob) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut blob.open().unwrap(), &mut bytes).unwrap();
    bytes
}

/// The first part of a proper answer, then the end of the connection.
fn cut(count: usize, headers: &str) -> Answer {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}Content-Length: {SIZE}\r\n\r\n");
    vec![Step::Send([head.as_bytes(), &noise(SIZE)[..count]].concat())]
}

fn partial(from: usize, headers: &[&str]) -> Answer {
    let range = format!("Content-Range: bytes {from}-{}/{SIZE}", SIZE - 1);
    answer("206 Partial Content", &[headers, &[range.as_str()]].concat(), &noise(SIZE)[from..])
}

#[test]
fn the_nearest_good_copy_is_taken() {
    let server = Server::start(|_| ok(&noise(SIZE)));
    let machine = Machine::new();
    let url = || Location::Url(server.url("/pool/foo.deb"));
    let archived = machine.root().join("var/cache/apt/archives/foo_1%3a2.0-1_amd64.deb");
    std::fs::create_dir_all(archived.parent().unwrap()).unwrap();
    std::fs::write(&archived, noise(SIZE)).unwrap();
    assert_eq!(machine.in_world(|world| acquire::locate(&package(url()), world)), Some(archived.clone()));
    let blob = get(&machine, url()).unwrap();
    assert_eq!((&blob.origin, read(&blob)), (&Origin::HostCache(archived.clone()), noise(SIZE)));
    assert!(server.asked().is_empty());
    // C17: the same size and name prove nothing.
    std::fs::write(&archived, vec![0; SIZE]).unwrap();
    let blob = get(&machine, url()).unwrap();
    assert_eq!((&blob.origin, read(&blob)), (&Origin::Mirror(server.url("/pool/foo.deb")), noise(SIZE)));
    assert_eq!(server.asked(), ["/pool/foo.deb"]);
    assert_eq!(get(&machine, url()).unwrap().origin, Origin::Cache);
    assert!(server.asked().is_empty());
    let located = machine.in_world(|world| acquire::locate(&package(url()), world));
    assert!(located.unwrap().starts_with(machine.dir.path().join("cache/files")));
}

#[test]
fn c17_apts_copy_may_be_a_link_or_a_pipe_and_is_then_not_used() {
    let server = Server::start(|_| ok(&noise(SIZE)));
    let machine = Machine::new();
    let archives = machine.root().join("var/cache/apt/archives");
    std::fs::create_dir_all(&archives).unwrap();
    let (path, elsewhere) = (archives.join("foo_1%3a2.0-1_amd64.deb"), machine.dir.path().join("elsewhere"));
    std::fs::write(&elsewhere, noise(SIZE)).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    let blob = get(&machine, Location::Url(server.url("/pool/foo.deb"))).unwrap();
    assert!(matches!(blob.origin, Origin::Mirror(_)), "{:?}", blob.origin);
}

#[test]
fn files_of_a_local_repository_are_verified_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.deb"), dir.path().join("link.deb"));
    std::fs::write(&real, noise(SIZE)).unwrap();
    std::os::unix::fs::symlink("real.deb", &link).unwrap();
    let machine = Machine::new();
    for path in [&real, &link] {
        let blob = get(&machine, Location::File(path.clone())).unwrap();
        assert_eq!((&blob.origin, read(&blob)), (&Origin::Local(path.clone()), noise(SIZE)));
    }
    assert_eq!(machine.store.usage().unwrap().files, 0, "nothing is copied");
    let blob = get(&machine, Location::File(real.clone())).unwrap();
    // C18: changed after it was verified.
    let mut changed = noise(SIZE);
    changed[SIZE / 2] ^= 1;
    std::fs::write(&real, &changed).unwrap();
    assert!(blob.open().unwrap().finish().is_err());
    let err = get(&machine, Location::File(real.clone())).unwrap_err();
    assert!(matches!(err, Error::Differs { .. }) && err.kind() == ErrorKind::Untrusted);
    let err = get(&machine, Location::File(PathBuf::from("/nowhere/foo.deb"))).unwrap_err();
    assert!(matches!(err, Error::Absent { .. }) && err.kind() == ErrorKind::Unavailable);
}

#[test]
fn c01_no_server_is_told_as_such() {
    let machine = Machine::new();
    let port = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    for url in [format!("http://127.0.0.1:{port}/foo.deb"), "http://host.invalid/foo.deb".to_owned()] {
        let err = get(&machine, Location::Url(url)).unwrap_err();
        assert!(matches!(&err, Error::Package { source: FetchError::Connect { .. }, .. }), "{err:?}");
        assert_eq!(err.kind(), ErrorKind::Unavailable);
        assert!(err.hints()[0].contains("--offline"));
    }
}

#[test]
fn c02_a_broken_transfer_is_continued() {
    let script = |request: &Request| match request.before {
        0 => cut(100_000, "ETag: \"one\"\r\n"),
        1 => {
            assert!(request.has("if-range: \"one\""), "{:?}", request.headers);
            // Breaks once more.
            let from = request.range().unwrap();
            let Some(Step::Send(mut bytes)) = partial(from, &["ETag: \"one\""]).pop() else { panic!() };
            bytes.truncate(bytes.len() - 50_000);
            vec![Step::Send(bytes)]
        }
        _ => partial(request.range().unwrap(), &["ETag: \"one\""]),
    };
    let (outcome, asked) = served(script);
    assert_eq!((read(&outcome.unwrap()), asked.len()), (noise(SIZE), 3));
}

#[test]
fn c02_without_a_validator_it_begins_anew_and_gives_up_in_the_end() {
    let (outcome, asked) = served(|request| {
        assert!(!request.has("range:"));
        if request.before == 2 { ok(&noise(SIZE)) } else { cut(100_000, "") }
    });
    assert_eq!((read(&outcome.unwrap()), asked.len()), (noise(SIZE), 3));
    let (outcome, asked) = served(|_| cut(100_000, ""));
    assert!(matches!(outcome, Err(FetchError::Short { got: 100_000, wanted: 300_000, .. })), "{outcome:?}");
    assert_eq!(asked.len(), 3);
    // Without a length the end is no error for HTTP; the signed size tells.
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let (outcome, _) = served(|_| vec![Step::Send([head, &noise(SIZE)[..1_000]].concat())]);
    assert!(matches!(outcome, Err(FetchError::Short { got: 1_000, .. })), "{outcome:?}");
}

#[test]
fn c03_silence_and_slowness_end() {
    let begin = Instant::now();
    let (outcome, _) = served(|_| vec![Step::Wait(Duration::from_secs(5))]);
    assert!(matches!(outcome, Err(FetchError::Slow { .. })), "{outcome:?}");
    let (outcome, _) = served(|_| {
        let mut steps = cut(1_000, "");
        steps.push(Step::Wait(Duration::from_secs(5)));
        steps
    });
    assert!(matches!(outcome, Err(FetchError::Slow { .. })), "{outcome:?}");
    let (outcome, _) = served(|_| {
        let mut steps = cut(0, "");
        for byte in noise(100) {
            steps.extend([Step::Send(vec![byte]), Step::Wait(Duration::from_millis(50))]);
        }
        steps
    });
    assert!(matches!(outcome, Err(FetchError::Slow { got: 1..=99, .. })), "{outcome:?}");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

#[test]
fn c04_an_endless_body_ends_at_the_signed_size() {
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let (outcome, _) = served(move |_| vec![Step::Send(head.clone()), Step::Forever(vec![0; 10_000])]);
    assert!(matches!(outcome, Err(FetchError::Large { limit: 300_000, .. })), "{outcome:?}");
    let (outcome, asked) = served(|_| answer("200 OK", &["Content-Length: 99999999999"], b"x"));
    assert!(matches!(outcome, Err(FetchError::Large { .. })), "{outcome:?}");
    assert_eq!(asked.len(), 1);
}

#[test]
fn c05_a_flipped_bit_is_found() {
    let (outcome, _) = served(|_| {
        let mut bytes = noise(SIZE);
        bytes[12_345] ^= 4;
        ok(&bytes)
    });
    let err = outcome.unwrap_err();
    assert!(matches!(err, FetchError::Differs { .. }), "{err:?}");
    assert_eq!(err.kind(), ErrorKind::Untrusted);
}

#[test]
fn c06_a_page_or_nothing_in_place_of_a_package_is_told() {
    let page = |size: usize| move |_: &Request| answer("200 OK", &["Content-Type: text/html"], &vec![b'<'; size]);
    for size in [10, SIZE, SIZE + 1] {
        let (outcome, _) = served(page(size));
        assert!(matches!(&outcome, Err(FetchError::Page { content_type, .. }) if content_type == "text/html"), "{outcome:?}");
    }
    let (outcome, _) = served(|_| ok(b""));
    assert!(matches!(outcome, Err(FetchError::Short { got: 0, .. })), "{outcome:?}");
}

#[test]
fn c08_redirects_are_followed_with_care() {
    let to = |status: &'static str, to: String| {
        move |request: &Request| match request.path.as_str() {
            "/pool/foo.deb" => answer(status, &[&format!("Location: {to}")], b""),
            "/moved.deb" => ok(&noise(SIZE)),
            _ => absent(),
        }
    };
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let (outcome, asked) = served(to(status, "/moved.deb".to_owned()));
        assert_eq!((read(&outcome.unwrap()), asked.len()), (noise(SIZE), 2));
    }
    for bad in ["file:///etc/hostname", "ftp://127.0.0.1/x", "http://169.254.169.254/", "", "/pool/foo.deb"] {
        let (outcome, asked) = served(to("302 Found", bad.to_owned()));
        assert!(matches!(outcome, Err(FetchError::Redirect { .. })), "{bad}: {outcome:?}");
        assert!(asked.len() <= 6, "{bad}");
    }
}

#[test]
fn c09_a_server_that_cannot_continue_is_asked_anew() {
    let first = || cut(100_000, "ETag: \"one\"\r\n");
    // It ignores the range.
    let (outcome, _) = served(move |request| if request.before == 0 { first() } else { ok(&noise(SIZE)) });
    assert_eq!(read(&outcome.unwrap()), noise(SIZE));
    // It continues at the wrong place.
    let (outcome, asked) = served(move |request| match (request.before, request.range()) {
        (0, _) => first(),
        (_, Some(_)) => partial(50_000, &[]),
        (_, None) => ok(&noise(SIZE)),
    });
    assert_eq!((read(&outcome.unwrap()), asked.len()), (noise(SIZE), 3));
    // The range does not exist any more.
    let (outcome, _) = served(move |request| match (request.before, request.range()) {
        (0, _) => first(),
        (_, Some(_)) => answer("416 Range Not Satisfiable", &[], b""),
        (_, None) => ok(&noise(SIZE)),
    });
    assert_eq!(read(&outcome.unwrap()), noise(SIZE));
    // It continues with another file: the digest decides.
    let (outcome, _) = served(move |request| match request.range() {
        None => first(),
        Some(from) => {
            let range = format!("Content-Range: bytes {from}-{}/{SIZE}", SIZE - 1);
            answer("206 Partial Content", &[&range], &vec![0; SIZE - from])
        }
    });
    assert!(matches!(outcome, Err(FetchError::Differs { .. })), "{outcome:?}");
}

#[test]
fn c10_what_is_not_http_is_refused() {
    let long = format!("X: {}", "y".repeat(10 << 20));
    let many = (0..100_000).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    for text in [
        "not http at all\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{long}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nhello\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello".to_owned(),
    ] {
        let shown = text.chars().take(60).collect::<String>();
        let (outcome, _) = served(move |_| vec![Step::Send(text.clone().into_bytes())]);
        assert!(outcome.is_err(), "{shown}");
        let err = outcome.unwrap_err();
        assert!(!err.to_string().contains('\n'), "{shown}: {err}");
    }
}

#[test]
fn c13_refusals_are_told_and_the_passing_ones_tried_again() {
    for (status, tries) in
        [("404 Not Found", 1), ("410 Gone", 1), ("403 Forbidden", 1), ("429 Too Many", 3), ("503 Unavailable", 3)]
    {
        let (outcome, asked) = served(move |_| answer(status, &["Retry-After: 0"], b""));
        let err = outcome.unwrap_err();
        assert!(err.to_string().contains(&status[..3]), "{err}");
        assert_eq!((err.is_absent(), asked.len()), (tries == 1 && status != "403 Forbidden", tries), "{status}");
    }
    let (outcome, _) = served(|request| match request.before {
        0 => answer("503 Unavailable", &[], b""),
        _ => ok(&noise(SIZE)),
    });
    assert!(outcome.is_ok());
}

#[test]
fn c16_runs_at_the_same_time_share_the_cache() {
    let server = Server::start(|_| ok(&noise(SIZE)));
    let machine = Machine::new();
    let dir = machine.dir.path().join("cache");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let other = Machine { store: Store::open(&dir), ..Machine::new() };
                let blob = get(&other, Location::Url(server.url("/pool/foo.deb"))).unwrap();
                assert_eq!(read(&blob), noise(SIZE));
            });
        }
    });
    let usage = machine.store.usage().unwrap();
    assert_eq!((usage.files, usage.files_bytes), (1, SIZE as u64));
}

#[test]
fn c19_without_a_cache_packages_are_had_all_the_same() {
    let server = Server::start(|_| ok(&noise(SIZE)));
    let machine = Machine { store: Store::open(Path::new("/proc/nowhere")), ..Machine::new() };
    assert!(machine.store.warning().is_some());
    let blob = get(&machine, Location::Url(server.url("/pool/foo.deb"))).unwrap();
    assert_eq!((read(&blob), blob.path()), (noise(SIZE), None));
}

#[test]
fn offline_takes_the_cached_and_nothing_else() {
    let server = Server::start(|_| ok(&noise(SIZE)));
    let mut machine = Machine::new();
    let url = || Location::Url(server.url("/pool/foo.deb"));
    machine.offline = true;
    let err = get(&machine, url()).unwrap_err();
    assert!(matches!(&err, Error::Package { source: FetchError::Offline(_), .. }), "{err:?}");
    machine.offline = false;
    get(&machine, url()).unwrap();
    machine.offline = true;
    assert_eq!(get(&machine, url()).unwrap().origin, Origin::Cache);
}

#[test]
fn many_packages_come_in_their_order_and_the_first_failure_is_told() {
    let body = |path: &str| path.as_bytes().repeat(1_000);
    let server = Server::start(move |request| if request.path == "/p7" { absent() } else { ok(&body(&request.path)) });
    let machine = Machine::new();
    let make = |i: usize| {
        let bytes = body(&format!("/p{i}"));
        let location = Location::Url(server.url(&format!("/p{i}")));
        Package { name: format!("p{i}"), sha256: Sha256::of(&bytes), size_bytes: bytes.len() as u64, ..package(location) }
    };
    let packages = (20..60).map(make).collect::<Vec<_>>();
    let blobs = machine.in_world(|world| acquire::acquire(&packages.iter().collect::<Vec<_>>(), world)).unwrap();
    assert!(blobs.iter().zip(&packages).all(|(blob, package)| blob.sha256 == package.sha256 && read(blob).len() == 4_000));
    let packages = (0..20).map(make).collect::<Vec<_>>();
    let err = machine.in_world(|world| acquire::acquire(&packages.iter().collect::<Vec<_>>(), world)).unwrap_err();
    assert!(err.to_string().contains("`p7 1:2.0-1`"), "{err}");
}

#[test]
fn c11_plain_http_goes_through_the_proxy_without_a_tunnel() {
    let direct = Server::start(|_| ok(b"direct"));
    let proxy = Server::start(|request| {
        // user:p@ss
        assert!(request.has("proxy-authorization: basic dxnlcjpwqhnz"), "{:?}", request.headers);
        assert!(request.has("host: deb.example.org"), "{:?}", request.headers);
        match request.path.as_str() {
            "http://deb.example.org/refused" => answer("407 Proxy Authentication Required", &[], b""),
            "http://deb.example.org/broken" => answer("502 Bad Gateway", &[], b""),
            _ => ok(b"by proxy"),
        }
    });
    let variable = |name: &str| match name {
        "http_proxy" => Some(proxy.url("/").replace("//", "//user:p%40ss@")),
        "no_proxy" => Some("127.0.0.1".to_owned()),
        _ => None,
    };
    let fetcher = Fetcher::new(false, impatient(), variable).unwrap();
    let fetch = |url: &str| fetcher.fetch(&Location::Url(url.to_owned()), 100);
    assert_eq!(fetch("http://deb.example.org/a?b").unwrap(), b"by proxy");
    assert_eq!(proxy.asked(), ["http://deb.example.org/a?b"]);
    assert_eq!(fetch(&direct.url("/x")).unwrap(), b"direct");
    for (path, answer) in [("refused", "407"), ("broken", "502")] {
        let err = fetch(&format!("http://me:secret@deb.example.org/{path}")).unwrap_err().to_string();
        assert!(err.contains(answer) && !err.contains("secret") && !err.contains("p@ss"), "{err}");
    }
    // https is tunnelled; a proxy that will not is told.
    let refusing = Server::start(|_| answer("407 Proxy Authentication Required", &[], b""));
    let fetcher = Fetcher::new(false, impatient(), |name| (name == "https_proxy").then(|| refusing.url(""))).unwrap();
    let err = fetcher.fetch(&Location::Url("https://deb.example.org/x".to_owned()), 100).unwrap_err();
    assert!(matches!(err, FetchError::Connect { .. }), "{err:?}");
    assert!(refusing.asked()[0].starts_with("deb.example.org:443"));
}

/// Real packages by a real index: signature, index, file, each step verified, then read by dpkg-deb.
#[test]
fn real_packages_come_verified_from_the_machines_mirror() {
    let specs: Vec<Spec> = machines_own("trixie").into_iter().map(Spec::Deb).collect();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    let fetcher = Fetcher::new(false, Patience::default(), |name| std::env::var(name).ok()).unwrap();
    let world = World::new(&store, &fetcher, dir.path(), "debian", SystemTime::now(), &Silent);
    // The root is empty, so the keyrings that the sources name are not there: the shipped keys stand in.
    let repositories = acquire::repositories(&specs[..1], &world).unwrap();
    let index = &repositories[0].indexes[0];
    let text = std::str::from_utf8(&index.bytes).unwrap();
    let wanted = ["kmod", "klibc-utils", "busybox-static", "less"].map(|name| {
        let start = text.find(&format!("\nPackage: {name}\n")).unwrap();
        let stanza = text[start..].split("\n\n").find(|part| !part.is_empty()).unwrap();
        let field = |field: &str| stanza.split(&format!("\n{field}: ")).nth(1).unwrap().lines().next().unwrap().to_owned();
        Package {
            name: name.to_owned(),
            version: field("Version"),
            sha256: field("SHA256").parse().unwrap(),
            size_bytes: field("Size").parse().unwrap(),
            ..package(Location::Url(format!("{}/{}", index.base, field("Filename"))))
        }
    });
    let blobs = acquire::acquire(&wanted.iter().collect::<Vec<_>>(), &world).unwrap();
    for (blob, package) in blobs.iter().zip(&wanted) {
        assert!(matches!(blob.origin, Origin::Mirror(_)));
        let shown = run("dpkg", std::process::Command::new("dpkg-deb").args(["-f"]).arg(blob.path().unwrap()).args(["Package"]));
        assert_eq!(String::from_utf8(shown).unwrap().trim(), package.name);
    }
    let again = acquire::acquire(&wanted.iter().collect::<Vec<_>>(), &world).unwrap();
    assert!(again.iter().all(|blob| blob.origin == Origin::Cache));
}

/// A server with a certificate that nobody vouches for, by openssl; ended when dropped.
struct SelfSigned {
    child: std::process::Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl SelfSigned {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (key, cert) = (dir.path().join("key.pem"), dir.path().join("cert.pem"));
        let mut make = std::process::Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout"]).arg(&key);
        run("openssl", make.arg("-out").arg(&cert));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut serve = std::process::Command::new("openssl");
        serve.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-www", "-key"]).arg(&key);
        let serve = serve.arg("-cert").arg(&cert).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = serve.spawn().unwrap();
        let up = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        assert!(up, "openssl does not listen");
        Self { child, port, _dir: dir }
    }
}

impl Drop for SelfSigned {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn c12_a_certificate_that_nobody_vouches_for_is_refused() {
    let server = SelfSigned::start();
    let err = get(&Machine::new(), Location::Url(format!("https://localhost:{}/foo.deb", server.port))).unwrap_err();
    assert!(matches!(&err, Error::Package { source: FetchError::Tls { .. }, .. }), "{err:?}");
    assert_eq!(err.kind(), ErrorKind::Untrusted);
}
