//! dev
#[path="it/rpm.rs"] mod rpm;
#[test]
fn extra() {
    let dir = std::path::PathBuf::from("/work/shared/fixtures");
    let centos = rpm::catalog(&dir.join("rpm-md/centos9-baseos-2022"));
    let mut failed = false;
    for f in std::fs::read_dir("/tmp/fx/oracle").unwrap() {
        let f = f.unwrap().path();
        let weak = f.to_string_lossy().contains("-weak");
        let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rpm::compare(&f, &centos, weak)));
        failed |= r.is_err();
    }
    assert!(!failed);
}
