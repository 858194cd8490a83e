//! dev
#[path = "it/rpm.rs"]
mod rpm;
#[path = "it/rpm_cases.rs"]
mod rpm_cases;
#[path = "it/rpm_payload.rs"]
mod rpm_payload;
